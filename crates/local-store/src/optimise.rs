//! One file on disk for all equal files of the store, by hard links through `.links`, as Nix makes them.
//!
//! ```text
//! valid paths ─► batches, rooted meanwhile ─► threads: each file whose inode is in `.links` is passed by,
//!                                             each other is hashed ─► new: gets a link there
//!                                                                  └► known: is replaced by a link, in one step
//! ```
//!
//! The name of a link is the hash of the file's archive, so files of which one may be executed are different. Symlinks
//! are linked as well. What somebody writes to, or could, stays alone: whoever has one open could change all of them.

mod index;
mod linker;

use std::collections::BTreeSet;

use store_path::StorePath;

use crate::error::Error;
use crate::meter::{Meter, Progress};
use crate::store::LocalStore;
use crate::threads::{on_each, processors};
use crate::tree::walk;
use crate::until::Until;
use index::Index;
use linker::{Linker, Settle};

/// So many paths are kept from collectors at once, and no longer than they are worked on.
const BATCH: usize = 256;

/// A path that never is, named by whoever links files beside the paths with these files.
fn being_linked() -> StorePath {
    "00000000000000000000000000000000-being-linked".parse().expect("it is a store path")
}

/// How equal files become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// They are links to one file.
    #[default]
    Links,
    /// They are files of their own, whose bytes the file system keeps once (`FIDEDUPERANGE`). Only one of them is linked
    /// from `.links`, so that each time all others are read again.
    Blocks,
}

/// What is to be made one.
#[derive(Clone, Copy)]
pub struct Optimisation<'a> {
    /// How.
    pub sharing: Sharing,
    /// Whether nothing is changed, and it is only found out what would be saved.
    pub dry_run: bool,
    /// How long.
    pub until: Until<'a>,
    /// Hears how far it is, from any thread.
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

impl Default for Optimisation<'_> {
    fn default() -> Self {
        Self { sharing: Sharing::Links, dry_run: false, until: Until::DONE, progress: &|_| {} }
    }
}

/// What was saved, and what could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Savings {
    /// How many valid paths were looked at.
    pub paths: usize,
    /// How many files were replaced by links, or share their bytes now.
    pub files: u64,
    /// How many bytes of contents are kept once less.
    pub bytes: u64,
    /// How many files were passed by since somebody has them open to write.
    pub written_to: u64,
    /// How many were passed by since their modes let their owner write to them.
    pub writable: u64,
    /// How many could not be linked: the file system allows no more links of one file, or `.links` is full.
    pub no_room: u64,
    /// How many links were not what their names say, and were replaced.
    pub bad_links: u64,
    /// Whether it was given up before all was looked at.
    pub stopped: bool,
}

impl LocalStore {
    /// Makes equal files of valid paths one.
    ///
    /// It may run beside builds, collectors and others that do the same, Nix among them. A path that cannot be gone
    /// through is passed by; `verify` tells what is wrong with it.
    ///
    /// # Errors
    /// If the links or the database cannot be read, or a file not be replaced.
    pub fn optimise(&self, what: &Optimisation<'_>) -> Result<Savings, Error> {
        let index = Index::load(self.location())?;
        let paths: Vec<StorePath> = self.all_valid()?.into_iter().collect();
        let meter = Meter::new(paths.len(), what.progress);
        let mut savings = Savings::default();
        for batch in paths.chunks(BATCH) {
            // For the next start, if this process dies in the middle of it.
            let mark = (!what.dry_run).then(being_linked);
            let rooted = self.rooted(&mark.into_iter().chain(batch.iter().cloned()).collect::<Vec<_>>())?;
            if !what.dry_run && self.options.fsync_metadata {
                rooted.flush()?;
            }
            // Those that are gone by now stay away.
            let valid = self.valid_among(&batch.iter().cloned().collect::<BTreeSet<_>>())?;
            let batch: Vec<StorePath> = valid.into_iter().collect();
            for saved in on_each(&batch, processors(), |path| self.optimise_path(path, &index, what, &meter))
            {
                savings = savings.and(saved?);
            }
            if what.until.is_over() {
                break;
            }
        }
        Ok(Savings { paths: meter.now().paths, stopped: what.until.is_over(), ..savings })
    }

    /// Gives directories the metadata of the store that one who has died had open, if it linked files in them: of the
    /// paths that were `named` in its temporary roots.
    pub(crate) fn settle_linked(&self, named: &BTreeSet<StorePath>) -> Result<(), Error> {
        if !named.contains(&being_linked()) {
            return Ok(());
        }
        for path in self.valid_among(named)? {
            match walk(&self.real_path(&path), &mut Settle) {
                // That is not for here to judge.
                Err(
                    Error::Changed { .. } | Error::Mounted { .. } | Error::File { action: "look at", .. },
                ) => {}
                settled => settled?,
            }
        }
        Ok(())
    }

    /// Links the files of a path that is about to become valid, if that is wanted. The caller holds its lock.
    pub(crate) fn optimise_new(&self, path: &StorePath) -> Result<(), Error> {
        let (what, meter) = (Optimisation::default(), Meter::new(1, &|_| {}));
        // What is new is in no index.
        let index = Index::empty(self.location())?;
        self.optimise_path(path, &index, &what, &meter).map(drop)
    }

    fn optimise_path(
        &self,
        path: &StorePath,
        index: &Index,
        what: &Optimisation<'_>,
        meter: &Meter<'_>,
    ) -> Result<Savings, Error> {
        let mut linker = Linker::new(self, path, index, what, meter);
        let walked = walk(&self.real_path(path), &mut linker);
        if !what.until.is_over() {
            meter.path_done();
        }
        let saved = linker.savings();
        match walked {
            Ok(()) => Ok(saved),
            // It is damaged, or something is mounted in it: that is not for here to judge.
            Err(Error::Changed { .. } | Error::Mounted { .. } | Error::File { action: "look at", .. }) => {
                Ok(saved)
            }
            Err(_) if what.until.is_over() => Ok(saved),
            Err(error) => Err(error),
        }
    }
}

impl Savings {
    fn and(self, other: Self) -> Self {
        Self {
            paths: self.paths + other.paths,
            files: self.files + other.files,
            bytes: self.bytes + other.bytes,
            written_to: self.written_to + other.written_to,
            writable: self.writable + other.writable,
            no_room: self.no_room + other.no_room,
            bad_links: self.bad_links + other.bad_links,
            stopped: self.stopped || other.stopped,
        }
    }
}

#[cfg(test)]
mod tests;
