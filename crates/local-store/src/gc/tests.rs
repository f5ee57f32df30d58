use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;
use crate::open_file::{open_lock_file, try_lock};
use crate::store::Options;
use crate::store::tests::{placed, scratch_store, some_path};
use rustix::fs::FlockOperation;
use store_path::{PathInfo, StorePath};

/// All of it.
pub(crate) const ALL: Collection<'static> = Collection {
    keep_outputs: false,
    keep_derivations: true,
    max_freed_bytes: None,
    max_size_bytes: None,
    is_rehearsal: false,
    unused_since: None,
    given_up: &[],
    until: Until::DONE,
};

fn collect(store: &LocalStore, wish: &Collection<'_>) -> (Vec<String>, Collected) {
    let mut gone = Vec::new();
    let collected = store
        .collect(wish, &mut |news| {
            if let CollectionNews::Gone(names) = news {
                gone.extend(names.iter().cloned());
            }
        })
        .unwrap();
    assert!(collected.failed.is_empty(), "{:?}", collected.failed);
    assert_eq!(collected.gone, gone.len());
    (gone, collected)
}

/// What a rehearsal says, and then what happens, which has to be the same.
fn both(store: &LocalStore, wish: &Collection<'_>) -> (Vec<String>, Collected) {
    let (said, rehearsed) = collect(store, &Collection { is_rehearsal: true, ..*wish });
    let (gone, collected) = collect(store, wish);
    assert_eq!(said, gone);
    assert_eq!(rehearsed.freed_bytes, collected.freed_bytes);
    assert_eq!(rehearsed.links, collected.links);
    (gone, collected)
}

fn named(store: &LocalStore, name: &str) -> String {
    let _ = store;
    some_path(name).to_string()
}

#[test]
fn rows_of_what_lies_below_go_without_a_word() {
    let (_lower_scratch, lower) = scratch_store();
    lower.register(&[placed(&lower, "a", &[]), placed(&lower, "b", &["a"])]).unwrap();
    let scratch = test_support::Scratch::new();
    let location = crate::Location::below(scratch.path()).over(lower.location().clone());
    let store = LocalStore::open(location, Options::default()).unwrap();
    store.register(&[placed(&store, "c", &["b"]), placed(&store, "d", &[])]).unwrap();
    let rows = || {
        let graph = store.with_database(|database| Ok(database.graph(Keep::default())?)).unwrap();
        graph.paths().count()
    };
    let census = store.census(false, false).unwrap();
    assert_eq!((census.dead().len(), rows()), (2, 4), "two of them are of the lower store");
    let one = Collection { max_freed_bytes: Some(1), ..ALL };
    assert_eq!((both(&store, &one).0.len(), rows()), (1, 3));
    assert_eq!(both(&store, &ALL).0.len(), 1);
    assert_eq!(rows(), 0);
    assert!(store.is_valid(&some_path("b")).unwrap() && lower.real_path(&some_path("b")).exists());
}

/// c needs b, b needs a; d stands alone.
fn chain(store: &LocalStore) {
    let infos = [
        placed(store, "a", &[]),
        placed(store, "b", &["a"]),
        placed(store, "c", &["b", "c"]),
        placed(store, "d", &[]),
    ];
    store.register(&infos).unwrap();
}

#[test]
fn what_no_root_needs_goes_from_the_top_down() {
    let (scratch, store) = scratch_store();
    chain(&store);
    store.add_root(&scratch.join("result"), &some_path("b")).unwrap();
    let location = store.location().clone();
    drop(store);
    let store = LocalStore::open(location, Options::default()).unwrap();
    let (gone, _) = both(&store, &ALL);
    assert_eq!(gone, ["c", "d"].map(|name| named(&store, name)));
    assert_eq!(store.all_valid().unwrap(), BTreeSet::from(["a", "b"].map(some_path)));
    fs::remove_file(scratch.join("result")).unwrap();
    assert_eq!(both(&store, &ALL).0, ["b", "a"].map(|name| named(&store, name)));
    assert!(store.all_valid().unwrap().is_empty());
    let names = fs::read_dir(&store.location().real_store).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [".links"]);
}

#[test]
fn what_processes_use_or_have_locked_stays() {
    let (_scratch, store) = scratch_store();
    chain(&store);
    let other = LocalStore::open(store.location().clone(), Options::default()).unwrap();
    other.temp_root(&some_path("b")).unwrap();
    // Whatever belongs to what is about to be made.
    let half = store.real_path(&some_path("b")).with_extension("chroot");
    fs::create_dir(&half).unwrap();
    let lock_path = store.location().real_store.join(format!("{}.lock", some_path("d")));
    let lock = open_lock_file(&lock_path).unwrap();
    assert!(try_lock(&lock, &lock_path, FlockOperation::NonBlockingLockExclusive).unwrap());
    let dead_lock = store.location().real_store.join(format!("{}.lock", some_path("dead")));
    drop(open_lock_file(&dead_lock).unwrap());
    let (gone, _) = both(&store, &ALL);
    let expected: BTreeSet<String> = [format!("{}.lock", some_path("dead")), named(&store, "c")].into();
    assert_eq!(gone.into_iter().collect::<BTreeSet<_>>(), expected);
    assert!(half.exists() && lock_path.exists() && !dead_lock.exists());
    assert_eq!(store.all_valid().unwrap(), BTreeSet::from(["a", "b", "d"].map(some_path)));
}

