//! From each of some places to others, in two vectors.
//!
//! ```text
//! starts   0 0 1 3      where the targets of each place begin, and those of the last end
//! targets    0 0 1
//! ```

/// Edges that begin at places that are numbered, and end at a `T` each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edges<T> {
    starts: Vec<usize>,
    targets: Vec<T>,
}

impl<T: Copy + Default> Edges<T> {
    /// Sorts pairs by where they begin, by counting. The order of those from one place stays.
    pub(crate) fn of(places: usize, pairs: impl Iterator<Item = (usize, T)> + Clone) -> Self {
        let mut starts = vec![0; places + 1];
        pairs.clone().for_each(|(from, _)| starts[from + 1] += 1);
        (0..places).for_each(|place| starts[place + 1] += starts[place]);
        let (mut next, mut targets) = (starts.clone(), vec![T::default(); starts[places]]);
        for (from, to) in pairs {
            targets[next[from]] = to;
            next[from] += 1;
        }
        Self { starts, targets }
    }

    /// Takes targets that are in the order of where they begin; `starts` has one more than there are places.
    pub(crate) fn sorted(starts: Vec<usize>, mut targets: Vec<T>) -> Self {
        targets.shrink_to_fit();
        Self { starts, targets }
    }

    /// Returns where edges from a place end.
    pub(crate) fn from(&self, place: usize) -> &[T] {
        &self.targets[self.starts[place]..self.starts[place + 1]]
    }
}

impl<T: Ord> Edges<T> {
    /// Sorts the targets of each place.
    pub(crate) fn sort_targets(&mut self) {
        self.starts.windows(2).for_each(|row| self.targets[row[0]..row[1]].sort_unstable());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_sorted_by_counting() {
        let pairs = [(2, 1), (0, 3), (2, 0)];
        let mut edges = Edges::of(4, pairs.into_iter());
        assert_eq!(edges.from(2), [1, 0]);
        assert_eq!((edges.from(0), edges.from(1).len(), edges.from(3).len()), (&[3][..], 0, 0));
        edges.sort_targets();
        assert_eq!((edges.from(2), edges.from(0)), (&[0, 1][..], &[3][..]));
    }
}
