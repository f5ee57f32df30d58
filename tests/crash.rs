//! Killing the program at each of its steps, once each: the next start finds a store in order, and the same command does
//! what it does undisturbed. `cargo xtask crash` tries much more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use test_support::crash::{Case, Kind, OPERATIONS, steps};

fn program() -> PathBuf {
    test_support::store_binary(env!("CARGO_BIN_EXE_store"))
}

/// Has several threads do `work` on items, as most of it is waiting for disks and builders.
fn on_each<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<(), String> + Sync) -> Vec<String> {
    let (next, wrong) = (Mutex::new(items.iter()), Mutex::new(Vec::new()));
    let one = || {
        while let Some(item) = { next.lock().unwrap().next() } {
            if let Err(failure) = work(item) {
                wrong.lock().unwrap().push(failure);
            }
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(one))));
    wrong.into_inner().unwrap()
}

#[test]
fn whichever_step_it_dies_at_the_next_start_finds_a_store_in_order() {
    let program = program();
    let possible: Vec<_> = OPERATIONS.iter().filter(|operation| operation.is_possible()).collect();
    let traced = Mutex::new(BTreeMap::new());
    let wrong = on_each(&possible, |operation| {
        let (printed, steps) = operation.trace(&program)?;
        traced.lock().unwrap().insert(operation.name, (printed, steps));
        Ok(())
    });
    assert_eq!(wrong, [""; 0]);
    let traced = traced.into_inner().unwrap();
    // Each step in one operation, and all kinds of failure in turn beside the kill.
    let mut cases: BTreeMap<&String, Case> = BTreeMap::new();
    for operation in &possible {
        for step in traced[operation.name].1.keys() {
            let case = Case { operation: operation.name, step: step.clone(), nth: 1, kind: Kind::Kill };
            cases.entry(step).or_insert(case);
        }
    }
    let all: BTreeSet<String> = steps(&program).unwrap().into_iter().collect();
    assert_eq!(
        cases.keys().map(|step| (*step).clone()).collect::<BTreeSet<_>>(),
        all,
        "some step is never reached"
    );
    let other = |(number, case): (usize, &Case)| {
        let kind = if number.is_multiple_of(2) { Kind::Eio } else { Kind::Enospc };
        [case.clone(), Case { kind, ..case.clone() }]
    };
    let cases: Vec<Case> = cases.values().enumerate().flat_map(other).collect();
    let wrong = on_each(&cases, |case| {
        let tried = case.try_out(&program, &traced[case.operation].0, false);
        tried.map_err(|wrong| format!("{case}: {wrong}\nalone: cargo xtask crash --case '{case}'"))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