#[test]
fn what_is_left_over_goes_and_what_is_foreign_stays() {
    let (scratch, store) = scratch_store();
    let real = store.location().real_store.clone();
    let (half, check) = (real.join(named(&store, "half")), real.join(named(&store, "half") + ".check"));
    fs::create_dir_all(half.join("directory")).unwrap();
    fs::write(&check, "x").unwrap();
    fs::create_dir(real.join(named(&store, "x.drv") + ".chroot")).unwrap();
    fs::write(real.join(".tmp-2147483647-0"), "x").unwrap();
    fs::create_dir(real.join("precious")).unwrap();
    fs::write(scratch.join("outside"), "x").unwrap();
    symlink(scratch.join("outside"), real.join(named(&store, "link"))).unwrap();
    assert_eq!(both(&store, &ALL).0.len(), 5);
    assert!(real.join("precious").exists() && scratch.join("outside").exists());
    assert_eq!(fs::read_dir(&real).unwrap().count(), 2);
    assert!(both(&store, &ALL).0.is_empty());
}

/// A directory with two files in it, one of which is shared with `.links`.
fn shared(store: &LocalStore, name: &str) -> PathInfo {
    let path = some_path(name);
    let place = store.real_path(&path);
    let link = store.location().real_store.join(".links/shared");
    fs::create_dir(&place).unwrap();
    if !link.exists() {
        fs::write(&link, "x".repeat(100_000)).unwrap();
    }
    fs::hard_link(&link, place.join("shared")).unwrap();
    fs::hard_link(&link, place.join("again")).unwrap();
    fs::write(place.join("own"), "y".repeat(10_000)).unwrap();
    let (nar_hash, nar_size) = crate::add::hash_tree(&place).unwrap();
    PathInfo { nar_hash, nar_size, ..PathInfo { path, ..placed(store, "pattern", &[]) } }
}

#[test]
fn hard_links_count_once_and_when_the_last_one_goes() {
    let (_scratch, store) = scratch_store();
    let infos = [shared(&store, "x"), shared(&store, "y")];
    store.register(&infos).unwrap();
    fs::remove_file(store.real_path(&some_path("pattern"))).unwrap();
    let link = store.location().real_store.join(".links/shared");
    let bytes = fs::metadata(&link).unwrap().blocks() * 512;
    let blocks = |name: &str, file: &str| {
        fs::metadata(store.real_path(&some_path(name)).join(file)).unwrap().blocks() * 512
    };
    let own = ["x", "y"].map(|name| blocks(name, "own") + blocks(name, ""));
    let one = Collection { max_freed_bytes: Some(1), ..ALL };
    let (gone, first) = both(&store, &one);
    assert_eq!((gone.len(), first.freed_bytes, first.links), (1, own[0], 0));
    let (gone, second) = both(&store, &one);
    assert_eq!((gone.len(), second.freed_bytes, second.links), (1, own[1] + bytes, 1));
    assert!(!link.exists());
}

#[test]
fn a_limit_ends_it_and_the_next_one_goes_on() {
    let (_scratch, store) = scratch_store();
    chain(&store);
    for name in ["a", "b", "c", "d"] {
        // A file of a few bytes takes no block on some file systems.
        fs::write(store.real_path(&some_path(name)), "x".repeat(20_000)).unwrap();
    }
    assert!(both(&store, &Collection { max_freed_bytes: Some(0), ..ALL }).0.is_empty());
    let (gone, _) = both(&store, &Collection { max_freed_bytes: Some(30_000), ..ALL });
    assert_eq!(gone, ["c", "b"].map(|name| named(&store, name)));
    assert!(both(&store, &Collection { max_size_bytes: Some(1 << 30), ..ALL }).0.is_empty());
    let (gone, _) = both(&store, &Collection { max_size_bytes: Some(30_000), ..ALL });
    assert_eq!(gone, ["a"].map(|name| named(&store, name)));
    assert_eq!(both(&store, &Collection { max_size_bytes: Some(0), ..ALL }).0, [named(&store, "d")]);
}

#[test]
fn it_stops_when_it_is_told_to() {
    let (_scratch, store) = scratch_store();
    chain(&store);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    let stopped = Collection { until: Until::readable(Some(std::os::fd::AsFd::as_fd(&reader))), ..ALL };
    let (gone, collected) = collect(&store, &stopped);
    assert!(gone.is_empty() && collected.was_stopped);
    assert_eq!(store.all_valid().unwrap().len(), 4);
}

#[test]
fn a_census_changes_nothing() {
    let (_scratch, store) = scratch_store();
    chain(&store);
    let census = store.census(false, true).unwrap();
    assert_eq!((census.live().len(), census.dead().len(), census.roots.len()), (0, 4, 0));
    let valid: BTreeSet<StorePath> = store.all_valid().unwrap();
    assert_eq!(valid.len(), 4);
}

#[test]
fn what_was_used_since_stays_with_all_it_needs() {
    let (_scratch, store) = scratch_store();
    chain(&store);
    // When paths that are placed became valid.
    let registered = 1_700_000_000;
    let since = |time: i64| Collection { unused_since: Some(time), ..ALL };
    assert!(both(&store, &since(registered)).0.is_empty());
    {
        let user = LocalStore::open(store.location().clone(), Options::default()).unwrap();
        user.temp_root(&some_path("b")).unwrap();
        user.note_uses();
    }
    assert_eq!(both(&store, &since(registered + 1)).0.len(), 2);
    assert_eq!(store.all_valid().unwrap(), ["a", "b"].map(some_path).into());
}
