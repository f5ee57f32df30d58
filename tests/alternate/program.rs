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

impl By {
    fn any(random: &mut Random) -> Self {
        if random.below(2) == 0 { Self::Nix } else { Self::Store }
    }
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
    Collect,
    Optimise,
    Verify,
    /// Does harm to one of all paths, if it can be built again, and has that repaired.
    Repair(usize, Harm),
    /// Signs one of all paths. A derivation stands for what it makes where Nix signs.
    Sign(usize),
    /// Has somebody dump the database, and loads that.
    Reload(Reload, By),
    /// Deletes one of all paths, brings its files back, and says what is known of them.
    Register(usize),
    /// Exports one of all paths with all it needs, and has it imported elsewhere by somebody.
    Carry(Way, usize, By),
}

/// From which store to which.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// From where Nix has made all that can be had without a build, and more.
    In,
    /// To a second store.
    Out,
    /// From the second store.
    Back,
}

/// What happens to a path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Harm {
    /// A file of it has other contents.
    Changed,
    /// It is not there.
    Gone,
}

/// Into what a dump is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reload {
    /// Into the database that it is of.
    Again,
    /// Into a new one: the old one was lost.
    Lost,
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
        let by = By::any(&mut random);
        Step { by, act: act(&mut random) }
    };
    (0..count).map(step).collect()
}

fn act(random: &mut Random) -> Act {
    // Reduced to how many paths there are where it is used.
    let any = random.below(1000);
    match random.below(32) {
        0 => Act::Add(random.below(SOURCES)),
        1..3 => Act::Instantiate(random.below(DERIVATIONS)),
        3..9 => Act::Build(random.below(DERIVATIONS)),
        9..13 => Act::Root(random.below(LINKS), any),
        13..15 => Act::Unroot(random.below(LINKS)),
        15..18 => Act::Delete(any),
        18 => Act::Optimise,
        19 => Act::Verify,
        20 => Act::Collect,
        21..24 => Act::Repair(any, if random.below(3) == 0 { Harm::Gone } else { Harm::Changed }),
        24 => Act::Sign(any),
        25..27 => {
            let into = if random.below(2) == 0 { Reload::Again } else { Reload::Lost };
            Act::Reload(into, By::any(random))
        }
        27 => Act::Register(any),
        way => {
            let way = [Way::In, Way::Out, Way::Out, Way::Back][way - 28];
            Act::Carry(way, any, By::any(random))
        }
    }
}
