//! Taking garbage away, in batches.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use store_db::PathId;
use store_path::{Digest, StorePath};

use super::ledger::{Ledger, weigh};
use super::leftovers::Leftover;
use super::links::Links;
use super::newcomers::Newcomers;
use super::plan::Plan;
use super::{Collected, CollectionNews};
use crate::delete::remove_noting;
use crate::error::Error;
use crate::failpoint;
use crate::store::LocalStore;
use crate::threads::{processors, told};
use crate::until::Until;
use crate::weight::Link;

/// So many paths are forgotten in one transaction: a commit waits for the disk, and others wait for it.
const MOST_PATHS: usize = 500;

/// What a batch holds at most by what the database says, so that a stop is not far.
const MOST_BYTES: u64 = 1 << 30;

/// One collection, as it goes.
pub(super) struct Removals<'a> {
    store: &'a LocalStore,
    plan: Plan,
    newcomers: &'a Newcomers,
    until: Until<'a>,
    tell: &'a mut dyn FnMut(CollectionNews<'_>),
    links: Option<Links>,
    ledger: Ledger,
    done: Collected,
}

/// Something to be removed.
struct Doomed {
    name: String,
    path: PathBuf,
    digest: Option<Digest>,
    left: Option<Leftover>,
}

impl<'a> Removals<'a> {
    pub(super) fn new(
        store: &'a LocalStore,
        plan: Plan,
        newcomers: &'a Newcomers,
        until: Until<'a>,
        tell: &'a mut dyn FnMut(CollectionNews<'_>),
    ) -> Result<Self, Error> {
        let links = Links::read(store.location())?;
        let ledger = Ledger::new(links.inodes());
        let done = Collected::default();
        Ok(Self { store, plan, newcomers, until, tell, links: Some(links), ledger, done })
    }

    /// Takes all of it away, or as much as is wanted.
    pub(super) fn run(mut self) -> Result<Collected, Error> {
        if self.remove_left()?.is_continue() && self.remove_dead()?.is_continue() {
            self.forget_copied()?;
            self.forget_rest()?;
        } else {
            self.done.was_stopped = true;
        }
        if let Some(links) = self.links.take() {
            let unshared = links.unshare(&self.ledger, false)?;
            self.done.links = unshared.links;
            self.done.freed_bytes += unshared.freed_bytes;
        }
        Ok(self.done)
    }

    /// What is told of paths outlives none of them: logs, the build trace, our own records.
    fn forget_rest(&mut self) -> Result<(), Error> {
        let store = self.store;
        store.collect_dead_records()?;
        store.with_database(|database| {
            database.transaction(|transaction| Ok(transaction.forget_dead_realisations()?))
        })?;
        let Some(logs) = self.plan.logs.take() else { return Ok(()) };
        let Self { newcomers, plan: Plan { census, .. }, .. } = self;
        newcomers.doom(
            |fresh| {
                census.hear(fresh);
                Vec::<Digest>::new()
            },
            |_| None,
        );
        let forgotten = logs.forget(&store.logged(census)?, false);
        self.done.logs = forgotten.logs;
        self.done.freed_bytes += forgotten.freed_bytes;
        self.done.failed.extend(forgotten.failed);
        Ok(())
    }

    fn remove_left(&mut self) -> Result<ControlFlow<()>, Error> {
        let left = std::mem::take(&mut self.plan.left);
        for piece in left.chunks(MOST_PATHS) {
            if self.until.is_over() {
                return Ok(ControlFlow::Break(()));
            }
            // Somebody may have made one valid since.
            let named = |one: &Leftover| one.name.parse::<StorePath>().ok();
            let valid = self.store.valid_among(&piece.iter().filter_map(named).collect())?;
            let is_left = |one: &&Leftover| named(one).is_none_or(|path| !valid.contains(&path));
            let Self { newcomers, plan: Plan { census, .. }, .. } = self;
            let choose = |fresh: &[Digest]| {
                census.hear(fresh);
                let is_wanted =
                    |one: &&Leftover| one.digest.is_some_and(|digest| census.wanted.contains(&digest));
                piece.iter().filter(is_left).filter(|one| !is_wanted(one)).collect()
            };
            let left = newcomers.doom(choose, |one| one.digest);
            let doomed: Vec<Doomed> = left.into_iter().map(|one| self.left_over(one)).collect();
            self.remove(&doomed);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn remove_dead(&mut self) -> Result<ControlFlow<()>, Error> {
        let dead = std::mem::take(&mut self.plan.dead);
        let mut rest = dead.as_slice();
        while !rest.is_empty() {
            if self.until.is_over() {
                return Ok(ControlFlow::Break(()));
            }
            let (batch, after) = rest.split_at(self.batch(rest));
            rest = after;
            let doomed = self.forget(batch)?;
            self.remove(&doomed);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Forgets the rows of what is valid below all the same.
    fn forget_copied(&mut self) -> Result<(), Error> {
        for batch in std::mem::take(&mut self.plan.copied).chunks(MOST_PATHS) {
            self.forget(batch)?;
            self.newcomers.none_is_going();
        }
        Ok(())
    }

    /// Returns how many of the next paths go together.
    fn batch(&self, rest: &[PathId]) -> usize {
        let mut bytes = 0_u64;
        let fits = |path: &&PathId| {
            let had = bytes;
            bytes = bytes.saturating_add(self.plan.census.graph.size(**path));
            had == 0 || bytes <= MOST_BYTES
        };
        rest.iter().take(MOST_PATHS).take_while(fits).count().max(1)
    }

    /// Makes paths invalid that are still dead, and returns what their files are.
    fn forget(&mut self, batch: &[PathId]) -> Result<Vec<Doomed>, Error> {
        let Self { newcomers, plan: Plan { census, .. }, .. } = self;
        let choose = |fresh: &[Digest]| {
            census.hear(fresh);
            let dead = batch.iter().filter(|path| !census.alive.has(**path));
            dead.map(|path| (*path, *census.graph.path(*path).digest())).collect()
        };
        let dead = newcomers.doom(choose, |(_, digest)| Some(*digest));
        let dead: Vec<PathId> = dead.into_iter().map(|(path, _)| path).collect();
        let kept = self.store.with_database(|database| {
            database.transaction(|transaction| Ok(transaction.forget(&census.graph, &dead)?))
        })?;
        failpoint::reach("gc.committed")?;
        for path in &kept {
            census.graph.mark(*path, &mut census.alive);
            self.newcomers.is_gone(census.graph.path(*path).digest());
        }
        let kept: BTreeSet<PathId> = kept.into_iter().collect();
        let gone: Vec<PathId> = dead.into_iter().filter(|path| !kept.contains(path)).collect();
        failpoint::reach("gc.forgotten")?;
        let graph = &self.plan.census.graph;
        Ok(gone.into_iter().map(|path| self.dead(&graph.path(path))).collect())
    }

    fn dead(&self, path: &StorePath) -> Doomed {
        let (digest, place) = (Some(*path.digest()), self.store.real_path(path));
        Doomed { name: path.to_string(), path: place, digest, left: None }
    }

    fn left_over(&self, left: &Leftover) -> Doomed {
        let path = self.store.location().real_store.join(&left.name);
        Doomed { name: left.name.clone(), path, digest: left.digest, left: Some(left.clone()) }
    }

    /// Removes files, by all processors.
    fn remove(&mut self, doomed: &[Doomed]) {
        let Self { newcomers, until, tell, ledger, done, .. } = self;
        let (newcomers, until, ledger) = (*newcomers, *until, &*ledger);
        let work = |one: &Doomed| {
            let removed = (!until.is_over()).then(|| one.remove(ledger));
            one.digest.iter().for_each(|digest| newcomers.is_gone(digest));
            removed
        };
        let mut removed = vec![false; doomed.len()];
        told(doomed, processors(), work, |index, outcome| {
            match outcome {
                // Its row is gone: the next collection finds it left over.
                None => return,
                Some((freed, result)) => {
                    done.freed_bytes += freed;
                    removed[index] = result.is_ok();
                    done.failed.extend(result.err());
                }
            }
            done.gone += usize::from(removed[index]);
            tell(CollectionNews::Progress { gone: done.gone, freed_bytes: done.freed_bytes });
        });
        newcomers.none_is_going();
        let gone = doomed.iter().zip(removed).filter(|(_, removed)| *removed);
        let gone: Vec<String> = gone.map(|(one, _)| one.name.clone()).collect();
        tell(CollectionNews::Gone(&gone));
    }
}

impl Doomed {
    /// Removes it, and returns how many bytes that frees.
    fn remove(&self, ledger: &Ledger) -> (u64, Result<(), Error>) {
        let freed = AtomicU64::new(0);
        let note = |stat: &rustix::fs::Stat| {
            freed.fetch_add(ledger.note(Link::of(stat)), Ordering::Relaxed);
        };
        let in_its_way = self.left.as_ref().and_then(|left| {
            let before = weigh(&self.path);
            let removed = left.remove_in_its_way(&self.path)?;
            freed.fetch_add(ledger.note_all(&before), Ordering::Relaxed);
            Some(removed)
        });
        let result = in_its_way.unwrap_or_else(|| remove_noting(&self.path, &note));
        (freed.into_inner(), result.and_then(|()| failpoint::reach("gc.removed")))
    }
}
