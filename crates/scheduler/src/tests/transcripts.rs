//! `fixtures/schedules/*.goals` beside the order in which they run.

use std::fmt::Write as _;

use super::{Event, World};
use crate::Policy;

/// Reads `slots N`, `keep-going`, and goals as `name: input input …`, with a `!` after the name of one that fails.
fn read(text: &str) -> (World, Vec<&str>) {
    let mut world =
        World { inputs: Vec::new(), failing: Vec::new(), slots: 1, policy: Policy::StopAtFailure };
    let mut names: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, inputs)) = line.split_once(':') {
            let number = |input| names.iter().position(|name| *name == input).expect("inputs come first");
            world.inputs.push(inputs.split_whitespace().map(number).collect());
            world.failing.push(name.ends_with('!'));
            names.push(name.trim_end_matches('!'));
        } else if line == "keep-going" {
            world.policy = Policy::KeepGoing;
        } else {
            let slots = line.strip_prefix("slots ").expect("`slots` is the last kind of line");
            world.slots = slots.parse().expect("slots are counted");
        }
    }
    (world, names)
}

/// Runs the fixture; of the running goals the one that started first ends first.
fn check(name: &str) {
    let text =
        String::from_utf8(test_support::read(&format!("schedules/{name}.goals"))).expect("fixtures are text");
    let (world, names) = read(&text);
    let mut transcript = String::new();
    for event in world.run(|_| 0) {
        let line = match event {
            Event::Started(goal) => format!("start {}", names[goal.index()]),
            Event::Ended(goal, outcome) => format!("  end {} ({outcome:?})", names[goal.index()]),
            Event::Cancelled(goal) => format!("      {} can never run", names[goal.index()]),
        };
        writeln!(transcript, "{line}").expect("a string takes every line");
    }
    test_support::check(&format!("schedules/{name}.txt"), transcript);
}

#[test]
fn diamond() {
    check("diamond");
}

#[test]
fn the_longest_chain_goes_first() {
    check("longest-chain");
}

#[test]
fn a_failure_with_keep_going() {
    check("keep-going");
}

#[test]
fn a_failure_without_keep_going() {
    check("stop");
}
