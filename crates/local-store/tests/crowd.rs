//! Many processes that register and ask while one holds the lock for writing: nobody fails.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use local_store::{LocalStore, Location, Options};
use store_db::{Db, Error};
use store_path::{Name, StorePath};
use test_support::Scratch;

const ROOT: &str = "LOCAL_STORE_CROWD_ROOT";
const TASK: &str = "LOCAL_STORE_CROWD_TASK";

fn start(root: &Path, task: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "crowd::member", "--nocapture", "--quiet"])
        .env(ROOT, root)
        .env(TASK, task)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test by itself: does nothing unless it is started by [`start`].
#[test]
fn member() {
    let (Some(root), Ok(task)) = (env::var_os(ROOT), env::var(TASK)) else { return };
    let (root, words) = (PathBuf::from(root), task.split(' ').collect::<Vec<_>>());
    match words[..] {
        ["hold", seconds] => hold(&root, Duration::from_secs(seconds.parse().unwrap())),
        [number, rounds] => register_and_ask(&root, number, rounds.parse().unwrap()),
        _ => panic!("{task}"),
    }
}

fn hold(root: &Path, time: Duration) {
    let database = Location::below(root).state_dir.join("db/db.sqlite");
    let options = store_db::Options { wal: true, synchronous: true };
    let mut db = Db::open(&database, store_path::StoreDir::default(), options).unwrap();
    let result: Result<(), Error> = db.transaction(|_| {
        std::fs::write(root.join("held"), "").unwrap();
        sleep(time);
        Ok(())
    });
    result.unwrap();
}

fn register_and_ask(root: &Path, number: &str, rounds: usize) {
    let store = LocalStore::open(Location::below(root), Options::default()).unwrap();
    let mut last: Option<StorePath> = None;
    for round in 0..rounds {
        let name: Name = format!("p{number}-{round}").parse().unwrap();
        // Each refers to the one before, of ten one after the other.
        let references: BTreeSet<StorePath> = last.take().filter(|_| round % 10 != 0).into_iter().collect();
        let path = store.add_text(&name, number.as_bytes(), &references).unwrap();
        let closure = store.closure(&BTreeSet::from([path.clone()])).unwrap();
        assert_eq!(closure.len(), round % 10 + 1);
        assert_eq!(store.path_info(&path).unwrap().unwrap().references, references);
        last = Some(path);
    }
}

/// Returns how long the members took after the lock was held, and how long the slowest question did meanwhile.
fn crowd(members: usize, rounds: usize, seconds: u64) -> (Duration, Duration) {
    let scratch = Scratch::new();
    drop(LocalStore::open(Location::below(scratch.path()), Options::default()).unwrap());
    let mut holder = start(scratch.path(), &format!("hold {seconds}"));
    while !scratch.join("held").exists() {
        sleep(Duration::from_millis(5));
    }
    let begin = Instant::now();
    let mut all: Vec<Child> =
        (0..members).map(|number| start(scratch.path(), &format!("{number} {rounds}"))).collect();
    // Whoever only asks is not kept waiting.
    let mut slowest = Duration::ZERO;
    while holder.try_wait().unwrap().is_none() {
        let asked = Instant::now();
        let reader = LocalStore::open_to_read(Location::below(scratch.path()), Options::default());
        let found = reader.unwrap().unwrap().all_valid().unwrap();
        if holder.try_wait().unwrap().is_none() {
            assert!(found.is_empty());
            slowest = slowest.max(asked.elapsed());
        }
        sleep(Duration::from_millis(20));
    }
    assert!(holder.wait().unwrap().success());
    assert!(all.iter_mut().all(|member| member.wait().unwrap().success()));
    let took = begin.elapsed();
    let store = LocalStore::open(Location::below(scratch.path()), Options::default()).unwrap();
    assert_eq!(store.all_valid().unwrap().len(), members * rounds);
    (took, slowest)
}

#[test]
fn many_register_while_one_holds_the_lock() {
    crowd(16, 10, 2);
}

/// The whole: `cargo test --package local-store -- --ignored sixty_four --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn sixty_four_processes_register_a_thousand_paths_each() {
    let (took, slowest) = crowd(64, 1000, 20);
    println!(
        "64 x 1000 registrations in {took:?}, the slowest question while the lock was held in {slowest:?}"
    );
}
