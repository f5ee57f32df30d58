//! Each step of each operation, and each way to fail at it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use test_support::crash::{Case, Kind, OPERATIONS, Operation};

/// Of a step that is reached often, the first times are tried, and the last.
const FIRST: usize = 3;

/// Every so many cases Nix is asked as well.
const NIX: usize = 8;

/// An operation, what it prints, and how often it reaches each step.
pub(super) struct Traced {
    pub(super) operation: &'static Operation,
    pub(super) printed: String,
    pub(super) steps: BTreeMap<String, usize>,
}

/// Tries all cases of these operations, or of all without any.
pub(super) fn all(program: &Path, operations: &[String], jobs: usize) -> Result<()> {
    let unknown = operations.iter().find(|name| OPERATIONS.iter().all(|one| one.name != **name));
    if let Some(name) = unknown {
        let known: Vec<&str> = OPERATIONS.iter().map(|one| one.name).collect();
        bail!("there is no operation `{name}`; there are {}", known.join(", "));
    }
    let is_wanted =
        |one: &&Operation| operations.is_empty() || operations.iter().any(|name| name == one.name);
    let traced = trace(program, OPERATIONS.iter().filter(is_wanted))?;
    let cases = traced.iter().flat_map(cases_of).collect::<Vec<_>>();
    let failures = try_all(program, &traced, &cases, jobs);
    print_table(&cases, &failures);
    if operations.is_empty() {
        ensure_all_steps(program, &traced)?;
    }
    for (index, failure) in &failures {
        let case = &cases[*index];
        eprintln!("{case}: {}\n  alone: cargo xtask crash --case '{case}'", failure.trim_end());
    }
    ensure!(failures.is_empty(), "{} of {} cases are not as they should be", failures.len(), cases.len());
    Ok(())
}

/// Tries one case, as [`Case`] prints it.
pub(super) fn one(program: &Path, case: &str) -> Result<()> {
    let parse = || {
        let (operation, rest) = case.split_once(' ')?;
        let ((step, nth), kind) =
            rest.split_once('=').and_then(|(at, kind)| Some((at.split_once(':')?, kind)))?;
        let operation = OPERATIONS.iter().find(|one| one.name == operation)?;
        let kind = Kind::ALL.into_iter().find(|one| one.to_string() == kind)?;
        Some((
            operation,
            Case { operation: operation.name, step: step.to_owned(), nth: nth.parse().ok()?, kind },
        ))
    };
    let (operation, case) = parse().with_context(|| format!("`{case}` is not OPERATION STEP:NTH=KIND"))?;
    let (printed, _) = operation.trace(program).map_err(anyhow::Error::msg)?;
    case.try_out(program, &printed, true).map_err(anyhow::Error::msg)?;
    println!("{case}: ok");
    Ok(())
}

/// Runs every operation undisturbed.
pub(super) fn trace_all(program: &Path) -> Result<Vec<Traced>> {
    trace(program, OPERATIONS.iter())
}

fn trace(program: &Path, operations: impl Iterator<Item = &'static Operation>) -> Result<Vec<Traced>> {
    let mut traced = Vec::new();
    for operation in operations {
        if !operation.is_possible() {
            println!("left out: `{}` is for root only", operation.name);
            continue;
        }
        let (printed, steps) = operation.trace(program).map_err(anyhow::Error::msg)?;
        traced.push(Traced { operation, printed, steps });
    }
    Ok(traced)
}

fn cases_of(traced: &Traced) -> Vec<Case> {
    let mut cases = Vec::new();
    for (step, &count) in &traced.steps {
        for nth in (1..=count).filter(|&nth| nth <= FIRST || nth == count) {
            let case = |kind| Case { operation: traced.operation.name, step: step.clone(), nth, kind };
            cases.extend(Kind::ALL.map(case));
        }
    }
    cases
}

/// Returns what is wrong, with the place of the case in the list.
fn try_all(program: &Path, traced: &[Traced], cases: &[Case], jobs: usize) -> BTreeMap<usize, String> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some((index, case)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            cases.get(index).map(|case| (index, case))
        } {
            let printed = traced.iter().find(|one| one.operation.name == case.operation);
            let printed = printed.map_or("", |one| one.printed.as_str());
            if let Err(failure) = case.try_out(program, printed, index % NIX == 0) {
                failures.lock().expect("no thread has panicked").insert(index, failure);
            }
        }
    };
    thread::scope(|scope| (0..jobs).for_each(|_| drop(scope.spawn(work))));
    failures.into_inner().expect("no thread has panicked")
}

fn print_table(cases: &[Case], failures: &BTreeMap<usize, String>) {
    let mut table: BTreeMap<(&str, Kind), (usize, usize)> = BTreeMap::new();
    for (index, case) in cases.iter().enumerate() {
        let (tried, fine) = table.entry((case.operation, case.kind)).or_default();
        *tried += 1;
        *fine += usize::from(!failures.contains_key(&index));
    }
    println!("{:<20} {:<8} {:>6} {:>6}", "operation", "kind", "cases", "ok");
    for ((operation, kind), (tried, fine)) in table {
        println!("{operation:<20} {:<8} {tried:>6} {fine:>6}", kind.to_string());
    }
    println!("{:<20} {:<8} {:>6} {:>6}", "all", "", cases.len(), cases.len() - failures.len());
}

/// Fails if there is a step that no operation reaches.
fn ensure_all_steps(program: &Path, traced: &[Traced]) -> Result<()> {
    let known = test_support::crash::steps(program).map_err(anyhow::Error::msg)?;
    let reached: BTreeSet<&String> = traced.iter().flat_map(|one| one.steps.keys()).collect();
    let missed: Vec<&str> =
        known.iter().filter(|step| !reached.contains(*step)).map(String::as_str).collect();
    ensure!(missed.is_empty(), "no operation reaches {}", missed.join(", "));
    Ok(())
}
