//! When paths were last used, to the day, for a collection of what has not been used for long.
//!
//! A use is what a process keeps by temporary roots: what a build was asked for, and what builds that really ran took in;
//! and what a root is made for, or has kept when it is given up. It is noted once at the end of a command, and once a day.
#![expect(clippy::disallowed_methods, reason = "asks what day it is")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use store_db::{Reach, References};
use store_path::StorePath;

use crate::error::Error;
use crate::store::{LocalStore, guard};

const SECONDS_A_DAY: i64 = 24 * 60 * 60;

impl LocalStore {
    /// Notes that what this store keeps by temporary roots is used today.
    ///
    /// What cannot be noted counts as used when it became valid; no command fails for that.
    pub fn note_uses(&self) {
        let used = guard(&self.temp_roots).as_ref().map(|roots| roots.kept.clone()).unwrap_or_default();
        self.note_used(&used);
    }

    pub(crate) fn note_used(&self, paths: &BTreeSet<StorePath>) {
        let day = now() / SECONDS_A_DAY;
        let _: Result<(), Error> = self.with_database(|database| {
            let valid = database.valid_among(paths)?;
            if valid.is_empty() {
                return Ok(());
            }
            self.with_records(|records| records.note_uses(&valid, day, database))
        });
    }

    /// Returns when each of those of `paths` that are valid was used last, in seconds since 1970: when it became valid,
    /// to the end of the day on which a use of it was noted, or when something was used that refers to it.
    pub fn last_used(&self, paths: &[StorePath]) -> Result<BTreeMap<StorePath, i64>, Error> {
        let asked: BTreeSet<StorePath> = paths.iter().cloned().collect();
        let graph = self.with_database(|database| Ok(database.reference_graph(&asked, Reach::Referrers)?))?;
        let all: BTreeSet<StorePath> = graph.paths().iter().cloned().collect();
        let mut own = self.with_database(|database| Ok(database.registration_times(&all)?))?;
        for (path, day) in self.noted_uses(&all)? {
            let end_of_day = now().min((day + 1) * SECONDS_A_DAY - 1);
            own.entry(path).and_modify(|time| *time = end_of_day.max(*time));
        }
        let own: Vec<i64> = graph.paths().iter().map(|path| own.get(path).copied().unwrap_or(0)).collect();
        let times = hand_down(&graph, own);
        Ok(graph.paths().iter().cloned().zip(times).filter(|(path, _)| asked.contains(path)).collect())
    }
}

/// Gives each path the latest time of all that needs it.
fn hand_down(graph: &References, own: Vec<i64>) -> Vec<i64> {
    let mut latest_first: Vec<usize> = (0..own.len()).collect();
    latest_first.sort_by_key(|place| std::cmp::Reverse(own[*place]));
    let mut times = vec![None; own.len()];
    for start in latest_first {
        let mut ahead = vec![start];
        while let Some(place) = ahead.pop() {
            if times[place].is_none() {
                times[place] = Some(own[start]);
                ahead.extend(graph.of(place));
            }
        }
    }
    times.into_iter().zip(own).map(|(time, own)| time.unwrap_or(own)).collect()
}

fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Options;
    use crate::store::tests::{placed, scratch_store, some_path};

    /// When [`placed`] paths became valid.
    const REGISTERED: i64 = 1_700_000_000;

    fn times(store: &LocalStore) -> Vec<i64> {
        let paths = ["a", "b", "c", "d"].map(some_path);
        let times = store.last_used(&paths).unwrap();
        paths.iter().map(|path| times[path]).collect()
    }

    #[test]
    fn what_needs_a_path_uses_it() {
        let (_scratch, store) = scratch_store();
        let infos = [placed(&store, "a", &[]), placed(&store, "b", &["a", "b"]), placed(&store, "c", &["b"])];
        store.register(&infos).unwrap();
        let mut young = placed(&store, "d", &["a"]);
        young.registration_time = REGISTERED + 7;
        store.register(&[young]).unwrap();
        assert_eq!(times(&store), [REGISTERED + 7, REGISTERED, REGISTERED, REGISTERED + 7]);
        store.temp_root(&some_path("b")).unwrap();
        store.temp_root(&some_path("invalid")).unwrap();
        let before = now();
        store.note_uses();
        let found = times(&store);
        assert!(found[0] >= before && found[1] >= before, "{found:?}");
        assert_eq!(found[2..], [REGISTERED, REGISTERED + 7]);
    }

    #[test]
    fn a_use_is_forgotten_with_its_path_and_written_once_a_day() {
        let (_scratch, store) = scratch_store();
        store.register(&["a", "b", "c", "d"].map(|name| placed(&store, name, &[]))).unwrap();
        let all: BTreeSet<_> = ["a", "b", "c", "d"].map(some_path).into();
        store.note_used(&all);
        let wal = store.location().state_dir.join("db/store.sqlite-wal");
        let size = || wal.metadata().map_or(0, |metadata| metadata.len());
        let before = size();
        store.note_used(&all);
        assert_eq!(size(), before);
        let other = LocalStore::open(store.location().clone(), Options::default()).unwrap();
        other.delete(&[some_path("a")]).unwrap();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        assert_eq!(times(&store)[0], REGISTERED);
    }
}
