//! Which garbage goes, in which order: the same for a rehearsal and in earnest.

use std::collections::BTreeSet;
use std::path::PathBuf;

use store_db::PathId;
use store_path::StorePath;

use super::census::Census;
use super::ledger::{Ledger, weigh};
use super::leftovers::{Leftover, names};
use super::links::Links;
use super::logs::Logs;
use super::{Collected, Collection};
use crate::error::Error;
use crate::store::LocalStore;
use crate::threads::{on_each, processors};
use crate::until::Until;
use crate::weight::Weight;

/// So many trees are weighed before it is asked whether they are enough.
const PIECE: usize = 256;

/// What goes: leftovers first, then valid paths, each before all that it refers to.
pub(super) struct Plan {
    pub(super) census: Census,
    pub(super) left: Vec<Leftover>,
    pub(super) dead: Vec<PathId>,
    /// Rows that are forgotten after those, in such an order, too. Nothing is told of them, as nothing of them goes.
    pub(super) copied: Vec<PathId>,
    /// None if some garbage stays, whose logs are of use.
    pub(super) logs: Option<Logs>,
}

impl Plan {
    pub(super) fn len(&self) -> usize {
        self.left.len() + self.dead.len()
    }

    /// Returns what goes, in order, by its name in the store directory.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let dead = self.dead.iter().map(|path| self.census.graph.name(*path).to_owned());
        self.left.iter().map(|one| one.name.clone()).chain(dead)
    }

    fn truncate(&mut self, most: usize) {
        if most < self.len() {
            self.logs = None;
            self.copied.clear();
        }
        self.dead.truncate(most.saturating_sub(self.left.len()));
        self.left.truncate(most);
    }
}

impl LocalStore {
    /// Decides what goes.
    pub(super) fn plan(&self, wish: &Collection<'_>) -> Result<Plan, Error> {
        let logs = Some(Logs::list(&self.location().log_dir)?);
        let mut census = self.census_of(wish.keep(), wish.given_up)?;
        if !wish.is_rehearsal {
            self.note_rooted(&census.roots);
        }
        if let Some(since) = wish.unused_since {
            self.spare_used(since, &mut census)?;
        }
        let left = std::mem::take(&mut census.left);
        // What lies below refers to nothing here, so its rows are the last ones.
        let dead = census.graph.unmarked(&census.alive).into_iter();
        let (copied, dead) = dead.partition(|path| census.copied.contains(path));
        let mut plan = Plan { census, left, dead, copied, logs };
        if let Some(limit) = self.limit(wish)? {
            let enough = self.enough(&plan, limit, wish.until)?;
            plan.truncate(enough);
        }
        Ok(plan)
    }

    /// Marks what is dead and was used since then, with all that it needs.
    fn spare_used(&self, since: i64, census: &mut Census) -> Result<(), Error> {
        let dead = census.graph.paths().filter(|path| !census.alive.has(*path));
        let dead: BTreeSet<StorePath> = dead.map(|path| census.graph.path(path)).collect();
        for (path, _) in self.last_used(&dead)?.into_iter().filter(|(_, used)| *used >= since) {
            if let Some(path) = census.graph.find(&path) {
                census.graph.mark(path, &mut census.alive);
            }
        }
        Ok(())
    }

    /// Returns how many bytes are to be freed, if not all that can be.
    fn limit(&self, wish: &Collection<'_>) -> Result<Option<u64>, Error> {
        let Some(most) = wish.max_size_bytes else { return Ok(wish.max_freed_bytes) };
        let too_many = self.size_on_disk()?.saturating_sub(most);
        Ok(Some(wish.max_freed_bytes.map_or(too_many, |limit| limit.min(too_many))))
    }

    /// Returns how many of the plan free that many bytes, or all.
    fn enough(&self, plan: &Plan, limit: u64, until: Until<'_>) -> Result<usize, Error> {
        let (mut freed, mut count) = (0, 0);
        let ledger = Ledger::new(Links::read(self.location())?.inodes());
        let names: Vec<String> = plan.names().collect();
        for piece in names.chunks(PIECE) {
            if until.is_over() {
                break;
            }
            for weight in self.weigh_all(piece) {
                if freed >= limit {
                    return Ok(count);
                }
                freed += ledger.note_all(&weight);
                count += 1;
            }
        }
        Ok(count)
    }

    /// Says what a plan would free.
    pub(super) fn weigh_plan(&self, mut plan: Plan, until: Until<'_>) -> Result<Collected, Error> {
        let links = Links::read(self.location())?;
        let ledger = Ledger::new(links.inodes());
        let mut weighed = Collected::default();
        let names: Vec<String> = plan.names().collect();
        for piece in names.chunks(PIECE) {
            if until.is_over() {
                break;
            }
            weighed.freed_bytes += self.weigh_all(piece).iter().map(|one| ledger.note_all(one)).sum::<u64>();
        }
        let unshared = links.unshare(&ledger, true)?;
        weighed.links = unshared.links;
        weighed.freed_bytes += unshared.freed_bytes;
        if let Some(logs) = plan.logs.take() {
            let forgotten = logs.forget(&self.logged(&plan.census)?, true);
            weighed.logs = forgotten.logs;
            weighed.freed_bytes += forgotten.freed_bytes;
        }
        Ok(weighed)
    }

    /// Returns how many bytes the store directory takes on disk.
    fn size_on_disk(&self) -> Result<u64, Error> {
        let ledger = Ledger::default();
        let names = names(&self.location().real_store)?;
        let weights = names.chunks(PIECE).flat_map(|piece| self.weigh_all(piece));
        // Files in `.links` are counted with the last of their names, and this is one.
        Ok(weights.map(|weight| ledger.note_all(&weight)).sum())
    }

    fn weigh_all(&self, names: &[String]) -> Vec<Weight> {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.location().real_store.join(name)).collect();
        on_each(&paths, processors(), |path| weigh(path))
    }
}
