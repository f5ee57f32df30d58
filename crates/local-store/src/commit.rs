//! Making paths valid, many callers at a time.
//!
//! A sync and a commit cost the same for one path as for a hundred. So whoever comes first leads: it takes
//! all that wait, syncs their files once and commits one transaction. Those who come meanwhile wait for
//! their answer, or lead the next round.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use store_db::Transaction;
use store_path::{BuildRecord, PathInfo, Realisation, StorePath};

use crate::cycle::refuse_cycles;
use crate::durable;
use crate::error::Error;
use crate::failpoint;
use crate::store::{LocalStore, guard};

/// The known outputs of a derivation, by name.
pub(crate) type OutputRows = (StorePath, BTreeMap<String, StorePath>);

/// What one caller wants committed, wholly or not at all.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) infos: Vec<PathInfo>,
    pub(crate) outputs: Vec<OutputRows>,
    /// What outputs have turned out to be that nobody knew.
    pub(crate) realisations: Vec<Realisation>,
    /// How all of it was built, if it was.
    pub(crate) record: Option<BuildRecord>,
}

impl Request {
    fn write(&self, transaction: &mut Transaction<'_>) -> Result<(), Error> {
        transaction.register(&self.infos)?;
        for (drv, outputs) in &self.outputs {
            transaction.add_outputs(drv, outputs)?;
        }
        Ok(transaction.add_realisations(&self.realisations)?)
    }
}

/// Numbers the requests of one store.
type Ticket = u64;

/// What is waiting to be committed.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    state: Mutex<State>,
    /// Told whenever a round has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next: Ticket,
    /// In the order they came: a later one may refer to an earlier one.
    waiting: Vec<(Ticket, Request)>,
    has_leader: bool,
    answers: HashMap<Ticket, Result<(), Error>>,
}

impl LocalStore {
    /// Makes `infos` valid, all or none; their files are in place.
    ///
    /// Returns when they are synced and committed. Each refers to valid paths or to others of `infos`.
    pub fn register(&self, infos: &[PathInfo]) -> Result<(), Error> {
        self.register_with(infos.to_vec(), Vec::new())
    }

    pub(crate) fn register_with(&self, infos: Vec<PathInfo>, outputs: Vec<OutputRows>) -> Result<(), Error> {
        self.commit_request(Request { infos, outputs, realisations: Vec::new(), record: None })
    }

    /// Commits `request` with those of others that wait.
    pub(crate) fn commit_request(&self, request: Request) -> Result<(), Error> {
        refuse_cycles(&request.infos)?;
        if self.options.auto_optimise_store {
            request.infos.iter().try_for_each(|info| self.optimise_new(&info.path))?;
        }
        let mut state = guard(&self.commits.state);
        let ticket = state.next;
        state.next += 1;
        state.waiting.push((ticket, request));
        loop {
            if let Some(answer) = state.answers.remove(&ticket) {
                return answer;
            }
            if state.has_leader {
                state = self.commits.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.has_leader = true;
            let (tickets, requests): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.waiting).into_iter().unzip();
            drop(state);
            let round = Round { commits: &self.commits, tickets, answers: None };
            round.end(self.commit(&requests));
            state = guard(&self.commits.state);
        }
    }

    /// Syncs, then commits; one request that is refused does not keep the others from being committed.
    fn commit(&self, requests: &[Request]) -> Result<Vec<Result<(), Error>>, Error> {
        failpoint::reach("register.placed")?;
        if self.options.fsync_store_paths {
            let infos = requests.iter().flat_map(|request| &request.infos);
            let trees: Vec<_> = infos.map(|info| self.real_path(&info.path)).collect();
            durable::sync(&trees, &self.location().real_store)?;
        }
        failpoint::reach("register.synced")?;
        let below = self.rows_from_below(requests)?;
        let answers = match self.commit_rows(requests, &below) {
            Err(error @ Error::Records { .. }) => self.commit_unrecorded(requests, &below, error),
            result => result,
        }?;
        failpoint::reach("register.committed")?;
        Ok(answers)
    }

