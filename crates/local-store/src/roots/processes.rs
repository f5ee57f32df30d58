//! What running processes use, as the kernel tells: their programs, directories, files and environment.
//!
//! As an ordinary user, only the own processes can be looked at; those of others are passed over, as Nix does. So is a
//! process that ends meanwhile: it uses nothing any more.
#![expect(clippy::disallowed_methods, reason = "processes are looked at in /proc")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use store_path::StorePath;

use super::kind::{Process, Root, Usage};
use super::names::{Named, Names};
use crate::error::Error;
use crate::location::Location;
use crate::mounts::Inside;
use crate::threads;

/// The programs that the kernel starts by itself.
const KERNEL: [&str; 3] =
    ["/proc/sys/kernel/modprobe", "/proc/sys/kernel/fbsplash", "/proc/sys/kernel/poweroff_cmd"];

/// What the magic number of an overlay is (`statfs`).
const OVERLAY: u64 = 0x794c_7630;

/// Returns what running processes and the kernel use of the store. Whether it is valid is not looked at.
pub(super) fn find(location: &Location) -> Result<Vec<(StorePath, Root)>, Error> {
    let proc = Path::new("/proc");
    let entries: io::Result<Vec<_>> = fs::read_dir(proc).and_then(Iterator::collect);
    let entries = entries.map_err(Error::file("list", proc))?;
    let numbers: Vec<u32> =
        entries.iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let look = Look::new(location, &numbers)?;
    let found = threads::on_each(&numbers, threads::processors(), |number| look.at_process(*number));
    let mut roots = look.at_kernel()?;
    let own = look.mounted_in(Path::new("/proc/self/mountinfo"))?;
    roots.extend(own.map(|(path, place)| (path, Root::Mount(place))));
    for (number, uses) in numbers.iter().zip(found) {
        let uses = uses?;
        let process = || Process::named(*number);
        // Nearly all use nothing of it, and need no name.
        let process = (!uses.is_empty()).then(process);
        let process = process.iter().cycle();
        let told = uses.into_iter().zip(process);
        roots.extend(
            told.map(|((path, usage), process)| (path, Root::Process { process: process.clone(), usage })),
        );
    }
    Ok(roots)
}

/// The number of the first kind of use.
const EXECUTABLE: u8 = 0;

/// And of the last one.
const MOUNT: u8 = 6;

/// A look at all processes, on behalf of one store.
struct Look<'store> {
    location: &'store Location,
    names: Names,
    own: u32,
    /// Where the files are for whoever has mounts of his own.
    inside: Option<Inside>,
    /// A process for each table of mounts that is not ours.
    elsewhere: BTreeSet<u32>,
}

/// What a process uses; of the ways in which it has a path open, mapped or in its environment, one each.
#[derive(Default)]
struct Uses {
    found: BTreeMap<(StorePath, u8), Usage>,
}

impl<'store> Look<'store> {
    fn new(location: &'store Location, numbers: &[u32]) -> Result<Self, Error> {
        // A store of which nobody knows where it is has no files that somebody could have mounted.
        let place = fs::canonicalize(&location.real_store).ok();
        let inside = place.map(|place| Inside::of(&place)).transpose()?.flatten();
        let mut namespaces = BTreeSet::from([fs::read_link("/proc/self/ns/mnt").ok()]);
        let mut elsewhere = BTreeSet::new();
        for number in numbers {
            let namespace = target_of(&PathBuf::from(format!("/proc/{number}/ns/mnt")))?;
            if namespace.is_some() && namespaces.insert(namespace) {
                elsewhere.insert(*number);
            }
        }
        Ok(Self { location, names: Names::of(location), own: std::process::id(), inside, elsewhere })
    }

    fn at_process(&self, number: u32) -> Result<Vec<(StorePath, Usage)>, Error> {
        let mut uses = Uses::default();
        if self.elsewhere.contains(&number) {
            self.mounts(&PathBuf::from(format!("/proc/{number}/mountinfo")), &mut uses)?;
        }
        let mut is_seen = false;
        for thread in list(&PathBuf::from(format!("/proc/{number}/task")))? {
            // Each may have directories and descriptors of its own.
            self.at_thread(&thread, &mut uses)?;
            // Memory and environment are those of all, but the first thread has nothing any more once it has ended.
            if !is_seen {
                is_seen = self.mapped_files(&thread, &mut uses)?;
                // Ours may name what is to be deleted, as somebody's shell has it in a variable, and it is not used by that.
                if number != self.own {
                    self.environment(&thread, &mut uses)?;
                }
            }
        }
        Ok(uses.found.into_iter().map(|((path, _), usage)| (path, usage)).collect())
    }

