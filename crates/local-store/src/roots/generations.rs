//! Old generations of profiles: roots that nobody needs who does not want to go back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::kind::{self, Root};
use super::links::Walk;
use super::list;
use crate::error::Error;
use crate::open_file::{lock, open_lock_file};
use crate::store::LocalStore;
use crate::sweep::remove_unheld;

/// A generation of a profile.
struct Generation {
    link: PathBuf,
    number: u64,
    is_current: bool,
    /// When it was made, in seconds since 1970.
    made: i64,
}

impl LocalStore {
    /// Returns the links of generations that can be given up, as Nix does: all but the one in use, of each profile that
    /// is the store's or the caller's; with `since`, in seconds since 1970, only those that were not in use any more then.
    pub fn old_generations(&self, since: Option<i64>) -> Result<Vec<PathBuf>, Error> {
        let profiles = self.profiles()?;
        Ok(profiles.iter().flat_map(|profile| old(&generations(profile), since)).collect())
    }

    /// Gives up what [`LocalStore::old_generations`] returns, and returns it.
    ///
    /// Nobody switches a profile meanwhile, by the lock that Nix takes for that.
    pub fn remove_old_generations(&self, since: Option<i64>) -> Result<Vec<PathBuf>, Error> {
        let mut gone = Vec::new();
        for profile in self.profiles()? {
            if old(&generations(&profile), since).is_empty() {
                continue;
            }
            let mut lock_path = profile.clone().into_os_string();
            lock_path.push(".lock");
            let lock_path = PathBuf::from(lock_path);
            let file = open_lock_file(&lock_path)?;
            lock(&file, &lock_path, FlockOperation::LockExclusive)?;
            // Which one is in use is asked once more, as it stays so now.
            for link in old(&generations(&profile), since) {
                self.remove_link(&link)?;
                gone.push(link);
            }
            drop(file);
            remove_unheld(&lock_path);
        }
        Ok(gone)
    }

    /// Returns the profiles that have generations here, and are the store's or the caller's.
    fn profiles(&self) -> Result<BTreeSet<PathBuf>, Error> {
        let own = rustix::process::geteuid().as_raw();
        let below = self.location().state_dir.join("profiles");
        let is_ours = |link: &Path| {
            link.starts_with(&below) || fs::symlink_metadata(link).is_ok_and(|metadata| metadata.uid() == own)
        };
        let roots = Walk::new(self.location()).all()?.roots;
        let profiles = roots.into_iter().filter_map(|(_, root)| match root {
            Root::Generation { link, profile, .. } if is_ours(&link) => Some(profile),
            _ => None,
        });
        Ok(profiles.collect())
    }
}

/// Returns the generations of `profile` by number; none if it is not clear which one is in use.
fn generations(profile: &Path) -> BTreeMap<u64, Generation> {
    let entries = list(profile.parent().unwrap_or(Path::new("/"))).unwrap_or_default();
    let generations = entries.into_iter().filter_map(|link| match kind::generation(&link)? {
        Root::Generation { link, profile: own, number, is_current } if own == profile => {
            let made = fs::symlink_metadata(&link).ok()?.mtime();
            Some((number, Generation { link, number, is_current, made }))
        }
        _ => None,
    });
    let generations: BTreeMap<_, _> = generations.collect();
    let has_current = generations.values().any(|generation| generation.is_current);
    if has_current { generations } else { BTreeMap::new() }
}

/// Chooses those that go. The newest one that is older than `since` was in use then, so it stays.
fn old(generations: &BTreeMap<u64, Generation>, since: Option<i64>) -> Vec<PathBuf> {
    let was_in_use = |since: i64| generations.values().rev().find(|generation| generation.made < since);
    let before = match since {
        None => Some(u64::MAX),
        Some(since) => was_in_use(since).map(|generation| generation.number),
    };
    let goes = |one: &&Generation| !one.is_current && before.is_some_and(|before| one.number < before);
    generations.values().filter(goes).map(|one| one.link.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{placed, scratch_store, some_path};
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    use std::os::unix::fs::symlink;

    /// Makes generations 1 to 4, made at 100, 200, 300 and 400 seconds, of which the given one is in use.
    fn profile(store: &LocalStore, current: u64) -> PathBuf {
        let profile = store.location().state_dir.join("profiles/p");
        for number in 1..=4 {
            let link = profile.with_file_name(format!("p-{number}-link"));
            symlink(store.store_dir().print(&some_path("a")), &link).unwrap();
            let time = Timespec { tv_sec: 100 * number, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, &link, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        symlink(format!("p-{current}-link"), &profile).unwrap();
        profile
    }

    #[track_caller]
    fn check(current: u64, since: Option<i64>, gone: &[u64]) {
        let (_scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        let profile = profile(&store, current);
        let links = |numbers: &[u64]| -> Vec<PathBuf> {
            numbers.iter().map(|number| profile.with_file_name(format!("p-{number}-link"))).collect()
        };
        assert_eq!(store.old_generations(since).unwrap(), links(gone));
        assert_eq!(store.remove_old_generations(since).unwrap(), links(gone));
        let left: Vec<u64> = (1..=4).filter(|number| !gone.contains(number)).collect();
        assert!(
            links(&left).iter().all(|link| link.is_symlink())
                && !links(gone).iter().any(|link| link.is_symlink())
        );
        assert!(!profile.with_file_name("p.lock").exists());
        assert_eq!(store.old_generations(since).unwrap(), links(&[]));
    }

    #[test]
    fn all_but_the_one_in_use_are_old() {
        check(4, None, &[1, 2, 3]);
        check(2, None, &[1, 3, 4]);
    }

    #[test]
    fn the_one_that_was_in_use_then_stays() {
        check(4, Some(350), &[1, 2]);
        check(4, Some(300), &[1]);
        check(1, Some(1000), &[2, 3]);
        check(4, Some(50), &[]);
    }

    #[test]
    fn a_profile_that_leads_nowhere_is_left_alone() {
        check(7, None, &[]);
    }
}
