//! Collecting garbage: whatever in the store directory no root needs.
//!
//! ```text
//! gc.lock ─► roots, names on disk, graph ─► marks ─┬─► what is not valid and nobody makes ─────► removed
//!                                                  └─► batches: rows, on disk ─► trees, by all processors
//! ```
//!
//! A path is invalid before the first of its files goes, and what it refers to goes after it. So a collection that
//! ends at any moment, killed or not, leaves a sound store, and the next one goes on.

use std::path::PathBuf;

use store_db::Keep;

use crate::error::Error;
use crate::failpoint;
use crate::store::LocalStore;
use crate::threads;
use crate::until::Until;

mod census;
mod collector;
mod ledger;
mod leftovers;
pub(crate) mod links;
mod logs;
mod newcomers;
mod plan;
mod removal;
mod server;

pub use census::Census;

use newcomers::{Newcomers, Over};
use removal::Removals;

/// What to collect, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Collection<'a> {
    /// Whether derivations keep their outputs (setting `keep-outputs`).
    pub keep_outputs: bool,
    /// Whether outputs keep their derivations (setting `keep-derivations`).
    pub keep_derivations: bool,
    /// Ends once that many bytes are free that were not.
    pub max_freed_bytes: Option<u64>,
    /// Ends once the store takes no more than that many bytes.
    pub max_size_bytes: Option<u64>,
    /// Only says what would go.
    pub is_rehearsal: bool,
    /// Spares what was used at that time, in seconds since 1970, or later, and all that it refers to.
    pub unused_since: Option<i64>,
    /// Links that keep nothing, as if they were gone already.
    pub given_up: &'a [PathBuf],
    /// Ends when this says so, and leaves the rest to the next collection.
    pub until: Until<'a>,
}

/// What is told while garbage is collected.
#[derive(Clone, Copy, Debug)]
pub enum CollectionNews<'a> {
    /// So many paths and leftovers are going to go.
    Found(usize),
    /// So many are gone.
    Progress {
        /// How many, of those that were found.
        gone: usize,
        /// How much room there is now that was not.
        freed_bytes: u64,
    },
    /// These are gone, by their names in the store directory; in the order in which a rehearsal tells them, too.
    Gone(&'a [String]),
}

/// What came of a collection.
#[derive(Debug, Default)]
pub struct Collected {
    /// How many paths and leftovers are gone.
    pub gone: usize,
    /// How much room there is now that was not, in bytes. What several hard links share counts when the last one goes.
    pub freed_bytes: u64,
    /// How many files in `.links` are gone that nothing shared any more.
    pub links: usize,
    /// How many logs are gone of derivations that are not valid and made nothing that is.
    pub logs: usize,
    /// What could not be removed, and is tried again by the next collection.
    pub failed: Vec<Error>,
    /// Whether it was ended before it was done.
    pub was_stopped: bool,
}

impl Collection<'_> {
    fn keep(&self) -> Keep {
        Keep { outputs: self.keep_outputs, derivations: self.keep_derivations }
    }
}

impl LocalStore {
    /// Removes what no root needs, or says what that is.
    ///
    /// # Errors
    /// If it cannot be found out what is needed, or the database does not forget. What cannot be removed is told in
    /// [`Collected::failed`].
    pub fn collect(
        &self,
        wish: &Collection<'_>,
        tell: &mut dyn FnMut(CollectionNews<'_>),
    ) -> Result<Collected, Error> {
        if wish.is_rehearsal {
            return self.rehearse(wish, tell);
        }
        // The database needs some space to forget a path, which a full disk does not have.
        self.give_up_reserve()?;
        let collected = failpoint::reach("gc.reserve").and_then(|()| self.collect_locked(wish, tell));
        self.reserve();
        collected
    }

    /// Returns how many bytes of the store's disk this user may still fill.
    pub fn free_bytes(&self) -> Result<u64, Error> {
        let place = &self.location().real_store;
        let disk =
            rustix::fs::statvfs(place).map_err(Error::file("ask for free space on the disk of", place))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn collect_locked(
        &self,
        wish: &Collection<'_>,
        tell: &mut dyn FnMut(CollectionNews<'_>),
    ) -> Result<Collected, Error> {
        let Some(collector) = self.lock_out_until(wish.until)? else {
            return Ok(Collected { was_stopped: true, ..Collected::default() });
        };
        failpoint::reach("gc.locked")?;
        let socket = self.location().collector_socket();
        let failed = || Error::file("listen at", &socket);
        let (newcomers, bell) = Newcomers::new().map_err(failed())?;
        let answer = || server::serve(&collector.socket, bell, &newcomers, self.store_dir());
        let work = || {
            let _over = Over(&newcomers);
            let plan = self.plan(wish)?;
            failpoint::reach("gc.planned")?;
            tell(CollectionNews::Found(plan.len()));
            Removals::new(self, plan, &newcomers, wish.until, tell)?.run()
        };
        threads::beside(answer, work).map_err(failed())?
    }

    fn rehearse(
        &self,
        wish: &Collection<'_>,
        tell: &mut dyn FnMut(CollectionNews<'_>),
    ) -> Result<Collected, Error> {
        let plan = self.plan(wish)?;
        let names: Vec<String> = plan.names().collect();
        tell(CollectionNews::Found(names.len()));
        tell(CollectionNews::Gone(&names));
        let weighed = self.weigh_plan(plan, wish.until)?;
        Ok(Collected { gone: names.len(), was_stopped: wish.until.is_over(), ..weighed })
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
pub(crate) mod tests;
