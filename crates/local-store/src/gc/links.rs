//! The directory `.links`: a further name of each file that several paths share, by its hash.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::ledger::Ledger;
use crate::error::Error;
use crate::location::Location;
use crate::threads::{on_each, processors};
use crate::tree::each_entry;
use crate::weight::Link;

/// So many are looked at by one thread at a time.
const PIECE: usize = 1024;

/// The open directory.
pub(crate) struct Links {
    path: PathBuf,
    directory: OwnedFd,
    entries: Vec<(CString, u64)>,
}

/// What became of files that nothing shares any more.
#[derive(Default)]
pub(super) struct Unshared {
    pub(super) links: usize,
    pub(super) freed_bytes: u64,
}

impl Links {
    /// Lists it, without looking at any file.
    pub(crate) fn read(location: &Location) -> Result<Self, Error> {
        let path = location.links();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty()).map_err(Error::file("open", &path))?;
        let mut entries = Vec::new();
        each_entry(directory.as_fd(), |name, inode| entries.push((name.to_owned(), inode)))
            .map_err(Error::file("list", &path))?;
        Ok(Self { path, directory, entries })
    }

    /// Returns the inodes that have a name in it.
    pub(crate) fn inodes(&self) -> HashSet<u64> {
        self.entries.iter().map(|(_, inode)| *inode).collect()
    }

    /// Removes, or with `is_rehearsal` only counts, each file that has no other name.
    ///
    /// Whoever gives one a further name right now (`store optimise`) finds it gone, or has made a name that stays.
    pub(super) fn unshare(self, ledger: &Ledger, is_rehearsal: bool) -> Result<Unshared, Error> {
        let pieces: Vec<&[(CString, u64)]> = self.entries.chunks(PIECE).collect();
        let done = on_each(&pieces, processors(), |piece| self.unshare_piece(piece, ledger, is_rehearsal));
        let mut all = Unshared::default();
        for piece in done {
            let piece = piece?;
            all.links += piece.links;
            all.freed_bytes += piece.freed_bytes;
        }
        Ok(all)
    }

    fn unshare_piece(
        &self,
        piece: &[(CString, u64)],
        ledger: &Ledger,
        is_rehearsal: bool,
    ) -> Result<Unshared, Error> {
        let mut done = Unshared::default();
        for (name, _) in piece {
            let failed = |action| Error::file(action, &self.path);
            let stat = match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                result => result.map_err(failed("look into"))?,
            };
            // A directory is none of ours.
            let has_counted = ledger.has_counted(&stat);
            let is_last = Link::of(&stat).alone().filter(|_| stat.st_nlink == 1);
            let Some(bytes) = is_last.or((is_rehearsal && has_counted).then_some(0)) else { continue };
            if !is_rehearsal {
                match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
                    Err(Errno::NOENT) => continue,
                    result => result.map_err(failed("remove a file from"))?,
                }
            }
            done.links += 1;
            done.freed_bytes += if has_counted { 0 } else { bytes };
        }
        Ok(done)
    }
}
