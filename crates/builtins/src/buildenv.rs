//! `builtin:buildenv`: one tree of symlinks into many packages, as a profile is.
//!
//! ```text
//! derivations = "true 5 1 /nix/store/a  true 6 2 /nix/store/b /nix/store/c"
//!                active  priority  outputs
//! ```
//!
//! A directory that one package has is a symlink to it; what several have is a real directory. Of two files with the same
//! name the one with the lower number wins, and two with the same number are an error. Everything is as Nix does it, as
//! the path of a profile says nothing about how its contents came to be.

#![expect(clippy::disallowed_methods, reason = "makes the tree of its output")]

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, FileType};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::call::{Call, Failed};
use crate::error::{AttributeError, FileError, file};
use crate::log::Log;

/// Why packages do not go together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Collision {
    #[error(
        "files at `{}` and `{}` have the same priority {priority}; give one of the packages another priority, a lower \
         number to win", there.display(), new.display()
    )]
    Files { there: PathBuf, new: PathBuf, priority: i64 },
    #[error("the directory `{}` collides with `{}`, which is none", directory.display(), other.display())]
    Kinds { directory: PathBuf, other: PathBuf },
}

/// What is not for profiles, wherever it is: by the end of its path.
const SKIPPED: &[&str] = &[
    "/propagated-build-inputs",
    "/nix-support",
    "/perllocal.pod",
    "/info/dir",
    "/log",
    "/manifest.nix",
    "/manifest.json",
];

/// The priority of the first package that comes along with another one; that of each further one is one higher.
const FIRST_PROPAGATED: i64 = 1000;

pub(crate) fn build(call: &Call, log: &Log) -> Result<(), Failed> {
    let out = Path::new(OsStr::from_bytes(call.get("out")?));
    fs::create_dir_all(out).map_err(file("make the directory", out))?;
    let mut packages = packages(call.text("derivations")?)?;
    packages.sort();
    let mut profile =
        Profile { log, priorities: HashMap::new(), done: BTreeSet::new(), postponed: BTreeSet::new() };
    for package in packages.iter().filter(|package| package.is_active) {
        profile.add(&package.path, out, package.priority)?;
    }
    let mut priorities = FIRST_PROPAGATED..;
    while !profile.postponed.is_empty() {
        for (path, priority) in std::mem::take(&mut profile.postponed).iter().zip(priorities.by_ref()) {
            profile.add(path, out, priority)?;
        }
    }
    link(Path::new(OsStr::from_bytes(call.get("manifest")?)), &out.join("manifest.nix"))?;
    Ok(())
}

/// An output of a package. They are taken in this order: of the winners of a collision, most are there first then.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    priority: i64,
    path: PathBuf,
    is_active: bool,
}

fn packages(derivations: &str) -> Result<Vec<Package>, AttributeError> {
    let form = |problem: String| AttributeError::Form { name: "derivations", problem };
    let mut words = derivations.split_ascii_whitespace();
    let mut packages = Vec::new();
    while let Some(active) = words.next() {
        let mut number = |what: &str| {
            let word = words.next().ok_or_else(|| form(format!("ends before {what}")))?;
            word.parse::<i64>()
                .map_err(|_| form(format!("has `{word}` in the place of {what}, which is a number")))
        };
        let (priority, outputs) = (number("a priority")?, number("a number of outputs")?);
        for _ in 0..outputs {
            let path = words.next().ok_or_else(|| form("ends before the path of an output".to_owned()))?;
            packages.push(Package { priority, path: path.into(), is_active: active != "false" });
        }
    }
    Ok(packages)
}

/// A profile that is being made.
struct Profile<'a> {
    log: &'a Log,
    /// Of the package that each symlink is from.
    priorities: HashMap<PathBuf, i64>,
    done: BTreeSet<PathBuf>,
    /// What those that are done want to have along.
    postponed: BTreeSet<PathBuf>,
}

