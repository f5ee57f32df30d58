//! Two trees, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use super::content::{self, Source};
use super::{Cause, Change, Clues, Comparison, Difference, Kind, or_unclassified, text};
use crate::failure::BuildFailure;

/// Archives nest as deep as this, and so does what can become valid.
const MOST_LEVELS: usize = 256;

/// Compares the tree at `now` with the one at `before`; neither is changed meanwhile.
pub(crate) fn compare(before: &Path, now: &Path, clues: &Clues) -> Result<Comparison, BuildFailure> {
    let mut walk = Walk { clues, path: Vec::new(), comparison: Comparison::default() };
    let compared = walk.trees(before, now);
    let here: PathBuf = walk.path.iter().map(|name| OsStr::from_bytes(name.to_bytes())).collect();
    match compared {
        Ok(()) => Ok(walk.comparison),
        Err(source) => Err(BuildFailure::File { action: "compare", path: now.join(here), source }),
    }
}

struct Walk<'a> {
    clues: &'a Clues,
    /// The names that lead from the top to what is looked at.
    path: Vec<CString>,
    comparison: Comparison,
}

/// One of two things that are compared.
struct Thing {
    stat: FileStat,
}

impl Thing {
    fn at(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Self> {
        Ok(Self { stat: fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)? })
    }

    fn kind(&self) -> Kind {
        let kind = SFlag::from_bits_truncate(self.stat.st_mode & SFlag::S_IFMT.bits());
        match kind {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFLNK => Kind::Symlink,
            _ => Kind::Other,
        }
    }

    fn is_executable(&self) -> bool {
        self.stat.st_mode & Mode::S_IXUSR.bits() != 0
    }
}

