//! Random programs: what is done to a store, and by whom.

use std::fmt;

use test_support::Random;

use super::universe::{DERIVATIONS, SOURCES};

/// So many links that are roots may be there at a time.
pub(super) const LINKS: usize = 5;

/// Who takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Nix,
    Store,
}

/// A step of a program. One that cannot be taken, as what it is about is not there, has to fail in the same way for both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) by: By,
    pub(super) act: Act,
}

/// What is done; numbers are those of the universe.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Add(usize),
    Instantiate(usize),
    Build(usize),
    /// Makes a link that is a root, to one of all paths.
    Root(usize, usize),
    Unroot(usize),
    /// Deletes one of all paths.
    Delete(usize),
    Verify,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            By::Nix => "Nix",
            By::Store => "store",
        };
        write!(formatter, "{by}: {:?}", self.act)
    }
}

/// Returns the program that belongs to a seed.
pub(super) fn random(seed: u64, count: usize) -> Vec<Step> {
    let mut random = Random::seeded(seed);
    let step = |_| {
        let by = if random.below(2) == 0 { By::Nix } else { By::Store };
        Step { by, act: act(&mut random) }
    };
    (0..count).map(step).collect()
}

fn act(random: &mut Random) -> Act {
    // Reduced to how many paths there are where it is used.
    let any = random.below(1000);
    match random.below(20) {
        0..2 => Act::Add(random.below(SOURCES)),
        2..4 => Act::Instantiate(random.below(DERIVATIONS)),
        4..10 => Act::Build(random.below(DERIVATIONS)),
        10..14 => Act::Root(random.below(LINKS), any),
        14..16 => Act::Unroot(random.below(LINKS)),
        16..19 => Act::Delete(any),
        _ => Act::Verify,
    }
}