    fn at_thread(&self, directory: &Path, uses: &mut Uses) -> Result<(), Error> {
        for (name, usage) in
            [("exe", Usage::Executable), ("cwd", Usage::WorkingDirectory), ("root", Usage::RootDirectory)]
        {
            let target = target_of(&directory.join(name))?;
            let named = target.and_then(|target| self.names.at(undeleted(&target)));
            self.note(directory, named, usage, uses);
        }
        self.open_files(directory, uses)
    }

    fn open_files(&self, process: &Path, uses: &mut Uses) -> Result<(), Error> {
        for descriptor in list(&process.join("fd"))? {
            let Some(target) = target_of(&descriptor)? else { continue };
            let named = self.names.at(undeleted(&target));
            self.note(process, named, Usage::OpenFile(target), uses);
        }
        Ok(())
    }

    /// A line of `maps` has the name of a file from its first slash on. Returns whether there is any line.
    fn mapped_files(&self, process: &Path, uses: &mut Uses) -> Result<bool, Error> {
        let text = text_of(&process.join("maps"))?;
        let mut last: &[u8] = b"";
        for line in text.split(|byte| *byte == b'\n') {
            let Some(start) = line.iter().position(|byte| *byte == b'/') else { continue };
            let file = &line[start..];
            // A file is mapped in several pieces, one after the other.
            if file != std::mem::replace(&mut last, file) {
                let named = self.names.at(undeleted(Path::new(OsStr::from_bytes(file))));
                self.note(process, named, Usage::MappedFile(OsStr::from_bytes(file).into()), uses);
            }
        }
        Ok(!text.is_empty())
    }

    fn mounts(&self, table: &Path, uses: &mut Uses) -> Result<(), Error> {
        for (path, place) in self.mounted_in(table)? {
            uses.found.entry((path, MOUNT)).or_insert(Usage::Mount(place));
        }
        Ok(())
    }

    /// Returns what mounts of a table show or stand on, each with where that is.
    ///
    /// What is deleted below such a mount would be gone for whoever sees it; and what is mounted on it would be gone, too.
    fn mounted_in(&self, table: &Path) -> Result<impl Iterator<Item = (StorePath, PathBuf)>, Error> {
        let used = match &self.inside {
            Some(inside) => inside.used_in(&text_of(table)?),
            None => Vec::new(),
        };
        Ok(used.into_iter().filter_map(|(name, place)| Some((name.to_str()?.parse().ok()?, place))))
    }

    fn environment(&self, process: &Path, uses: &mut Uses) -> Result<(), Error> {
        let text = text_of(&process.join("environ"))?;
        for variable in text.split(|byte| *byte == 0) {
            for named in self.names.all_in(variable) {
                let name = variable.split(|byte| *byte == b'=').next().unwrap_or_default();
                let name = String::from_utf8_lossy(name).replace(char::is_control, "?");
                self.note(process, Some(named), Usage::Environment(name), uses);
            }
        }
        Ok(())
    }

    /// Remembers what is used, unless the name means something else to that process.
    fn note(&self, process: &Path, named: Option<Named>, usage: Usage, uses: &mut Uses) {
        let Some(Named { path, is_ambiguous }) = named else { return };
        let kind = match usage {
            Usage::Executable => EXECUTABLE,
            Usage::WorkingDirectory => 1,
            Usage::RootDirectory => 2,
            Usage::OpenFile(_) => 3,
            // A program is mapped into its process, and so is what lies beside it.
            Usage::MappedFile(_) if uses.found.contains_key(&(path.clone(), EXECUTABLE)) => return,
            Usage::MappedFile(_) => 4,
            Usage::Environment(_) => 5,
            Usage::Mount(_) => MOUNT,
        };
        let key = (path, kind);
        if !uses.found.contains_key(&key) && (!is_ambiguous || self.may_mean_ours(process, &key.0)) {
            uses.found.insert(key, usage);
        }
    }

    /// Whether `process` may mean a path of this relocated store by its logical name, which others have as well.
    ///
    /// It does if it sees our file by that name, and does not if it sees another one, or none in a root of its own,
    /// as builds into other stores do. Whatever cannot be told may be ours, but one that has ended means nothing any more.
    fn may_mean_ours(&self, process: &Path, path: &StorePath) -> bool {
        match is_there(&process.join("root")) {
            true => self.sees_ours(&process.join("root"), path),
            // A thread that has ended leaves what it has seen to the others.
            false => threads_beside(process).iter().any(|root| self.sees_ours(root, path)),
        }
    }

