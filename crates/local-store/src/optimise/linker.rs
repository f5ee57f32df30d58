//! One path, file by file.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use store_path::{Hash, HashAlgorithm, HashSink, StorePath};

use super::index::Index;
use super::{Optimisation, Savings, Sharing};
use crate::canonical::{STORE_TIME, has_store_time};
use crate::error::Error;
use crate::failpoint;
use crate::lock::PathLock;
use crate::meter::Meter;
use crate::store::LocalStore;
use crate::tree::{Node, Visit};

/// So often is tried again what another one has undone in between.
const TRIES: usize = 50;

/// Goes through a path and links what is in it.
pub(super) struct Linker<'a> {
    store: &'a LocalStore,
    path: &'a StorePath,
    index: &'a Index,
    what: &'a Optimisation<'a>,
    meter: &'a Meter<'a>,
    /// In how many directories of the path it is.
    depth: usize,
    savings: Savings,
}

impl<'a> Linker<'a> {
    pub(super) fn new(
        store: &'a LocalStore,
        path: &'a StorePath,
        index: &'a Index,
        what: &'a Optimisation<'a>,
        meter: &'a Meter<'a>,
    ) -> Self {
        Self { store, path, index, what, meter, depth: 0, savings: Savings::default() }
    }

    pub(super) fn savings(self) -> Savings {
        self.savings
    }
}

impl Visit for Linker<'_> {
    fn enters(&mut self, _directory: &Node<'_>) -> Result<bool, Error> {
        let goes_on = !self.what.until.is_over();
        self.depth += usize::from(goes_on);
        Ok(goes_on)
    }

    fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
        let is_file = node.kind() == FileType::RegularFile;
        if !is_file && node.kind() != FileType::Symlink
            || self.what.until.is_over()
            || self.index.has(node.stat)
        {
            return Ok(());
        }
        if is_file && Mode::from_raw_mode(node.stat.st_mode).contains(Mode::WUSR) {
            self.savings.writable += 1;
            return Ok(());
        }
        let opened = match is_file.then(|| node.open()).transpose() {
            // Another one has linked it just now.
            Err(Error::Changed { .. }) => return Ok(()),
            opened => opened?,
        };
        if opened.as_ref().is_some_and(|file| sandbox::is_open_to_write(file.as_fd()) == Some(true)) {
            self.savings.written_to += 1;
            return Ok(());
        }
        let hash = self.hash(node, opened.as_ref())?;
        match self.what.dry_run {
            true => self.reckon(node, &hash),
            false => self.link(node, opened.as_ref(), &hash),
        }
    }

    fn leave(&mut self, directory: &Node<'_>, opened: BorrowedFd<'_>) -> Result<(), Error> {
        self.depth -= 1;
        if self.what.dry_run { Ok(()) } else { Settle.leave(directory, opened) }
    }
}

/// Gives the directories of a path the metadata of the store, as one who was killed in the middle of it has not.
pub(super) struct Settle;

impl Visit for Settle {
    fn leaf(&mut self, _node: &Node<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn leave(&mut self, directory: &Node<'_>, opened: BorrowedFd<'_>) -> Result<(), Error> {
        let is_canonical = directory.stat.st_mode & 0o7777 == 0o555 && has_store_time(directory.stat);
        if is_canonical {
            return Ok(());
        }
        settle(opened).map_err(directory.failed("change the metadata of"))
    }
}

impl Linker<'_> {
    /// Returns the hash of the archive of one file.
    fn hash(&self, node: &Node<'_>, opened: Option<&OwnedFd>) -> Result<Hash, Error> {
        let failed = |source| Error::File { action: "read", path: node.path(), source };
        match opened {
            Some(file) => self.hash_file(file, node.stat).map_err(failed),
            None => {
                let target = rustix::fs::readlinkat(node.parent, node.name, Vec::new());
                let target = target.map_err(node.failed("read the symlink"))?;
                hash_symlink(target.as_bytes()).map_err(failed)
            }
        }
    }

