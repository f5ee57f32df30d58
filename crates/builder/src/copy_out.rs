//! A build directory in memory is kept by copying it to the disk: its builder has ended, and nobody else has it.

#![expect(clippy::disallowed_methods, reason = "copies build directories")]

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::failure::BuildFailure;

/// Replaces the contents of the directory `to` by files, directories and symlinks of `memory`, with owners and
/// modes; what else a builder may have made there says nothing once it has ended.
pub(crate) fn copy(memory: &OwnedFd, to: &Path) -> Result<(), BuildFailure> {
    let from = Path::new("/proc/self/fd").join(memory.as_raw_fd().to_string()).join(".");
    let mut open = vec![PathBuf::new()];
    let mut modes = Vec::new();
    clear(to).map_err(failed(to))?;
    // No recursion: how deep it goes is the builder's choice.
    while let Some(directory) = open.pop() {
        let source = from.join(&directory);
        let found = || -> io::Result<Vec<_>> {
            // About to vanish, so that it does no harm to open what was closed.
            fs::set_permissions(&source, Permissions::from_mode(0o700))?;
            fs::read_dir(&source)?.map(|entry| Ok(directory.join(entry?.file_name()))).collect()
        };
        for path in found().map_err(failed(&to.join(&directory)))? {
            let (source, target) = (from.join(&path), to.join(&path));
            let metadata = copy_one(&source, &target).map_err(failed(&target))?;
            if metadata.is_dir() {
                modes.push((target, metadata.mode()));
                open.push(path);
            }
        }
    }
    // A directory that its owner may not write to is closed when it is full, and those below it before.
    modes.into_iter().rev().try_for_each(|(path, mode)| {
        fs::set_permissions(&path, Permissions::from_mode(mode & 0o7777)).map_err(failed(&path))
    })
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BuildFailure {
    let path = path.to_owned();
    move |source| BuildFailure::File { action: "copy from memory to", path, source }
}

/// What the builder was given is in memory too, unless it has removed it.
fn clear(directory: &Path) -> io::Result<()> {
    fs::read_dir(directory)?.try_for_each(|entry| fs::remove_file(entry?.path()))
}

fn copy_one(source: &Path, target: &Path) -> io::Result<Metadata> {
    let metadata = fs::symlink_metadata(source)?;
    if metadata.is_dir() {
        fs::create_dir(target)?;
    } else if metadata.is_symlink() {
        symlink(fs::read_link(source)?, target)?;
    } else if metadata.is_file() {
        fs::set_permissions(source, Permissions::from_mode(0o600))?;
        fs::copy(source, target)?;
        fs::set_permissions(target, Permissions::from_mode(metadata.mode() & 0o777))?;
    } else {
        return Ok(metadata);
    }
    let made = fs::symlink_metadata(target)?;
    if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
        lchown(target, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use test_support::Scratch;

    #[test]
    fn a_tree_is_copied_as_its_builder_left_it() {
        let scratch = Scratch::new();
        let (memory, kept) = (scratch.join("memory"), scratch.join("kept"));
        fs::create_dir_all(memory.join("closed/below")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("given"), "old").unwrap();
        fs::write(memory.join("given"), "new").unwrap();
        fs::write(memory.join("closed/below/program"), "x").unwrap();
        symlink("/etc/passwd", memory.join("link")).unwrap();
        nix::unistd::mkfifo(&memory.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        for (name, mode) in [("closed/below/program", 0o4755), ("closed/below", 0o100), ("closed", 0)] {
            fs::set_permissions(memory.join(name), Permissions::from_mode(mode)).unwrap();
        }
        copy(&OwnedFd::from(fs::File::open(&memory).unwrap()), &kept).unwrap();
        let mode = |name: &str| fs::symlink_metadata(kept.join(name)).unwrap().mode() & 0o7777;
        assert_eq!(fs::read(kept.join("given")).unwrap(), b"new");
        assert_eq!(fs::read_link(kept.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert!(fs::symlink_metadata(kept.join("fifo")).is_err());
        assert_eq!(mode("closed"), 0);
        fs::set_permissions(kept.join("closed"), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(mode("closed/below"), 0o100);
        // Whoever may run it, runs it as itself.
        assert_eq!(mode("closed/below/program"), 0o755);
    }
}