    fn sees_ours(&self, root: &Path, path: &StorePath) -> bool {
        let logical = self.location.store_dir.print(path);
        let theirs = root.join(logical.trim_start_matches('/'));
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (
            fs::symlink_metadata(&theirs).map(id),
            fs::symlink_metadata(self.location.real_path(path)).map(id),
        ) {
            (Ok(theirs_id), Ok(ours)) => theirs_id == ours || is_overlay(&theirs),
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {
                let ours = fs::metadata("/").map(id);
                match fs::metadata(root).map(id) {
                    Ok(theirs) => ours.map_or(true, |ours| ours == theirs),
                    Err(_) => is_there(root),
                }
            }
            _ => true,
        }
    }

    fn at_kernel(&self) -> Result<Vec<(StorePath, Root)>, Error> {
        let mut roots = Vec::new();
        for file in KERNEL.map(Path::new) {
            let text = text_of(file)?;
            let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
            if let Some(Named { path, is_ambiguous }) = self.names.at(line)
                && (!is_ambiguous || self.may_mean_ours(Path::new("/proc/1"), &path))
            {
                roots.push((path, Root::Kernel(file.to_owned())));
            }
        }
        Ok(roots)
    }
}

/// Whether a process that has this root, as the kernel tells it, has not ended; also if that cannot be told.
fn is_there(root: &Path) -> bool {
    let gone =
        |error: io::Error| [Errno::NOENT, Errno::SRCH].map(Some).contains(&Errno::from_io_error(&error));
    !fs::read_link(root).is_err_and(gone)
}

/// Returns the roots of the threads beside one, those that have not ended.
fn threads_beside(thread: &Path) -> Vec<PathBuf> {
    let tasks = thread.parent().filter(|directory| directory.ends_with("task"));
    let threads = tasks.and_then(|tasks| list(tasks).ok()).unwrap_or_default();
    threads.into_iter().map(|thread| thread.join("root")).filter(|root| is_there(root)).collect()
}

/// The identity of files is not told through an overlay.
fn is_overlay(file: &Path) -> bool {
    rustix::fs::statfs(file).map_or(true, |system| system.f_type.cast_unsigned() == OVERLAY)
}

/// Returns the name without what the kernel puts behind that of a file which is gone.
fn undeleted(file: &Path) -> &[u8] {
    let name = file.as_os_str().as_bytes();
    name.strip_suffix(b" (deleted)").unwrap_or(name)
}

fn target_of(link: &Path) -> Result<Option<PathBuf>, Error> {
    unless_gone(link, fs::read_link(link))
}

fn text_of(file: &Path) -> Result<Vec<u8>, Error> {
    Ok(unless_gone(file, fs::read(file))?.unwrap_or_default())
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries =
        fs::read_dir(directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    Ok(unless_gone(directory, entries)?.unwrap_or_default())
}

/// Returns what was seen of a process, if it has not ended and is not somebody else's.
fn unless_gone<T>(path: &Path, seen: io::Result<T>) -> Result<Option<T>, Error> {
    match seen {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if is_gone_or_closed(&error) => Ok(None),
        Err(error) => Err(Error::file("look at", path)(error)),
    }
}

fn is_gone_or_closed(error: &io::Error) -> bool {
    // It is no argument that is invalid where a process has ended that nobody has waited for.
    let known =
        [Errno::INVAL, Errno::NOENT, Errno::SRCH, Errno::ACCESS, Errno::PERM, Errno::NAMETOOLONG, Errno::IO];
    Errno::from_io_error(error).is_some_and(|errno| known.contains(&errno))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::store::tests::{scratch_store, some_path};

    #[test]
    fn a_process_that_has_ended_means_nothing_and_one_that_has_not_may() {
        let (_scratch, store) = scratch_store();
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let look = Look::new(store.location(), &[]).unwrap();
        let task = PathBuf::from(format!("/proc/{0}/task/{0}", child.id()));
        // Where the host has a store of its own, nothing in it has this name.
        assert!(look.may_mean_ours(&task, &some_path("x")), "it has the same root");
        drop(child.stdin.take());
        // Nobody has waited for it.
        while is_there(&task.join("root")) {
            std::thread::yield_now();
        }
        assert!(task.exists() && !look.may_mean_ours(&task, &some_path("x")));
        child.wait().unwrap();
        assert!(!task.exists() && !look.may_mean_ours(&task, &some_path("x")));
        let own = PathBuf::from(format!("/proc/self/task/{}", child.id()));
        assert!(look.may_mean_ours(&own, &some_path("x")), "the other threads go on");
    }
}
