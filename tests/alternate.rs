//! Nix and `store` in turn on one store, as a random program says: after each step both say the same of it.
//!
//! Beside the store that they share there is its twin, on which Nix does the same steps alone. So it is not only
//! compared what both say of one state, but also whether `store` brings about the state that Nix does.
//!
//! A program that fails is cut down to the steps that it takes, and printed. `STORE_TEST_ALTERNATE=20` runs 20 programs of
//! 50 steps each, `STORE_TEST_ALTERNATE=20,7` those from seed 7 on.

mod agree;
mod harm;
mod program;
mod stores;
mod universe;

use std::env;
use std::path::Path;
use std::time::{Duration, Instant};

use program::{Step, random};
use stores::Stores;

use crate::scene::{has_nix, say};

/// What one run of all tests tries: so many programs of so many steps.
const BY_DEFAULT: (u64, usize) = (2, 10);

/// So many steps has a program that is asked for.
const STEPS: usize = 50;

/// For so long a program that fails is cut down.
const TO_CUT: Duration = Duration::from_secs(240);

/// Returns which seeds are tried, and how many steps of each.
fn wanted() -> (std::ops::Range<u64>, usize) {
    let Ok(text) = env::var("STORE_TEST_ALTERNATE") else {
        return (1..1 + BY_DEFAULT.0, BY_DEFAULT.1);
    };
    let (count, first) = text.split_once(',').unwrap_or((&text, "1"));
    let first: u64 = first.parse().unwrap();
    (first..first + count.parse::<u64>().unwrap(), STEPS)
}

#[test]
fn nix_and_store_take_turns() {
    if !has_nix() || !Path::new("/bin/busybox").exists() {
        say("skipped: no Nix with a static `/bin/busybox` to take turns with");
        return;
    }
    let (seeds, count) = wanted();
    let begun = Instant::now();
    for seed in seeds.clone() {
        let steps = random(seed, count);
        if let Err(problem) = run(seed, &steps) {
            let (steps, problem) = cut(seed, steps, problem);
            let lines: Vec<String> = steps.iter().map(ToString::to_string).collect();
            panic!("seed {seed}, cut down to {} steps:\n  {}\n{problem}", steps.len(), lines.join("\n  "));
        }
    }
    let programs = seeds.count();
    say(&format!(
        "Nix and `store` took turns: {programs} programs of {count} steps in {:.1?}",
        begun.elapsed()
    ));
}

/// Runs a program on a store of its own; says after which step the two disagree, and in what.
fn run(seed: u64, steps: &[Step]) -> Result<(), String> {
    let stores = Stores::new(seed)?;
    for (number, step) in steps.iter().enumerate() {
        let after = |problem| format!("after step {} ({step}): {problem}", number + 1);
        stores.take(step).map_err(after)?;
        agree::check(&stores).map_err(after)?;
    }
    agree::check_last(&stores).map_err(|problem| format!("in the end: {problem}"))
}

/// Leaves out what is not needed for a failure: halves, then quarters, then single steps.
fn cut(seed: u64, mut steps: Vec<Step>, mut problem: String) -> (Vec<Step>, String) {
    let begun = Instant::now();
    let mut size = steps.len().div_ceil(2);
    loop {
        let mut at = 0;
        while at < steps.len() && begun.elapsed() < TO_CUT {
            let fewer: Vec<Step> = [&steps[..at], &steps[(at + size).min(steps.len())..]].concat();
            match run(seed, &fewer) {
                Err(other) => (steps, problem) = (fewer, other),
                Ok(()) => at += size,
            }
        }
        if size == 1 {
            return (steps, problem);
        }
        size = size.div_ceil(2);
    }
}
