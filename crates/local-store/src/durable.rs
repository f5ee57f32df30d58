//! Files on disk, before the database says that they are valid.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use crate::error::Error;
use crate::failpoint;
use crate::tree::{Node, Visit, walk};

/// From so many files on, one sync of the whole file system takes the place of one for each of them.
///
/// On ext4 either costs about 0.3 ms, however much the one for the file system has to write of ours. Below the
/// limit it is not used all the same: it would make us wait for whatever others are writing.
const FEW_FILES: usize = 16;

/// Makes sure that `trees`, and their names in the store directory, survive a power cut.
pub(crate) fn sync(trees: &[PathBuf], real_store: &Path) -> Result<(), Error> {
    let store = open_directory(real_store)?;
    let mut count = Count(0);
    for tree in trees {
        walk(tree, &mut count)?;
    }
    if count.is_done() {
        return rustix::fs::syncfs(&store).map_err(Error::file("sync the file system of", real_store));
    }
    for tree in trees {
        walk(tree, &mut Sync)?;
    }
    sync_directory(store.as_fd(), real_store)
}

fn open_directory(path: &Path) -> Result<std::os::fd::OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(Error::file("open", path))
}

fn sync_directory(directory: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    rustix::fs::fsync(directory).map_err(Error::file("sync", path))
}

/// Counts until it is clear that there are many.
struct Count(usize);

impl Visit for Count {
    fn leaf(&mut self, _node: &Node<'_>) -> Result<(), Error> {
        self.0 += 1;
        Ok(())
    }

    fn leave(&mut self, directory: &Node<'_>, _opened: BorrowedFd<'_>) -> Result<(), Error> {
        self.leaf(directory)
    }

    fn is_done(&self) -> bool {
        self.0 > FEW_FILES
    }
}

struct Sync;

impl Visit for Sync {
    fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
        // A symlink is part of its directory.
        if node.kind() == FileType::RegularFile {
            rustix::fs::fsync(node.open()?).map_err(node.failed("sync"))?;
            failpoint::reach("sync.file")?;
        }
        Ok(())
    }

    fn leave(&mut self, directory: &Node<'_>, opened: BorrowedFd<'_>) -> Result<(), Error> {
        rustix::fs::fsync(opened).map_err(directory.failed("sync"))
    }
}
