//! How paths were built, in a database of our own, opened by the first who needs it.
//!
//! Order of locks: Nix's database, then [`LocalStore::records`], then our own database.

use std::collections::{BTreeMap, BTreeSet};

use store_db::{Records, Transaction};
use store_path::{BuildRecord, Expected, FailedBuild, PathInfo, Realisation, StorePath};

use crate::commit::Request;
use crate::error::Error;
use crate::failpoint;
use crate::store::{LocalStore, Use, guard};

/// So many are forgotten in one transaction, for which others wait.
const SOME_RECORDS: usize = 500;

impl LocalStore {
    /// Makes `infos` valid, all or none, which were built as `record` says; see [`LocalStore::register`].
    ///
    /// The record is committed first: what could not be recorded does not become valid. With the paths, what
    /// `realisations` say is entered in the build trace; their paths are among `infos` or valid. Both are signed, see
    /// [`LocalStore::sign_builds_with`].
    pub fn register_built(
        &self,
        infos: &[PathInfo],
        mut realisations: Vec<Realisation>,
        record: BuildRecord,
    ) -> Result<(), Error> {
        let mut signed = infos.to_vec();
        self.sign_built(&mut signed, &mut realisations);
        self.commit_request(Request {
            infos: signed,
            outputs: Vec::new(),
            realisations,
            // What made nothing new is no build of anything.
            record: (!infos.is_empty()).then_some(record),
        })
    }

    /// Finds out, before anything is built, whether it can be recorded how.
    pub fn check_records(&self) -> Result<(), Error> {
        self.with_records(|_| Ok(()))
    }

