//! Numbers that look random and follow from a seed (SplitMix64).

pub(super) struct Chance(u64);

impl Chance {
    /// Starts the numbers of one of those who take part.
    pub(super) fn new(seed: u64, number: usize) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (number as u64) << 32)
    }

    /// Returns a number below `limit`, which is not zero.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    /// Returns whether something happens that happens once in so many times.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
