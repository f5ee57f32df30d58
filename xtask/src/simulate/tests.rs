//! The laws, in many small worlds in which much happens.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use scheduler::{Limits, Policy};

use super::odds::Odds;
use super::run::Simulation;
use super::world::World;

/// How a small world is made.
fn worlds() -> impl Strategy<Value = (usize, u64, Limits, Policy)> {
    let slots = || (1..6_usize).prop_map(|slots| slots.try_into().expect("it is not zero"));
    let memory = proptest::option::of((0..40_u64).prop_map(|gib| gib << 30));
    let limits = (slots(), slots(), memory);
    let limits = limits.prop_map(|(builds, substitutions, memory)| Limits { builds, substitutions, memory });
    let policy = prop_oneof![4 => Just(Policy::KeepGoing), 1 => Just(Policy::StopAtFailure)];
    (1..80_usize, any::<u64>(), limits, policy)
}

/// Runs so many worlds.
fn laws_hold(cases: u32) {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let outcome = TestRunner::new(config).run(&worlds(), |(goals, seed, limits, policy)| {
        let world = World::new(goals, seed);
        let mut simulation = Simulation::new(&world, limits, policy, seed, &Odds::STORMY);
        simulation.run().map_err(|error| TestCaseError::fail(error.to_string()))?;
        let (record, mut schedule) = simulation.into_record();
        prop_assert!(record.repeat(&mut schedule), "the same events gave other goals");
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn laws_hold_in_small_worlds() {
    laws_hold(3_000);
}

#[test]
#[ignore = "takes a minute: `cargo test --package xtask -- --ignored small_worlds`"]
fn laws_hold_in_a_hundred_thousand_small_worlds() {
    laws_hold(100_000);
}