    fn hash_file(&self, file: &OwnedFd, stat: &Stat) -> io::Result<Hash> {
        let executable = Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR);
        let mut sink = self.what.until.pass(self.meter.count(HashSink::new(HashAlgorithm::Sha256)));
        let mut writer = nar::Writer::new(&mut sink);
        let mut contents = File::from(file.try_clone()?);
        let size = stat.st_size.cast_unsigned();
        writer
            .regular(executable, size, &mut contents)
            .and_then(|()| writer.finish())
            .map_err(io::Error::other)?;
        Ok(sink.into_inner().into_inner().finish().0)
    }

    /// Counts what would be saved.
    fn reckon(&mut self, node: &Node<'_>, hash: &Hash) -> Result<(), Error> {
        let link = self.link_of(&name_of(hash), node)?;
        let replaces = match &link {
            Some(link) => link.st_ino != node.stat.st_ino,
            None => self.index.would_replace(hash, node.stat),
        };
        if replaces {
            self.savings.files += 1;
            if self.index.would_free(node.stat) {
                self.savings.bytes += node.stat.st_size.cast_unsigned();
            }
        }
        Ok(())
    }

    /// Makes the link with that hash and the file one.
    fn link(&mut self, node: &Node<'_>, opened: Option<&OwnedFd>, hash: &Hash) -> Result<(), Error> {
        let name = name_of(hash);
        for _ in 0..TRIES {
            if self.try_link(node, opened, &name, hash)? {
                break;
            }
        }
        Ok(())
    }

    /// Does it once; false if that came to nothing, as another one has changed something in between.
    fn try_link(
        &mut self,
        node: &Node<'_>,
        opened: Option<&OwnedFd>,
        name: &CString,
        hash: &Hash,
    ) -> Result<bool, Error> {
        let Some(link) = self.link_of(name, node)? else { return self.make_link(node, opened, name) };
        if link.st_ino == node.stat.st_ino {
            self.index.add(link.st_ino);
            return Ok(true);
        }
        match self.judge(name, &link, hash, node.stat) {
            Verdict::Right => {}
            Verdict::WrittenTo => {
                self.savings.written_to += 1;
                return Ok(true);
            }
            Verdict::Wrong => return self.remove_link(name).map(|()| false),
            Verdict::Gone => return Ok(false),
            Verdict::Unread => return Ok(true),
        }
        let _lock = match self.lock_single_file(node)? {
            Ok(lock) => lock,
            Err(InOtherHands) => return Ok(true),
        };
        let done = match (self.what.sharing, opened) {
            (Sharing::Links, _) => self.replace(node, name),
            (Sharing::Blocks, Some(file)) => self.share(file, name, node.stat),
            (Sharing::Blocks, None) => Ok(()),
        };
        match done {
            // Somebody took the link away, closed the directory, or has the name aside: another store of this process.
            Err(Errno::NOENT | Errno::ACCESS | Errno::EXIST) => Ok(false),
            done => self.unless_full(done).map_err(node.failed("replace by a link")),
        }
    }

    /// Locks a path that is a single file: whoever repairs it puts another one in its place, which a link to what was read
    /// before would undo. In a directory, that is another directory then.
    fn lock_single_file(&self, node: &Node<'_>) -> Result<Result<Option<PathLock>, InOtherHands>, Error> {
        if self.depth > 0 || self.index.is_for_new {
            return Ok(Ok(None));
        }
        let lock = self.store.try_lock(std::slice::from_ref(self.path))?;
        if lock.is_some() {
            // Fails if it is another one already.
            node.handle()?;
        }
        Ok(lock.map(Some).ok_or(InOtherHands))
    }

    /// Gives the first file with a hash its link.
    fn make_link(
        &mut self,
        node: &Node<'_>,
        opened: Option<&OwnedFd>,
        name: &CString,
    ) -> Result<bool, Error> {
        // After a power cut, a link would have another content than its name says.
        if let Some(file) = opened.filter(|_| self.index.is_for_new && self.store.options.fsync_store_paths) {
            rustix::fs::fsync(file).map_err(node.failed("sync"))?;
        }
        match rustix::fs::linkat(node.parent, node.name, self.index.directory(), name, AtFlags::empty()) {
            Ok(()) => {
                failpoint::reach("optimise.linked")?;
                self.index.add(node.stat.st_ino);
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            refused => self.unless_full(refused).map_err(node.failed("link")),
        }
    }

    /// A directory of links can be full before the disk is, and a file have as many links as may be: then it stays alone.
    fn unless_full(&mut self, done: Result<(), Errno>) -> Result<bool, Errno> {
        if let Err(Errno::MLINK | Errno::NOSPC | Errno::DQUOT) = done {
            self.savings.no_room += 1;
            return Ok(true);
        }
        done.map(|()| true)
    }

    fn link_of(&self, name: &CString, node: &Node<'_>) -> Result<Option<Stat>, Error> {
        match rustix::fs::statat(self.index.directory(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(node.failed("look for the link of")(source)),
        }
    }

    /// Finds out whether a link is what its name says. It is read once, by the first who wants to link to it.
    fn judge(&self, name: &CString, link: &Stat, hash: &Hash, like: &Stat) -> Verdict {
        // The execute permission is part of the hash; the size tells at once.
        let is_like = FileType::from_raw_mode(link.st_mode) == FileType::from_raw_mode(like.st_mode)
            && link.st_mode & 0o7777 == like.st_mode & 0o7777
            && link.st_size == like.st_size;
        if !is_like {
            return Verdict::Wrong;
        }
        if self.index.is_trusted(link.st_ino) {
            return Verdict::Right;
        }
        let directory = self.index.directory();
        let read = match FileType::from_raw_mode(link.st_mode) {
            FileType::Symlink => rustix::fs::readlinkat(directory, name, Vec::new())
                .map_err(io::Error::from)
                .and_then(|target| hash_symlink(target.as_bytes())),
            _ => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(directory, name, flags, Mode::empty()) {
                    Ok(file) if sandbox::is_open_to_write(file.as_fd()) == Some(true) => {
                        return Verdict::WrittenTo;
                    }
                    Ok(file) => self.hash_file(&file, link),
                    Err(error) => Err(error.into()),
                }
            }
        };
        match read {
            Ok(read) if read == *hash => {
                self.index.trust(link.st_ino);
                Verdict::Right
            }
            Ok(_) => Verdict::Wrong,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Verdict::Gone,
            Err(_) => Verdict::Unread,
        }
    }

    fn remove_link(&mut self, name: &CString) -> Result<(), Error> {
        self.savings.bad_links += 1;
        match rustix::fs::unlinkat(self.index.directory(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => {
                Err(Error::file("remove", &self.index.path().join(name.to_string_lossy().as_ref()))(source))
            }
        }
    }

    /// Puts the link in the place of the file, in one step.
    fn replace(&mut self, node: &Node<'_>, name: &CString) -> Result<(), Errno> {
        let aside = self.store.name_aside();
        let store = self.index.store();
        rustix::fs::linkat(self.index.directory(), name, store, &aside, AtFlags::empty())?;
        let renamed = failpoint::reach("optimise.aside").map_err(|_| Errno::IO).and_then(|()| {
            // The store directory itself stays as it is.
            let _open = (self.depth > 0).then(|| Writable::make(node.parent)).transpose();
            rustix::fs::renameat(store, &aside, node.parent, node.name)?;
            failpoint::reach("optimise.renamed").map_err(|_| Errno::IO)
        });
        // It is still there if that failed, and if another one has linked the same in between.
        let _ = rustix::fs::unlinkat(store, &aside, AtFlags::empty());
        renamed?;
        failpoint::reach("optimise.replaced").map_err(|_| Errno::IO)?;
        self.savings.files += 1;
        if node.stat.st_nlink == 1 {
            self.savings.bytes += node.stat.st_size.cast_unsigned();
        }
        Ok(())
    }

    /// Has the file system keep the bytes of the file where those of the link are.
    fn share(&mut self, file: &OwnedFd, name: &CString, stat: &Stat) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = rustix::fs::openat(self.index.directory(), name, flags, Mode::empty())?;
        let shared = sandbox::share_bytes(link.as_fd(), file.as_fd(), stat.st_size.cast_unsigned())?;
        if shared > 0 {
            self.savings.files += 1;
            self.savings.bytes += shared;
        }
        Ok(())
    }
}

