//! Several processes on one store, and processes that are killed.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use local_store::{LocalStore, Location, Options};
use test_support::Scratch;

use crate::helper;

fn open(root: &Path) -> LocalStore {
    LocalStore::open(Location::below(root), Options::default()).unwrap()
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn several_processes_make_one_store() {
    let scratch = Scratch::new();
    // All of them make the store, and each two of them the same paths.
    let mut children: Vec<_> =
        (0..6).map(|process| helper::start(scratch.path(), process / 2 * 5, 10)).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let store = open(scratch.path());
    assert_eq!(store.all_valid().unwrap().len(), 4 * 20);
    let report = store.verify(true).unwrap();
    assert!(report.damaged.is_empty(), "{:?}", report.damaged);
    assert_eq!(store.lasting_roots().unwrap().roots.len(), 20);
}

#[test]
fn a_killed_process_leaves_nothing_in_the_way() {
    let scratch = Scratch::new();
    let seed = u64::from(std::process::id());
    for round in 0..30_u64 {
        let mut child = helper::start(scratch.path(), 0, 1000);
        // Now and then before the store is there at all, mostly in the middle of something.
        let wait = (seed + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57;
        thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(scratch.path());
        let report = store.verify(true).unwrap();
        assert!(report.damaged.is_empty(), "after {wait} ms: {:?}", report.damaged);
        assert!(
            names_in(&store.location().state_dir.join("builds")).is_empty(),
            "build directories are swept"
        );
    }
    let store = open(scratch.path());
    for round in 0..5 {
        helper::make_all(&store, scratch.path(), round);
    }
    let is_left_over = |name: &String| name.ends_with(".chroot") || name.starts_with(".tmp");
    let left: Vec<_> = names_in(&store.location().real_store).into_iter().filter(is_left_over).collect();
    assert!(left.is_empty(), "{left:?}");
}
