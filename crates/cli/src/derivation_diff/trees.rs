//! The first place at which two trees differ.
#![expect(clippy::disallowed_methods, reason = "sources are files in the store")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where two trees differ first, in the order of the archive format.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// The file, below the trees; empty for the trees themselves.
    pub(super) file: PathBuf,
    pub(super) what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Only one has a file of this name.
    Absent { on_left: bool },
    /// They are of another kind, or one can be run.
    Kind { left: &'static str, right: &'static str },
    /// They are links to other places.
    Target { left: Vec<u8>, right: Vec<u8> },
    /// A line of a text: its number from 1, and what it says.
    Line { number: u64, left: Option<Vec<u8>>, right: Option<Vec<u8>> },
    /// A byte of something else, from 0.
    Byte { offset: u64 },
}

/// Lines longer than that are told by their place only.
const LONGEST_LINE: usize = 400;

/// Compares two trees, without recursion.
pub(super) fn first_difference(left: &Path, right: &Path) -> Result<Option<Difference>> {
    // In reverse, so that the first in order is taken next.
    let mut open = vec![PathBuf::new()];
    while let Some(file) = open.pop() {
        let (ours, theirs) = (below(left, &file), below(right, &file));
        let what = match (kind(&ours)?, kind(&theirs)?) {
            (left, right) if left != right => Some(What::Kind { left, right }),
            ("a directory", _) => {
                let (ours, theirs) = (names(&ours)?, names(&theirs)?);
                if let Some(name) = ours.symmetric_difference(&theirs).next() {
                    // Something before it may differ in what is in it, but this says more.
                    let what = What::Absent { on_left: !ours.contains(name) };
                    return Ok(Some(Difference { file: file.join(name), what }));
                }
                open.extend(ours.iter().rev().map(|name| file.join(name)));
                None
            }
            ("a link", _) => {
                let target = |path: &Path| {
                    Ok::<_, std::io::Error>(fs::read_link(path)?.as_os_str().as_bytes().to_vec())
                };
                let (left, right) = (target(&ours)?, target(&theirs)?);
                (left != right).then_some(What::Target { left, right })
            }
            _ => contents(&ours, &theirs)?,
        };
        if let Some(what) = what {
            return Ok(Some(Difference { file, what }));
        }
    }
    Ok(None)
}

fn below(tree: &Path, file: &Path) -> PathBuf {
    // Joining nothing would add a slash.
    if file.as_os_str().is_empty() { tree.to_owned() } else { tree.join(file) }
}

fn kind(path: &Path) -> Result<&'static str> {
    let metadata =
        fs::symlink_metadata(path).with_context(|| format!("cannot look at `{}`", path.display()))?;
    Ok(match metadata.file_type() {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_symlink() => "a link",
        _ if metadata.permissions().mode() & 0o100 != 0 => "a program",
        _ => "a file",
    })
}

fn names(directory: &Path) -> Result<BTreeSet<OsString>> {
    let read =
        || fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>();
    read().with_context(|| format!("cannot list `{}`", directory.display()))
}

/// Compares two files piece by piece; of a text, tells the line.
fn contents(left: &Path, right: &Path) -> Result<Option<What>> {
    let open = |path: &Path| {
        let file = File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok::<_, anyhow::Error>(BufReader::with_capacity(1 << 16, file).bytes())
    };
    let (mut ours, mut theirs) = (open(left)?, open(right)?);
    let (mut offset, mut number, mut line) = (0, 1, Vec::new());
    loop {
        let (our, their) = (ours.next().transpose()?, theirs.next().transpose()?);
        match (our, their) {
            (None, None) => return Ok(None),
            (Some(our), Some(their)) if our == their => {
                offset += 1;
                // Of a line too long to be shown nothing has to be remembered.
                if our == b'\n' {
                    (number, line) = (number + 1, Vec::new());
                } else if line.len() <= LONGEST_LINE {
                    line.push(our);
                }
            }
            (our, their) => {
                let left = rest_of_line(line.clone(), our, &mut ours)?;
                let right = rest_of_line(line, their, &mut theirs)?;
                return Ok(Some(match (left, right) {
                    (Some(left), Some(right)) => What::Line { number, left, right },
                    _ => What::Byte { offset },
                }));
            }
        }
    }
}