/// Somebody has the lock of a path.
struct InOtherHands;

/// Whether something may be linked to a link.
enum Verdict {
    Right,
    /// It is not what its name says.
    Wrong,
    /// Somebody could change it.
    WrittenTo,
    Gone,
    /// It was not read to its end: the disk does not give it, or it is to be stopped. `verify` tells of what is damaged.
    Unread,
}

fn name_of(hash: &Hash) -> CString {
    CString::new(hash.to_nix32()).expect("a hash has no zero in it")
}

fn hash_symlink(target: &[u8]) -> io::Result<Hash> {
    let mut sink = HashSink::new(HashAlgorithm::Sha256);
    let mut writer = nar::Writer::new(&mut sink);
    writer.symlink(target).and_then(|()| writer.finish()).map_err(io::Error::other)?;
    Ok(sink.finish().0)
}

/// A directory of a path whose owner may change what is in it; dropping it makes it what it was.
struct Writable<'a>(BorrowedFd<'a>);

impl<'a> Writable<'a> {
    fn make(directory: BorrowedFd<'a>) -> Result<Self, Errno> {
        // Root may in any case.
        if !rustix::process::geteuid().is_root() {
            rustix::fs::fchmod(directory, Mode::from_raw_mode(0o755))?;
        }
        Ok(Self(directory))
    }
}

impl Drop for Writable<'_> {
    fn drop(&mut self) {
        // What is left undone is no harm, and `verify --repair` mends it.
        let _ = settle(self.0);
    }
}

/// Gives a directory the metadata of the store.
fn settle(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    if !rustix::process::geteuid().is_root() || rustix::fs::fstat(directory)?.st_mode & 0o7777 != 0o555 {
        rustix::fs::fchmod(directory, Mode::from_raw_mode(0o555))?;
    }
    rustix::fs::futimens(directory, &STORE_TIME)
}