impl Profile<'_> {
    fn add(&mut self, package: &Path, out: &Path, priority: i64) -> Result<(), Failed> {
        if !self.done.insert(package.to_owned()) {
            return Ok(());
        }
        self.links(package, out, priority)?;
        let wanted = package.join("nix-support/propagated-user-env-packages");
        let text = match fs::read(&wanted) {
            Err(error) if is_absent(&error) => return Ok(()),
            read => read.map_err(file("read", &wanted))?,
        };
        let words = text.split(|byte| matches!(byte, b' ' | b'\n')).filter(|word| !word.is_empty());
        let paths = words.map(|word| PathBuf::from(OsStr::from_bytes(word)));
        self.postponed.extend(paths.filter(|path| !self.done.contains(path)));
        Ok(())
    }

    /// Shows what is in the directory `from` in the directory `to`.
    fn links(&mut self, from: &Path, to: &Path, priority: i64) -> Result<(), Failed> {
        let names = match names(from) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                self.log.warning(format_args!(
                    "not including `{}` in the user environment, as it is not a directory",
                    from.display()
                ));
                return Ok(());
            }
            names => names.map_err(file("read the directory", from))?,
        };
        for name in names.iter().filter(|name| !name.as_bytes().starts_with(b".")) {
            // Never tidied up: it becomes the contents of a symlink.
            let source = [from.as_os_str().as_bytes(), b"/", name.as_bytes()].concat();
            self.entry(&PathBuf::from(std::ffi::OsString::from_vec(source)), &to.join(name), priority)?;
        }
        Ok(())
    }

    fn entry(&mut self, source: &Path, target: &Path, priority: i64) -> Result<(), Failed> {
        let kind = match fs::metadata(source) {
            Err(error) if is_absent(&error) => {
                self.log.warning(format_args!("skipping the dangling symlink `{}`", target.display()));
                return Ok(());
            }
            metadata => metadata.map_err(file("look at", source))?.file_type(),
        };
        if SKIPPED.iter().any(|end| source.as_os_str().as_bytes().ends_with(end.as_bytes())) {
            return Ok(());
        }
        let there = match fs::symlink_metadata(target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            metadata => Some(metadata.map_err(file("look at", target))?.file_type()),
        };
        let is_placed = match there {
            None => false,
            Some(there) if kind.is_dir() => self.merge(source, target, priority, there)?,
            Some(there) => !self.replace(source, target, priority, there)?,
        };
        if !is_placed {
            link(source, target)?;
            self.priorities.insert(target.to_owned(), priority);
        }
        Ok(())
    }

    /// Shows a directory where something is; returns whether that has been done.
    fn merge(
        &mut self,
        source: &Path,
        target: &Path,
        priority: i64,
        there: FileType,
    ) -> Result<bool, Failed> {
        if there.is_dir() {
            self.links(source, target, priority)?;
            return Ok(true);
        }
        if !there.is_symlink() {
            return Ok(false);
        }
        let other = fs::canonicalize(target).map_err(file("follow the symlink", target))?;
        if !fs::metadata(&other).map_err(file("look at", &other))?.is_dir() {
            return Err(Collision::Kinds { directory: source.to_owned(), other }.into());
        }
        fs::remove_file(target).map_err(file("remove", target))?;
        DirBuilder::new().create(target).map_err(file("make the directory", target))?;
        let before = self.priorities.get(target).copied().unwrap_or_default();
        self.links(&other, target, before)?;
        self.links(source, target, priority)?;
        Ok(true)
    }

    /// Makes room for a file where something is, unless that goes first; returns whether it has.
    fn replace(
        &mut self,
        source: &Path,
        target: &Path,
        priority: i64,
        there: FileType,
    ) -> Result<bool, Failed> {
        if there.is_dir() {
            return Err(Collision::Kinds { directory: target.to_owned(), other: source.to_owned() }.into());
        }
        if there.is_symlink() {
            let before = self.priorities.get(target).copied().unwrap_or_default();
            if before == priority {
                let there = fs::read_link(target).map_err(file("read the symlink", target))?;
                return Err(Collision::Files { there, new: source.to_owned(), priority }.into());
            }
            if before < priority {
                return Ok(false);
            }
            fs::remove_file(target).map_err(file("remove", target))?;
        }
        Ok(true)
    }
}

/// What is in a directory, in order: which warning comes first does not depend on the disk.
fn names(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn link(to: &Path, at: &Path) -> Result<(), FileError> {
    symlink(to, at).map_err(file("make the symlink", at))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_told_by_numbers_and_paths() {
        let read = packages("true 5 2 /a /b\nfalse -1 1 /c  true 7 0").unwrap();
        let told: Vec<_> =
            read.iter().map(|one| (one.is_active, one.priority, one.path.to_str().unwrap())).collect();
        assert_eq!(told, [(true, 5, "/a"), (true, 5, "/b"), (false, -1, "/c")]);
        for (text, problem) in [
            ("true", "ends before a priority"),
            ("true 5", "ends before a number of outputs"),
            ("true five 1 /a", "has `five` in the place of a priority, which is a number"),
            ("true 5 2 /a", "ends before the path of an output"),
        ] {
            let error = packages(text).unwrap_err().to_string();
            assert_eq!(error, format!("the attribute `derivations` {problem}"));
        }
    }
}
