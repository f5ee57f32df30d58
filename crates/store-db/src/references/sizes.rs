//! How much paths take with all that they refer to.

use super::References;

impl References {
    /// Returns for each of `places` how many bytes the archives of it and of all that it refers to have together,
    /// directly or not; all of that has to belong to these.
    ///
    /// Sixty-four of them are summed up in one pass, so memory is that of the paths however many are asked for.
    pub fn closure_sizes(&self, places: &[usize]) -> Vec<u64> {
        let order = self.references_first();
        let mut sums = vec![0; places.len()];
        let mut reached_from = vec![0_u64; self.paths.len()];
        for (group, sums) in places.chunks(64).zip(sums.chunks_mut(64)) {
            reached_from.fill(0);
            group.iter().enumerate().for_each(|(bit, place)| reached_from[*place] |= 1 << bit);
            for place in order.iter().rev() {
                self.spread(*place, &mut reached_from, sums);
            }
        }
        sums
    }

    /// Counts a path in the sums of those it is reached from, and passes on to what it refers to that it is.
    fn spread(&self, place: usize, reached_from: &mut [u64], sums: &mut [u64]) {
        let mut from = reached_from[place];
        if from == 0 {
            return;
        }
        self.of(place).iter().for_each(|other| reached_from[*other] |= from);
        while from != 0 {
            sums[from.trailing_zeros() as usize] += self.nar_sizes[place];
            from &= from - 1;
        }
    }
}
