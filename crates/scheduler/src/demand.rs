//! What is known of goals before they run, and what there is for them to share.

use std::num::NonZeroUsize;

/// What is expected of a goal, and how much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// What it occupies while it runs.
    pub slot: Slot,
    /// How long it will run.
    pub millis: u64,
    /// How much memory it will take, in bytes; zero where that does not matter or nobody knows.
    pub memory: u64,
    /// Goals of a higher priority go first, and with them what they need.
    pub priority: i32,
}

impl Default for Demand {
    /// Returns what is taken for granted of a goal of which nothing is known: that it is a build and takes some time.
    /// Where nothing is known of any goal, the longest chain of goals is the longest path.
    fn default() -> Self {
        Self { slot: Slot::Build, millis: 10_000, memory: 0, priority: 0 }
    }
}

/// What a goal occupies while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing: it is over as soon as it is handed out.
    None,
    /// One of those for what is fetched, which keeps a network busy.
    Substitution,
    /// The one for what is offered to somebody else: one goal is talked about at a time.
    Offer,
    /// One of those for what is built, which keeps a processor busy.
    Build,
}

/// What the goals that run at the same time share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many builds run at once.
    pub builds: NonZeroUsize,
    /// How many substitutions run at once, beside the builds.
    pub substitutions: NonZeroUsize,
    /// How many bytes of memory goals may be expected to take together; without, memory does not matter. One goal alone
    /// may take more.
    pub memory: Option<u64>,
}

/// Rounds up to four significant bits, that is by an eighth at most. Nobody knows better what a goal will take, and goals
/// that take the same are kept together.
pub(crate) fn rounded(memory: u64) -> u64 {
    let unit = 1 << (u64::BITS - memory.leading_zeros()).saturating_sub(4);
    memory.checked_next_multiple_of(unit).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn memory_is_rounded_up_by_an_eighth_at_most() {
        assert_eq!([0, 1, 15, 16, 17, 31, 33].map(rounded), [0, 1, 15, 16, 18, 32, 36]);
        for memory in [1_000, 123_456_789, (1 << 40) + 1] {
            let rounded = rounded(memory);
            assert!(memory <= rounded && rounded <= memory + memory / 8, "{memory}: {rounded}");
        }
        assert_eq!(rounded(u64::MAX), u64::MAX);
    }
}