    /// Records first: they are committed before the transaction that makes their paths valid, and under its lock.
    fn commit_rows<'a>(
        &self,
        requests: impl IntoIterator<Item = &'a Request>,
        below: &[PathInfo],
    ) -> Result<Vec<Result<(), Error>>, Error> {
        self.with_database(|database| {
            database.transaction(|transaction| {
                transaction.register(below)?;
                let (mut answers, mut built) = (Vec::new(), Vec::new());
                for request in requests {
                    let answer = transaction.attempt(|inner| request.write(inner));
                    let record = request.record.as_ref().filter(|_| answer.is_ok());
                    built.extend(record.map(|record| (record, request.infos.as_slice())));
                    answers.push(answer);
                }
                failpoint::reach("register.rows")?;
                if !built.is_empty() {
                    self.record(&built, transaction)?;
                    failpoint::reach("register.recorded")?;
                }
                Ok(answers)
            })
        })
    }

    /// What was built cannot become valid now; the rest can.
    fn commit_unrecorded(
        &self,
        requests: &[Request],
        below: &[PathInfo],
        error: Error,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let error = Arc::new(error);
        let others = requests.iter().filter(|request| request.record.is_none());
        let mut answers = self.commit_rows(others, below)?.into_iter();
        let refused = || Err(Error::Together(Arc::clone(&error)));
        let answer = |request: &Request| match request.record {
            None => answers.next().unwrap_or(Err(Error::Abandoned)),
            Some(_) => refused(),
        };
        Ok(requests.iter().map(answer).collect())
    }
}

/// A round of commits; when it is dropped without an end, those who wait for it are told so.
struct Round<'commits> {
    commits: &'commits Commits,
    tickets: Vec<Ticket>,
    answers: Option<Vec<Result<(), Error>>>,
}

impl Round<'_> {
    fn end(mut self, outcome: Result<Vec<Result<(), Error>>, Error>) {
        self.answers = Some(outcome.unwrap_or_else(|error| {
            let error = Arc::new(error);
            self.tickets.iter().map(|_| Err(Error::Together(Arc::clone(&error)))).collect()
        }));
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let abandoned = || self.tickets.iter().map(|_| Err(Error::Abandoned)).collect();
        let answers = self.answers.take().unwrap_or_else(abandoned);
        let mut state = guard(&self.commits.state);
        state.answers.extend(self.tickets.iter().copied().zip(answers));
        state.has_leader = false;
        self.commits.ended.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests start threads")]
mod tests {
    use crate::error::Error;
    use crate::store::tests::{placed, scratch_store, some_path};
    use std::collections::BTreeSet;

    #[test]
    fn many_threads_each_get_their_own_answer() {
        let (_scratch, store) = scratch_store();
        let store = &store;
        let base = placed(store, "base", &[]);
        store.register(&[base]).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..16 {
                scope.spawn(move || {
                    for round in 0..10 {
                        let fine = placed(store, &format!("p{thread}-{round}"), &["base"]);
                        store.register(std::slice::from_ref(&fine)).unwrap();
                        assert!(store.is_valid(&fine.path).unwrap());
                        let bad = placed(store, &format!("b{thread}-{round}"), &["absent"]);
                        let error = store.register(std::slice::from_ref(&bad)).unwrap_err();
                        assert!(
                            matches!(&error, Error::Database(store_db::Error::InvalidReference { path, .. }) if *path == bad.path),
                            "{error}"
                        );
                    }
                });
            }
        });
        assert_eq!(store.all_valid().unwrap().len(), 161);
        assert_eq!(store.referrers(&some_path("base")).unwrap().len(), 160);
    }

    #[test]
    fn what_is_not_on_disk_never_becomes_valid() {
        let (_scratch, store) = scratch_store();
        let mut info = placed(&store, "there", &[]);
        info.path = some_path("elsewhere");
        let error = store.register(&[info]).unwrap_err().to_string();
        assert!(error.contains("cannot look at") && error.contains("elsewhere"), "{error}");
        assert_eq!(store.all_valid().unwrap(), BTreeSet::new());
    }
}
