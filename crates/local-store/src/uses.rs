//! When paths were last used, to the day, for a collection of what has not been used for long.
//!
//! A use is what a process keeps by temporary roots: what a build was asked for, and what builds that really ran took in;
//! and what a root is made for, or has kept when it is given up. It is noted once at the end of a command, and once a day.

use std::collections::{BTreeMap, BTreeSet};

use store_path::StorePath;

use crate::add::now;
use crate::error::Error;
use crate::roots::Root;
use crate::store::{LocalStore, guard};

const SECONDS_A_DAY: i64 = 24 * 60 * 60;

impl LocalStore {
    /// Notes that what this store keeps by temporary roots is used today.
    ///
    /// What cannot be noted counts as used when it became valid; no command fails for that.
    pub fn note_uses(&self) {
        let used =
            guard(&self.temp_roots).as_ref().map(|roots| &roots.kept | &roots.former).unwrap_or_default();
        self.note_used(&used);
    }

    /// Of what became valid today that is known, so it costs no write.
    pub(crate) fn note_used(&self, paths: &BTreeSet<StorePath>) {
        let day = now() / SECONDS_A_DAY;
        let _: Result<(), Error> = self.with_database(|database| {
            let mut times = database.registration_times(paths)?;
            times.retain(|_, time| *time / SECONDS_A_DAY < day);
            if times.is_empty() {
                return Ok(());
            }
            let used = times.into_keys().collect();
            self.with_records(|records| records.note_uses(&used, day, database))
        });
    }

    /// Notes that what `roots` keep by themselves is used today, save generations of profiles that are not in use.
    pub(crate) fn note_rooted(&self, roots: &[(StorePath, Root)]) {
        let is_old = |root: &Root| matches!(root, Root::Generation { is_current: false, .. });
        self.note_used(
            &roots.iter().filter(|(_, root)| !is_old(root)).map(|(path, _)| path.clone()).collect(),
        );
    }

    /// Returns when each of those of `paths` that are valid was used last, in seconds since 1970: when it became valid, or
    /// to the end of the day on which a use of it was noted.
    ///
    /// What has been used otherwise, by something that refers to it, is used as late as that: that is for the caller.
    pub(crate) fn last_used(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeMap<StorePath, i64>, Error> {
        let mut times = self.with_database(|database| Ok(database.registration_times(paths)?))?;
        for (path, day) in self.noted_uses(paths)? {
            let end_of_day = now().min((day + 1) * SECONDS_A_DAY - 1);
            times.entry(path).and_modify(|time| *time = end_of_day.max(*time));
        }
        Ok(times)
    }
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
        let times = store.last_used(&paths.clone().into()).unwrap();
        paths.iter().map(|path| times[path]).collect()
    }

    #[test]
    fn what_was_about_to_be_used_was() {
        let (_scratch, store) = scratch_store();
        let infos = [placed(&store, "a", &[]), placed(&store, "b", &["a", "b"]), placed(&store, "c", &["b"])];
        store.register(&infos).unwrap();
        let mut young = placed(&store, "d", &["a"]);
        young.registration_time = REGISTERED + 7;
        store.register(&[young]).unwrap();
        store.temp_root(&some_path("b")).unwrap();
        store.temp_root(&some_path("invalid")).unwrap();
        let before = now();
        store.note_uses();
        let found = times(&store);
        assert!(found[1] >= before, "{found:?}");
        assert_eq!([found[0], found[2], found[3]], [REGISTERED, REGISTERED, REGISTERED + 7]);
    }

    #[test]
    fn what_a_root_has_kept_was_used_until_it_was_given_up() {
        let (scratch, store) = scratch_store();
        store.register(&["a", "b", "c", "d"].map(|name| placed(&store, name, &[]))).unwrap();
        let link = |name: &str| scratch.join(name);
        let other = LocalStore::open(store.location().clone(), Options::default()).unwrap();
        for (name, path) in [("one", "a"), ("two", "b")] {
            other.add_root(&link(name), &some_path(path)).unwrap();
        }
        drop(other);
        let before = now();
        store.add_root(&link("one"), &some_path("d")).unwrap();
        store.note_uses();
        store.remove_root(&link("two")).unwrap();
        let found = times(&store);
        assert!([0, 1, 3].into_iter().all(|index| found[index] >= before), "{found:?}");
        assert_eq!(found[2], REGISTERED);
    }

    #[test]
    fn a_use_is_forgotten_with_its_path_and_written_once_a_day() {
        let (_scratch, store) = scratch_store();
        store.register(&["a", "b", "c", "d"].map(|name| placed(&store, name, &[]))).unwrap();
        let all: BTreeSet<_> = ["a", "b", "c", "d"].map(some_path).into();
        let fresh = placed(&store, "fresh", &[]);
        store.register(&[store_path::PathInfo { registration_time: now(), ..fresh }]).unwrap();
        store.note_used(&[some_path("fresh")].into());
        assert!(!store.location().records().exists(), "that it was used today is known");
        store.note_used(&all);
        let wal = store.location().state_dir.join("db/store.sqlite-wal");
        let size = || wal.metadata().map_or(0, |metadata| metadata.len());
        let before = size();
        store.note_used(&all);
        assert_eq!(size(), before);
        let other = LocalStore::open(store.location().clone(), Options::default()).unwrap();
        other.delete(&[some_path("a")], store_db::Keep::default()).unwrap();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        assert_eq!(times(&store)[0], REGISTERED);
    }
}