impl Walk<'_> {
    fn trees(&mut self, before: &Path, now: &Path) -> io::Result<()> {
        let open = |path: &Path| -> io::Result<(Dir, CString)> {
            let (parent, name) = path.parent().zip(path.file_name()).ok_or(Errno::ENOENT)?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            Ok((Dir::open(parent, flags, Mode::empty())?, CString::new(name.as_bytes())?))
        };
        let ((before, name_before), (now, name_now)) = (open(before)?, open(now)?);
        self.things((before.as_fd(), &name_before), (now.as_fd(), &name_now))
    }

    /// Compares what two names stand for.
    fn things(&mut self, before: (BorrowedFd<'_>, &CStr), now: (BorrowedFd<'_>, &CStr)) -> io::Result<()> {
        let (one, other) = (Thing::at(before.0, before.1)?, Thing::at(now.0, now.1)?);
        match (one.kind(), other.kind()) {
            (Kind::Directory, Kind::Directory) => self.directories(before, now),
            (Kind::File, Kind::File) => {
                if one.is_executable() != other.is_executable() {
                    self.add(Change::Executable { now: other.is_executable() }, BTreeSet::new());
                }
                self.files(before, now)
            }
            (Kind::Symlink, Kind::Symlink) => self.symlinks(before, now),
            (one, other) if one == other => Ok(()),
            (before, now) => {
                self.add(Change::Kind { before, now }, BTreeSet::new());
                Ok(())
            }
        }
    }

    fn directories(
        &mut self,
        before: (BorrowedFd<'_>, &CStr),
        now: (BorrowedFd<'_>, &CStr),
    ) -> io::Result<()> {
        if self.path.len() >= MOST_LEVELS {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = |(parent, name): (BorrowedFd<'_>, &CStr)| Dir::openat(parent, name, flags, Mode::empty());
        let (mut one, mut other) = (open(before)?, open(now)?);
        let (names_one, names_other) = (names(&mut one)?, names(&mut other)?);
        let gone: Vec<&CString> = names_one.difference(&names_other).collect();
        let new: Vec<&CString> = names_other.difference(&names_one).collect();
        let causes = self.renamed(&gone, &new);
        for name in names_one.union(&names_other) {
            self.path.push(name.clone());
            let why = || causes.get(name).cloned().unwrap_or_default();
            match (names_one.contains(name), names_other.contains(name)) {
                (true, true) => self.things((one.as_fd(), name), (other.as_fd(), name))?,
                (true, false) => self.add(Change::Gone(Thing::at(one.as_fd(), name)?.kind()), why()),
                (false, _) => self.add(Change::New(Thing::at(other.as_fd(), name)?.kind()), why()),
            }
            self.path.pop();
        }
        Ok(())
    }

    /// Why names are other ones: as many are gone as there are new ones, so each may stand for another one.
    fn renamed(&self, gone: &[&CString], new: &[&CString]) -> BTreeMap<CString, BTreeSet<Cause>> {
        if gone.len() != new.len() {
            return BTreeMap::new();
        }
        let pairs = gone.iter().zip(new);
        let causes = pairs.flat_map(|(gone, new)| {
            let causes = text::line(gone.to_bytes(), new.to_bytes(), self.clues);
            [((*gone).clone(), causes.clone()), ((*new).clone(), causes)]
        });
        causes.collect()
    }

    fn files(&mut self, before: (BorrowedFd<'_>, &CStr), now: (BorrowedFd<'_>, &CStr)) -> io::Result<()> {
        let (before, now) = (OpenFile::at(before)?, OpenFile::at(now)?);
        if let Some((first, causes)) = content::compare(&before, &now, self.clues)? {
            let (size_before, size_now) = (before.size(), now.size());
            self.add(Change::Content { size_before, size_now, first }, causes);
        }
        Ok(())
    }

    fn symlinks(&mut self, before: (BorrowedFd<'_>, &CStr), now: (BorrowedFd<'_>, &CStr)) -> io::Result<()> {
        let (before, now) = (readlinkat(before.0, before.1)?, readlinkat(now.0, now.1)?);
        if before != now {
            let causes = text::line(before.as_bytes(), now.as_bytes(), self.clues);
            self.add(Change::Target { before: before.into(), now: now.into() }, causes);
        }
        Ok(())
    }

    fn add(&mut self, change: Change, causes: BTreeSet<Cause>) {
        let path = self.path.iter().map(|name| OsStr::from_bytes(name.to_bytes())).collect();
        self.comparison.add(Difference { path, change, causes: or_unclassified(causes) });
    }
}

fn names(directory: &mut Dir) -> io::Result<BTreeSet<CString>> {
    let mut names = BTreeSet::new();
    for entry in directory.iter() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.insert(name);
        }
    }
    Ok(names)
}

struct OpenFile {
    file: File,
    size: u64,
}

impl OpenFile {
    fn at((parent, name): (BorrowedFd<'_>, &CStr)) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(parent, name, flags, Mode::empty())?);
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl Source for OpenFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "makes trees to compare")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use test_support::Scratch;

    #[test]
    fn every_kind_of_difference_is_told_with_its_place() {
        let scratch = Scratch::new();
        for side in ["before", "now"] {
            let is_now = side == "now";
            let top = scratch.join(side);
            fs::create_dir_all(top.join("same/deep")).unwrap();
            fs::write(top.join("same/deep/file"), "same").unwrap();
            fs::write(top.join("content"), if is_now { "built 2026-11-30" } else { "built 2026-11-29" })
                .unwrap();
            fs::write(top.join("tool"), "x").unwrap();
            let mode = if is_now { 0o755 } else { 0o644 };
            fs::set_permissions(top.join("tool"), fs::Permissions::from_mode(mode)).unwrap();
            symlink(if is_now { "b" } else { "a" }, top.join("link")).unwrap();
            fs::write(top.join(if is_now { "tmp.aB3xY9kQ" } else { "tmp.Zk4pQ8mN" }), "").unwrap();
            match is_now {
                true => fs::create_dir(top.join("kind")).unwrap(),
                false => fs::write(top.join("kind"), "").unwrap(),
            }
        }
        let compared = compare(&scratch.join("before"), &scratch.join("now"), &Clues::default()).unwrap();
        let told: Vec<(String, Change)> = compared
            .differences
            .iter()
            .map(|one| (one.path.display().to_string(), one.change.clone()))
            .collect();
        let [content, kind, link, new, gone, tool] = told.as_slice() else { panic!("{told:?}") };
        assert!(matches!(&content.1, Change::Content { first, .. } if first.offset == 14));
        assert_eq!(kind.1, Change::Kind { before: Kind::File, now: Kind::Directory });
        assert_eq!(link.1, Change::Target { before: "a".into(), now: "b".into() });
        assert_eq!((gone.0.as_str(), &gone.1), ("tmp.aB3xY9kQ", &Change::New(Kind::File)));
        assert_eq!((new.0.as_str(), &new.1), ("tmp.Zk4pQ8mN", &Change::Gone(Kind::File)));
        assert_eq!((tool.0.as_str(), &tool.1), ("tool", &Change::Executable { now: true }));
        let causes: Vec<(Cause, u64)> = compared.causes.into_iter().collect();
        assert_eq!(causes, [(Cause::Time, 1), (Cause::Chance, 2), (Cause::Unclassified, 3)]);
        assert_eq!(compared.total, 6);
    }

    #[test]
    fn a_tree_may_be_one_file_and_one_that_is_the_same_differs_in_nothing() {
        let scratch = Scratch::new();
        let (one, other) = (scratch.join("one"), scratch.join("other"));
        fs::write(&one, "text").unwrap();
        fs::write(&other, "text").unwrap();
        assert_eq!(compare(&one, &other, &Clues::default()).unwrap(), Comparison::default());
        fs::write(&other, "other").unwrap();
        let compared = compare(&one, &other, &Clues::default()).unwrap();
        assert_eq!((compared.total, compared.differences[0].path.as_os_str().len()), (1, 0));
    }

    #[test]
    fn of_many_differences_some_are_told_and_all_are_counted() {
        let scratch = Scratch::new();
        fs::create_dir(scratch.join("before")).unwrap();
        fs::create_dir(scratch.join("now")).unwrap();
        (0..300).for_each(|number| fs::write(scratch.join(format!("now/{number}")), "").unwrap());
        let compared = compare(&scratch.join("before"), &scratch.join("now"), &Clues::default()).unwrap();
        assert_eq!((compared.total, compared.differences.len()), (300, Comparison::MOST));
    }
}
