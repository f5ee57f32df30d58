//! `builtin:unpack-channel`: a tarball with one directory in it, under another name.

#![expect(clippy::disallowed_methods, reason = "makes the tree of its output")]

use std::fs::{self, File};
use std::path::Path;

use crate::archive::{self, ArchiveError};
use crate::call::{Call, Failed};
use crate::compressed;
use crate::error::{AttributeError, file};
use crate::extract::{ExtractError, Tree};
use crate::log::Log;

/// Why a tarball is no channel.
#[derive(Debug, thiserror::Error)]
#[error("cannot unpack `{src}`")]
pub(crate) struct UnpackError {
    src: String,
    source: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Extract(#[from] ExtractError),
    #[error("a channel has one directory at the top, and this tarball has {count} entries there")]
    Entries { count: usize },
}

pub(crate) fn build(call: &Call, _log: &Log) -> Result<(), Failed> {
    let (src, out) = (call.text("src")?, Path::new(call.text("out")?));
    let channel = call.text("channelName")?;
    if channel.is_empty() || channel.contains('/') || [".", ".."].contains(&channel) {
        let problem = format!("is `{channel}`, which is no name of a file");
        return Err(AttributeError::Form { name: "channelName", problem }.into());
    }
    fs::create_dir_all(out).map_err(file("make the directory", out))?;
    let tarball = File::open(src).map_err(file("open", Path::new(src)))?;
    let failed = |source| UnpackError { src: src.to_owned(), source };
    let plain = compressed::plain(tarball).map_err(|error| failed(ArchiveError::from(error).into()))?;
    let tree = Tree::open(out)?;
    archive::read(plain, |path, node| Ok(tree.make(path, node)?)).map_err(failed)?;
    let entries = fs::read_dir(out).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(file("read the directory", out))?;
    let [entry] = entries.as_slice() else {
        return Err(failed(Problem::Entries { count: entries.len() }).into());
    };
    fs::rename(entry.path(), out.join(channel)).map_err(file("rename", &entry.path()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::Said;
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use tar::{Builder, EntryType, Header};
    use test_support::Scratch;

    /// Its kind, its path, where it leads, and what it holds.
    type Entry<'a> = (EntryType, &'a str, &'a str, &'a str);

    /// Writes an entry as a hostile program would: with any name.
    fn add(archive: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, link: &str, contents: &str) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(contents.len() as u64);
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        archive.append(&header, contents.as_bytes()).unwrap();
    }

    /// Unpacks, and returns what was said if that failed.
    fn unpack(scratch: &Scratch, entries: &[Entry<'_>]) -> Result<PathBuf, String> {
        let mut archive = Builder::new(Vec::new());
        entries
            .iter()
            .for_each(|(kind, path, link, contents)| add(&mut archive, *kind, path, link, contents));
        unpack_bytes(scratch, &archive.into_inner().unwrap())
    }

    fn unpack_bytes(scratch: &Scratch, bytes: &[u8]) -> Result<PathBuf, String> {
        fs::write(scratch.join("src.tar"), bytes).unwrap();
        let out = scratch.join("out");
        let attributes: BTreeMap<Vec<u8>, Vec<u8>> = [
            ("src", scratch.join("src.tar").to_str().unwrap()),
            ("out", out.to_str().unwrap()),
            ("channelName", "nixos"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        let call = Call { attributes, build_dir: "/".to_owned(), download: None };
        match build(&call, &Said::default().log()) {
            Ok(()) => Ok(out.join("nixos")),
            Err(error) => Err(crate::error::chain(error.as_ref())),
        }
    }

    #[test]
    fn the_one_directory_gets_the_name_of_the_channel() {
        let scratch = Scratch::new();
        let made = unpack(
            &scratch,
            &[
                (EntryType::XGlobalHeader, "pax_global_header", "", "13 comment=x\n"),
                (EntryType::Directory, "nixos-22.05/", "", ""),
                (EntryType::Regular, "nixos-22.05/a/b", "", "deep"),
                (EntryType::Link, "nixos-22.05/c", "nixos-22.05/a/b", ""),
                (EntryType::Symlink, "nixos-22.05/d", "../../e", ""),
                (EntryType::Regular, "/nixos-22.05/absolute", "", "below"),
                (EntryType::Regular, "nixos-22.05/a/b", "", "again"),
            ],
        );
        let made = made.unwrap();
        assert_eq!(fs::read_to_string(made.join("a/b")).unwrap(), "again");
        assert_eq!(fs::read_to_string(made.join("c")).unwrap(), "deep");
        assert_eq!(fs::read_link(made.join("d")).unwrap(), Path::new("../../e"));
        assert_eq!(fs::read_to_string(made.join("absolute")).unwrap(), "below");
    }

    #[test]
    fn nothing_is_written_outside() {
        let outside = Scratch::new();
        let to = outside.path().to_str().unwrap();
        let regular = |path| (EntryType::Regular, path, "", "x");
        let cases: &[(&[Entry<'_>], &str)] = &[
            (&[regular("a/../../escaped")], "leads out of the archive"),
            (&[regular("..")], "leads out of the archive"),
            (&[(EntryType::Symlink, "a", to, ""), regular("a/escaped")], "leads through something"),
            (&[(EntryType::Symlink, "a", ".", ""), regular("a/b")], "leads through something"),
            (
                &[(EntryType::Symlink, "a", to, ""), (EntryType::Directory, "a", "", "")],
                "leads through something",
            ),
            (&[(EntryType::Link, "a", "../../etc/passwd", "")], "leads out of the archive"),
            (
                &[(EntryType::Symlink, "a", to, ""), (EntryType::Link, "b", "a/file", "")],
                "leads through something",
            ),
            (&[(EntryType::Directory, "a/", "", ""), regular("a")], "takes the place of a directory"),
            (&[(EntryType::Char, "a", "", "")], "is a device, which no store path can hold"),
            (&[(EntryType::Fifo, "a", "", "")], "is a pipe"),
            (&[(EntryType::GNUSparse, "a", "", "")], "is a file with holes"),
        ];
        for (entries, problem) in cases {
            let said = unpack(&Scratch::new(), entries).unwrap_err();
            assert!(said.contains(problem) && said.contains("src.tar"), "{problem}: {said}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_symlink_makes_room_for_a_file_of_its_name() {
        let outside = Scratch::new();
        let to = outside.join("file");
        let entries =
            [(EntryType::Symlink, "a", to.to_str().unwrap(), ""), (EntryType::Regular, "a", "", "x")];
        let made = unpack(&Scratch::new(), &entries);
        // The scratch directory is gone; what counts is what was written to.
        assert!(made.is_ok() && !to.exists());
    }

    #[test]
    fn a_tarball_has_one_entry_at_the_top() {
        for (entries, count) in [
            (&[][..], "0 entries"),
            (&[(EntryType::Regular, "a", "", ""), (EntryType::Regular, "b", "", "")][..], "2 entries"),
        ] {
            let said = unpack(&Scratch::new(), entries).unwrap_err();
            assert!(said.contains(count), "{said}");
        }
    }

    #[test]
    fn what_is_no_tarball_is_an_error() {
        let noise: Vec<u8> = (0..2048_u32).map(|number| ((number * 7919) >> 3) as u8).collect();
        let said = unpack_bytes(&Scratch::new(), &noise).unwrap_err();
        assert!(said.contains("cannot be read as a tarball"), "{said}");
        let mut archive = Builder::new(Vec::new());
        add(&mut archive, EntryType::Regular, "a", "", "contents that are cut off");
        let whole = archive.into_inner().unwrap();
        let said = unpack_bytes(&Scratch::new(), &whole[..520]).unwrap_err();
        assert!(said.contains("src.tar"), "{said}");
    }

    #[test]
    fn a_name_may_be_long_and_not_endless() {
        let long = format!("top/{}", "n".repeat(200));
        let mut archive = Builder::new(Vec::new());
        add(&mut archive, EntryType::GNULongName, "././@LongLink", "", &format!("{long}\0"));
        add(&mut archive, EntryType::Regular, "cut", "", "x");
        let pax = "p".repeat(150);
        let record = format!("{} path=top/{pax}\n", 4 + " path=top/\n".len() - 1 + 150);
        add(&mut archive, EntryType::XHeader, "pax", "", &record);
        add(&mut archive, EntryType::Regular, "cut", "", "y");
        let scratch = Scratch::new();
        let made = unpack_bytes(&scratch, &archive.into_inner().unwrap()).unwrap();
        assert_eq!(fs::read_to_string(made.join("n".repeat(200))).unwrap(), "x");
        assert_eq!(fs::read_to_string(made.join(pax)).unwrap(), "y");
        let mut archive = Builder::new(Vec::new());
        add(&mut archive, EntryType::GNULongName, "././@LongLink", "", &"n".repeat((1 << 20) + 1));
        let said = unpack_bytes(&Scratch::new(), &archive.into_inner().unwrap()).unwrap_err();
        assert!(said.contains("more than a mebibyte"), "{said}");
    }
}