    /// Returns how those of `paths` were built that are valid and were built here.
    ///
    /// About the others nothing is known: somebody else made them, or their records are gone.
    pub fn builds(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeMap<StorePath, BuildRecord>, Error> {
        let mut known = match &self.lower {
            Some(lower) => lower.builds(paths)?,
            None => BTreeMap::new(),
        };
        if self.has_records() {
            let own =
                self.with_database(|database| self.with_records(|records| records.of(paths, database)))?;
            known.extend(own);
        }
        Ok(known)
    }

    /// Returns what is to be expected of building each of `drvs`, in their order, as far as anything like it was built
    /// here.
    pub fn expected(&self, drvs: &[&StorePath]) -> Result<Vec<Option<Expected>>, Error> {
        if drvs.is_empty() || !self.has_records() {
            return Ok(vec![None; drvs.len()]);
        }
        self.with_records(|records| records.expected(drvs))
    }

    /// Writes down a build that was tried in vain.
    pub fn record_failure(&self, failure: &FailedBuild) -> Result<(), Error> {
        self.with_records(|records| records.add_failure(failure))?;
        failpoint::reach("failure.recorded")
    }

    /// Returns the last builds that failed, at most so many, the last one first. What was cancelled has not failed.
    pub fn failures(&self, most: usize) -> Result<Vec<FailedBuild>, Error> {
        if !self.has_records() {
            return Ok(Vec::new());
        }
        self.with_records(|records| records.failures(most))
    }

    /// Returns the last build of `drv` that failed or was cancelled, as far as that is still remembered.
    pub fn last_failure(&self, drv: &StorePath) -> Result<Option<FailedBuild>, Error> {
        if !self.has_records() {
            return Ok(None);
        }
        self.with_records(|records| records.last_failure(drv))
    }

    /// Returns what is wrong with the database.
    pub(crate) fn records_problems(&self, thorough: bool) -> Result<Vec<String>, Error> {
        if self.has_records() { self.with_records(|records| records.check(thorough)) } else { Ok(Vec::new()) }
    }

    /// Records builds whose paths `transaction` is about to make valid.
    pub(crate) fn record(
        &self,
        built: &[(&BuildRecord, &[PathInfo])],
        transaction: &Transaction<'_>,
    ) -> Result<(), Error> {
        self.with_records(|records| records.add(built, transaction))
    }

    /// Forgets how `paths` were built, which are not valid any more.
    ///
    /// What cannot be forgotten now does no harm, since nobody believes it, and is swept later.
    pub(crate) fn collect_records(&self, paths: &BTreeSet<StorePath>) {
        if self.has_records() {
            let _: Result<(), Error> = self.with_database(|database| {
                database.transaction(|transaction| {
                    self.with_records(|records| records.collect(paths, transaction))
                })
            });
        }
    }

    /// Returns the days on which those of `paths` were used last of which one is noted, in days since 1970.
    pub(crate) fn noted_uses(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeMap<StorePath, i64>, Error> {
        if !self.has_records() {
            return Ok(BTreeMap::new());
        }
        self.with_records(|records| records.uses(paths))
    }

    /// Forgets how everything was built that is not valid any more, also what somebody else has taken away.
    pub(crate) fn collect_dead_records(&self) -> Result<(), Error> {
        if !self.has_records() {
            return Ok(());
        }
        let dead = self.with_database(|database| self.with_records(|records| records.dead(database)))?;
        for some in dead.chunks(SOME_RECORDS) {
            self.collect_records(&some.iter().cloned().collect());
        }
        Ok(())
    }

    /// A store in which nothing was built has none, and reading makes none.
    fn has_records(&self) -> bool {
        self.location().records().exists()
    }

    pub(crate) fn with_records<T>(
        &self,
        work: impl FnOnce(&mut Records) -> Result<T, store_db::Error>,
    ) -> Result<T, Error> {
        let failed = |source| Error::Records { source };
        let mut records = guard(&self.records);
        if records.is_none() {
            *records = Some(self.open_records().map_err(failed)?);
        }
        let Some(open) = records.as_mut() else { return Err(Error::Abandoned) };
        let answer = work(open);
        if let Err(error) = open.check_unchanged() {
            // One that has become stale is not used again.
            *records = None;
            return Err(failed(error));
        }
        answer.map_err(failed)
    }
}

impl LocalStore {
    fn open_records(&self) -> Result<Records, store_db::Error> {
        let (path, store_dir) = (self.location().records(), self.store_dir().clone());
        let records = match self.usage {
            Use::ReadUntouched => return Records::open_untouched(&path, store_dir),
            Use::Read => Records::open_to_read(&path, store_dir)?,
            Use::Write => Records::open(&path, store_dir, self.database_options())?,
        };
        records.with_patience(self.patience())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk and start threads")]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::store::tests::{placed, scratch_store, some_path};
    use store_path::IsolationText;

    fn record(text: &str) -> BuildRecord {
        BuildRecord {
            drv: some_path("x.drv"),
            started_millis: 1,
            wall_time: Duration::from_micros(1),
            user_time: Duration::ZERO,
            system_time: Duration::ZERO,
            peak_memory_bytes: 1,
            written_bytes: 0,
            isolation: Arc::new(IsolationText { format: 1, isolated: true, text: text.to_owned() }),
        }
    }

    fn known(store: &LocalStore, name: &str) -> Option<BuildRecord> {
        let path = some_path(name);
        store.builds(&BTreeSet::from([path.clone()])).unwrap().remove(&path)
    }

    #[test]
    fn what_was_built_is_known_until_it_is_deleted() {
        let (_scratch, store) = scratch_store();
        let added = placed(&store, "added", &[]);
        store.register(&[added]).unwrap();
        assert_eq!(known(&store, "added"), None);
        assert!(!store.has_records(), "nothing was built here");
        store.register_built(&[placed(&store, "built", &[])], Vec::new(), record("first")).unwrap();
        assert_eq!(known(&store, "built"), Some(record("first")));
        store.delete(&[some_path("built")], store_db::Keep::default()).unwrap();
        store.register(&[placed(&store, "built", &[])]).unwrap();
        assert_eq!(known(&store, "built"), None, "it was added, not built");
        store.delete(&[some_path("built")], store_db::Keep::default()).unwrap();
        store.register_built(&[placed(&store, "built", &[])], Vec::new(), record("second")).unwrap();
        assert_eq!(known(&store, "built"), Some(record("second")));
    }

    #[test]
    fn what_cannot_be_recorded_does_not_become_valid_and_nothing_else_suffers() {
        let (_scratch, store) = scratch_store();
        std::fs::write(store.location().records(), "x".repeat(5000)).unwrap();
        let error = store.check_records().unwrap_err();
        assert!(error.to_string().contains("cannot record"), "{error}");
        let store = &store;
        std::thread::scope(|scope| {
            for number in 0..8 {
                scope.spawn(move || {
                    let added = placed(store, &format!("added-{number}"), &[]);
                    store.register(&[added]).unwrap();
                    let built = placed(store, &format!("built-{number}"), &[]);
                    let error = store.register_built(&[built], Vec::new(), record("")).unwrap_err();
                    let is_record_error = |error: &Error| match error {
                        Error::Together(error) => matches!(&**error, Error::Records { .. }),
                        error => matches!(error, Error::Records { .. }),
                    };
                    assert!(is_record_error(&error), "{error:?}");
                });
            }
        });
        let valid = store.all_valid().unwrap();
        assert_eq!(valid.len(), 8);
        assert!(valid.iter().all(|path| path.to_string().contains("added")), "{valid:?}");
        store.delete(&[some_path("added-0")], store_db::Keep::default()).unwrap();
    }

    #[test]
    fn a_build_that_is_refused_leaves_no_record() {
        let (_scratch, store) = scratch_store();
        let bad = placed(&store, "bad", &["absent"]);
        store.register_built(&[bad], Vec::new(), record("")).unwrap_err();
        assert!(!store.has_records());
    }
}
