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
        settled(|| walk(tree, &mut count))?;
    }
    if count.is_done() {
        return rustix::fs::syncfs(&store).map_err(Error::file("sync the file system of", real_store));
    }
    for tree in trees {
        settled(|| walk(tree, &mut Sync))?;
    }
    sync_directory(store.as_fd(), real_store)
}

/// So often somebody else may put the same file in place of one while we look at it.
const REPLACED: usize = 1000;

/// Walks until nothing is replaced meanwhile: who adds a text that another one adds, too, renames its own over the other's,
/// and who links equal files does so with what has become valid already.
fn settled(mut walk: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    for _ in 0..REPLACED {
        match walk() {
            Err(Error::Changed { .. }) => {}
            result => return result,
        }
    }
    walk()
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

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use test_support::Scratch;

    #[test]
    fn a_file_may_be_replaced_by_its_like_while_it_is_synced() {
        let scratch = Scratch::new();
        let (tree, aside) = (scratch.join("tree"), scratch.join("aside"));
        std::fs::write(&tree, "the same").unwrap();
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::SeqCst) {
                    std::fs::write(&aside, "the same").unwrap();
                    std::fs::rename(&aside, &tree).unwrap();
                }
            });
            let results: Vec<_> =
                (0..300).map(|_| sync(std::slice::from_ref(&tree), scratch.path())).collect();
            is_done.store(true, Ordering::SeqCst);
            results.into_iter().for_each(|result| result.unwrap());
        });
    }
}
