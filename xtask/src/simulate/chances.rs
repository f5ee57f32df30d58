//! Numbers that look random and are the same in every run.

use test_support::Random;

/// Good for made-up goals, not for anything that has to be unguessable.
pub(super) struct Chances(Random);

impl Chances {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(Random::seeded(seed))
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0.number()
    }

    /// Returns a number below `limit`, which is not zero.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0.below(limit)
    }

    /// Returns whether something happens that happens so many times in ten thousand.
    pub(super) fn happens(&mut self, in_ten_thousand: usize) -> bool {
        self.below(10_000) < in_ten_thousand
    }

    /// Returns a duration as builds have them: most take a second or a few, some take hours, and those take most of the
    /// time (a Pareto distribution of shape 1.1, cut off at three hours).
    pub(super) fn millis(&mut self) -> u64 {
        let portion = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        let millis = 1_000.0 * (1.0 - portion).powf(-1.0 / 1.1);
        millis.min(3.0 * 3_600_000.0) as u64
    }

    /// Returns what a build takes of memory: from 64 MiB to 30 GiB, mostly little, in steps that the schedule can tell
    /// apart.
    pub(super) fn memory(&mut self) -> u64 {
        let doublings = self.below(10).min(self.below(10));
        (8 + self.below(8) as u64) << (23 + doublings)
    }
}
