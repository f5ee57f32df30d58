//! What is learned and forgotten, on scratch files.
#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use store_path::StoreDir;

use super::*;
use crate::records::tests::{Pair, info, path, record};

impl Pair {
    /// Builds something of that name, in so many seconds and mebibytes; `started` is a time of day.
    fn built(&mut self, name: &str, started: i64, seconds: u64, mebibytes: u64) {
        let mut how = record("{}");
        how.drv = path(&format!("{name}.drv"));
        how.started_millis = started;
        how.wall_time = Duration::from_secs(seconds);
        how.peak_memory_bytes = mebibytes << 20;
        let records = &mut self.records;
        let infos = [info(name), info(&format!("{name}-dev"))];
        self.db
            .transaction(|transaction| {
                transaction.register(&infos)?;
                records.add(&[(&how, &infos)], transaction)
            })
            .unwrap();
    }

    /// Seconds, mebibytes, and whether it is of another version.
    fn told(&self, name: &str) -> Option<(u64, u64, bool)> {
        let expected = self.records.expected(&[&path(&format!("{name}.drv"))]).unwrap().remove(0)?;
        let memory = expected.peak_memory_bytes >> 20;
        Some((expected.wall_time.as_secs(), memory, expected.is_of_other_version))
    }
}

fn failure(number: i64) -> FailedBuild {
    FailedBuild {
        drv: path("x.drv"),
        started_millis: number,
        wall_time: Duration::from_millis(1_500),
        kind: "timed-out".to_owned(),
        why: "it took too long".to_owned(),
    }
}

#[test]
fn what_was_built_says_how_long_the_next_one_takes() {
    let mut pair = Pair::new();
    assert_eq!(pair.told("hello-2.12"), None);
    pair.built("hello-2.12", 1, 100, 64);
    assert_eq!(pair.told("hello-2.12"), Some((100, 64, false)));
    let sum = pair.records.expected(&[&path("hello-2.12.drv")]).unwrap()[0].unwrap().output_bytes;
    assert_eq!(sum, 240, "of both outputs");
    pair.built("hello-2.12", 2, 200, 32);
    assert_eq!(pair.told("hello-2.12"), Some((150, 48, false)), "the last counts for half");
    pair.built("hello-2.12", 3, 150, 128);
    assert_eq!(pair.told("hello-2.12"), Some((150, 128, false)), "what one took, the next may take");
}

#[test]
fn another_version_tells_what_its_own_does_not() {
    let mut pair = Pair::new();
    pair.built("hello-2.12", 2, 100, 64);
    pair.built("hello-2.11", 1, 50, 64);
    assert_eq!(pair.told("hello-2.13"), Some((100, 64, true)), "the last that was built");
    assert_eq!(pair.told("hello-2.11"), Some((50, 64, false)));
    assert_eq!(pair.told("hello-world-2.12"), None);
    let paths = [path("other.drv"), path("hello-2.11.drv"), path("hello-3.drv")];
    let expected = pair.records.expected(&paths.iter().collect::<Vec<_>>()).unwrap();
    let found: Vec<_> = expected.iter().map(|one| one.map(|one| one.is_of_other_version)).collect();
    assert_eq!(found, [None, Some(false), Some(true)]);
}

#[test]
fn a_build_is_recorded_although_nothing_can_be_learned_from_it() {
    let mut pair = Pair::new();
    pair.records.connection.execute_batch("drop table PastBuilds").unwrap();
    pair.built("hello-2.12", 1, 100, 64);
    assert_eq!((pair.count("Builds"), pair.count("Outputs")), (1, 2));
}

#[test]
fn names_that_were_not_built_for_long_are_forgotten() {
    let mut pair = Pair::new();
    let fill = format!(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) \
         insert into PastBuilds (name, stem, builds, last, wallTime, peakMemory, outputs) \
         select 'name-' || i, 'name', 1, i, 1, 1, '{{}}' from n",
        MOST_NAMES + SWEEP_EVERY - 1
    );
    pair.records.connection.execute_batch(&fill).unwrap();
    for number in 0..SWEEP_EVERY {
        pair.built(&format!("new{number}"), i64::MAX - 1, 1, 1);
    }
    assert!(pair.count("PastBuilds") < MOST_NAMES + SWEEP_EVERY, "{}", pair.count("PastBuilds"));
    assert_eq!(pair.told("name-1"), Some((0, 0, true)), "the oldest");
    assert!(pair.told("new0").is_some());
}

#[test]
fn the_last_failures_are_kept_and_the_last_comes_first() {
    let mut pair = Pair::new();
    for number in 0..MOST_FAILURES + 10 {
        pair.records.add_failure(&failure(number)).unwrap();
    }
    assert_eq!(pair.count("Failures"), MOST_FAILURES);
    let last = pair.records.failures(2).unwrap();
    assert_eq!(last, [failure(MOST_FAILURES + 9), failure(MOST_FAILURES + 8)]);
}

#[test]
fn a_long_reason_is_cut_where_a_character_ends() {
    let mut pair = Pair::new();
    pair.records.add_failure(&FailedBuild { why: "ä".repeat(LONGEST_REASON), ..failure(1) }).unwrap();
    let kept = pair.records.failures(1).unwrap().remove(0).why;
    assert!(kept.len() <= LONGEST_REASON && kept.chars().all(|char| char == 'ä'), "{}", kept.len());
}

/// Thousands of goals are one question.
#[test]
fn many_are_looked_up_at_once_in_their_order() {
    let mut pair = Pair::new();
    pair.built("b-1", 1, 7, 1);
    let paths: Vec<StorePath> = (0..5_000).map(|number| path(&format!("a{number}-1.drv"))).collect();
    let mut drvs: Vec<&StorePath> = paths.iter().collect();
    let known = StoreDir::default().make_path(
        "test",
        &store_path::Hash::of(store_path::HashAlgorithm::Sha256, b"x"),
        &"b-1.drv".parse().unwrap(),
    );
    drvs.push(&known);
    let expected = pair.records.expected(&drvs).unwrap();
    assert!(expected[..5_000].iter().all(Option::is_none));
    assert_eq!(expected[5_000].unwrap().wall_time, Duration::from_secs(7));
}
