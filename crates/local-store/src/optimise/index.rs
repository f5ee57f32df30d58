//! What is known of the links: which inodes they are, and which of them are what their names say.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags, Stat};
use store_path::Hash;

use crate::error::Error;
use crate::location::Location;
use crate::store::{LocalStore, guard};
use crate::tree::{each_entry, id};

/// The links, open.
pub(super) struct Index {
    directory: OwnedFd,
    store: OwnedFd,
    path: PathBuf,
    /// Whether what is linked may be so new that its contents are not on disk.
    pub(super) is_for_new: bool,
    /// The inodes that have a link.
    linked: Mutex<HashSet<u64>>,
    /// Those whose contents are known to be what their names say.
    trusted: Mutex<HashSet<u64>>,
    /// What would be linked, if nothing is changed: the first file with that hash.
    firsts: Mutex<HashMap<Hash, (u64, u64)>>,
    /// How many names files would have left that have several.
    names: Mutex<HashMap<(u64, u64), u64>>,
}

impl Index {
    /// Opens the links, none of which is known.
    pub(super) fn empty(location: &Location) -> Result<Self, Error> {
        let open = |path: &PathBuf| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map_err(Error::file("open", path))
        };
        let path = location.links();
        Ok(Self {
            directory: open(&path)?,
            store: open(&location.real_store)?,
            path,
            is_for_new: true,
            linked: Mutex::default(),
            trusted: Mutex::default(),
            firsts: Mutex::default(),
            names: Mutex::default(),
        })
    }

    /// Opens the links, and learns their inodes.
    pub(super) fn load(location: &Location) -> Result<Self, Error> {
        let index = Self::empty(location)?;
        let mut linked: HashSet<u64> = HashSet::new();
        each_entry(index.directory(), |_, inode| {
            linked.insert(inode);
        })
        .map_err(Error::file("list", &index.path))?;
        Ok(Self { is_for_new: false, linked: Mutex::new(linked), ..index })
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(super) fn store(&self) -> BorrowedFd<'_> {
        self.store.as_fd()
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Whether the file has a link already.
    pub(super) fn has(&self, stat: &Stat) -> bool {
        stat.st_nlink > 1 && guard(&self.linked).contains(&stat.st_ino)
    }

    /// Learns of a file that was hashed and has its link now.
    pub(super) fn add(&self, inode: u64) {
        guard(&self.linked).insert(inode);
        self.trust(inode);
    }

    pub(super) fn trust(&self, inode: u64) {
        guard(&self.trusted).insert(inode);
    }

    pub(super) fn is_trusted(&self, inode: u64) -> bool {
        guard(&self.trusted).contains(&inode)
    }

    /// Returns whether the file would take the place of another one, as the first with that hash would get the link.
    pub(super) fn would_replace(&self, hash: &Hash, stat: &Stat) -> bool {
        *guard(&self.firsts).entry(*hash).or_insert(id(stat)) != id(stat)
    }

    /// Returns whether nothing has the contents of a file any more when this name of it is taken away, and counts that.
    pub(super) fn would_free(&self, stat: &Stat) -> bool {
        if stat.st_nlink == 1 {
            return true;
        }
        let mut names = guard(&self.names);
        let left = names.entry(id(stat)).or_insert(stat.st_nlink);
        *left = left.saturating_sub(1);
        *left == 0
    }
}

impl LocalStore {
    /// Returns a name for a link on its way, which nothing has; of the form that is swept once its maker has died.
    pub(super) fn name_aside(&self) -> String {
        let number = self.next_number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!(".tmp-{}-{number}", std::process::id())
    }
}
