//! What chance decides, the same for the same seed.

use test_support::Random;

pub(super) struct Chance(Random);

impl Chance {
    /// Starts the numbers of one of those who take part.
    pub(super) fn new(seed: u64, number: usize) -> Self {
        Self(Random::seeded(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (number as u64) << 32))
    }

    /// Returns a number below `limit`, which is not zero.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0.below(limit)
    }

    /// Returns whether something happens that happens once in so many times.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
