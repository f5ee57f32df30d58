//! How paths come to be needed by others.

use super::References;

/// From where some paths are reached, in how many steps, and in how many ways.
#[derive(Clone, Debug)]
pub struct Ways<'a> {
    references: &'a References,
    steps: Vec<Option<usize>>,
    counts: Vec<u64>,
}

impl References {
    /// Looks for all ways along references that end at the first of `goals` they meet.
    ///
    /// There may be more ways than bytes in the world, so they are counted and not made.
    pub fn ways_to(&self, goals: &[usize]) -> Ways<'_> {
        let mut steps = vec![None; self.paths.len()];
        let mut counts = vec![0_u64; self.paths.len()];
        for goal in goals {
            (steps[*goal], counts[*goal]) = (Some(0), 1);
        }
        for place in self.references_first() {
            if steps[place].is_none() {
                let others = self.of(place).iter().filter(|other| **other != place);
                let next: Option<usize> = others.clone().filter_map(|other| steps[*other]).min();
                steps[place] = next.map(|steps| steps + 1);
                counts[place] = others.fold(0, |sum, other| sum.saturating_add(counts[*other]));
            }
        }
        Ways { references: self, steps, counts }
    }
}

impl Ways<'_> {
    /// Returns how many references the shortest way has from `place` on, if there is one.
    pub fn steps(&self, place: usize) -> Option<usize> {
        self.steps[place]
    }

    /// Returns how many ways there are from `place` on; the largest number stands for that many or more.
    pub fn count(&self, place: usize) -> u64 {
        self.counts[place]
    }

    /// Returns to where ways go on from `place`, the shortest first, and otherwise in the order of names.
    pub fn next(&self, place: usize) -> Vec<usize> {
        if self.steps[place].is_none_or(|steps| steps == 0) {
            return Vec::new();
        }
        let others = self.references.of(place).iter().copied();
        let mut next: Vec<usize> =
            others.filter(|other| *other != place && self.steps[*other].is_some()).collect();
        next.sort_by_key(|other| self.steps[*other]);
        next
    }
}