/// Returns the line that `first` is in, or that there is none; nothing if it is no line of text to be shown.
#[expect(clippy::option_option, reason = "a line that is not there is not a line that cannot be shown")]
fn rest_of_line(
    mut line: Vec<u8>,
    first: Option<u8>,
    rest: &mut impl Iterator<Item = std::io::Result<u8>>,
) -> Result<Option<Option<Vec<u8>>>> {
    let mut next = first;
    if next.is_none() && line.is_empty() {
        return Ok(Some(None));
    }
    while let Some(byte) = next.filter(|byte| *byte != b'\n') {
        line.push(byte);
        if line.len() > LONGEST_LINE {
            return Ok(None);
        }
        next = rest.next().transpose()?;
    }
    let is_text =
        str::from_utf8(&line).is_ok() && !line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    Ok(is_text.then_some(Some(line)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Makes two trees and compares them.
    fn differ(left: impl Fn(&Path), right: impl Fn(&Path)) -> Option<Difference> {
        let scratch = tempfile::tempdir().unwrap();
        let (ours, theirs) = (scratch.path().join("left"), scratch.path().join("right"));
        for (tree, make) in [(&ours, &left as &dyn Fn(&Path)), (&theirs, &right)] {
            fs::create_dir(tree).unwrap();
            fs::write(tree.join("a"), "same\n").unwrap();
            make(tree);
        }
        first_difference(&ours, &theirs).unwrap()
    }

    fn file(contents: impl AsRef<[u8]>) -> impl Fn(&Path) {
        move |tree| {
            fs::create_dir_all(tree.join("b/c")).unwrap();
            fs::write(tree.join("b/c/d"), &contents).unwrap();
        }
    }

    #[test]
    fn the_first_line_or_byte_is_told() {
        let what = |left: &[u8], right: &[u8]| {
            let found = differ(file(left), file(right))?;
            assert_eq!(found.file, Path::new("b/c/d"));
            Some(found.what)
        };
        let line = |number, left: Option<&str>, right: Option<&str>| {
            let text = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
            Some(What::Line { number, left: text(left), right: text(right) })
        };
        assert_eq!(what(b"same", b"same"), None);
        assert_eq!(what(b"a\nb\nc", b"a\nx y\nc"), line(2, Some("b"), Some("x y")));
        assert_eq!(what(b"a\n", b"a\nb\n"), line(2, None, Some("b")));
        assert_eq!(what(b"abc", b"ab"), line(1, Some("abc"), Some("ab")));
        assert_eq!(what(b"\x7fELF\x01", b"\x7fELF\x02"), Some(What::Byte { offset: 4 }));
        let long = [b'x'; 10_000];
        assert_eq!(what(&long, &[&long[..], b"y"].concat()), Some(What::Byte { offset: 10_000 }));
    }

    #[test]
    fn files_of_other_kinds_are_told() {
        let link = |target: &'static str| move |tree: &Path| symlink(target, tree.join("x")).unwrap();
        let found = differ(link("a"), link("b")).unwrap();
        assert_eq!(found.what, What::Target { left: b"a".to_vec(), right: b"b".to_vec() });
        let plain = |tree: &Path| fs::write(tree.join("x"), "").unwrap();
        let program = |tree: &Path| {
            plain(tree);
            fs::set_permissions(tree.join("x"), fs::Permissions::from_mode(0o755)).unwrap();
        };
        assert_eq!(differ(plain, program).unwrap().what, What::Kind { left: "a file", right: "a program" });
        let absent = differ(plain, |_| {}).unwrap();
        assert_eq!(absent, Difference { file: "x".into(), what: What::Absent { on_left: false } });
    }
}
