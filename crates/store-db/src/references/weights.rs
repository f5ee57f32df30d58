//! How much paths take with all that they refer to, and how much of that goes with them.

use super::References;

/// How much each of some paths takes by itself, in bytes.
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    references: &'a References,
    /// By place: what the path shares with no other.
    own: Vec<u64>,
    parts: Vec<Part>,
}

/// Something that is there once for several paths, such as a file with several names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// How many bytes it has.
    pub bytes: u64,
    /// The places of the paths that have it.
    pub places: Vec<usize>,
    /// Whether something else has it, too, and keeps it.
    pub elsewhere: bool,
}

impl References {
    /// Weighs paths by the sizes of their archives, of which none is part of another.
    pub fn by_archives(&self) -> Weights<'_> {
        self.by(self.nar_sizes.clone(), Vec::new())
    }

    /// Weighs paths by what each has alone, by place, and what there is once for several.
    pub fn by(&self, own: Vec<u64>, parts: Vec<Part>) -> Weights<'_> {
        Weights { references: self, own, parts }
    }
}

/// Nothing but an end of all: where what is held hangs.
const NOBODY: usize = usize::MAX;

impl Weights<'_> {
    /// Returns how much each path takes, by place; what it shares with others counts in full.
    pub fn alone(&self) -> Vec<u64> {
        let mut sums = self.own.clone();
        for part in &self.parts {
            part.places.iter().for_each(|place| sums[*place] += part.bytes);
        }
        sums
    }

    /// Returns how much all of them take together.
    pub fn sum(&self) -> u64 {
        self.own.iter().sum::<u64>() + self.parts.iter().map(|part| part.bytes).sum::<u64>()
    }

    /// Returns for each of `places` how much it takes with all that it refers to, directly or not; all of that has to
    /// belong to the paths that are weighed.
    pub fn closures(&self, places: &[usize]) -> Vec<u64> {
        let mut sums = vec![0; places.len()];
        self.each_group(places, |first, reached| {
            let sums = &mut sums[first..];
            reached.iter().for_each(|(from, bytes)| add(sums, *from, *bytes));
        });
        sums
    }

    /// Returns for each of `places` how much of that is also there for another one of them.
    pub fn shared_closures(&self, places: &[usize]) -> Vec<u64> {
        let mut users = vec![0_u32; self.own.len() + self.parts.len()];
        self.each_group(places, |_, reached| {
            users.iter_mut().zip(reached).for_each(|(users, (from, _))| *users += from.count_ones());
        });
        let mut sums = vec![0; places.len()];
        self.each_group(places, |first, reached| {
            let sums = &mut sums[first..];
            let shared = reached.iter().zip(&users).filter(|(_, users)| **users > 1);
            shared.for_each(|((from, bytes), _)| add(sums, *from, *bytes));
        });
        sums
    }

    /// Tells for groups of 64 of `places` which paths, and then which parts, are reached from which of the group, a bit for
    /// each, and what they weigh; with the number of the first of the group.
    ///
    /// So 64 of them cost one pass, and memory is that of the paths however many are asked for.
    fn each_group(&self, places: &[usize], mut tell: impl FnMut(usize, &[(u64, u64)])) {
        let order = self.references.references_first();
        let parts = self.parts.iter().map(|part| part.bytes);
        let mut reached: Vec<(u64, u64)> =
            self.own.iter().copied().chain(parts).map(|bytes| (0, bytes)).collect();
        for (number, group) in places.chunks(64).enumerate() {
            reached.iter_mut().for_each(|(from, _)| *from = 0);
            group.iter().enumerate().for_each(|(bit, place)| reached[*place].0 |= 1 << bit);
            for place in order.iter().rev() {
                let from = reached[*place].0;
                if from != 0 {
                    self.references.of(*place).iter().for_each(|other| reached[*other].0 |= from);
                }
            }
            for (part, at) in self.parts.iter().zip(self.own.len()..) {
                reached[at].0 = part.places.iter().fold(0, |from, place| from | reached[*place].0);
            }
            tell(number * 64, &reached);
        }
    }

    /// Returns what goes when the `given` paths go, given for each place whether something else holds it: they, and
    /// whatever nothing refers to then.
    pub fn gone_with(&self, given: &[usize], held: &[bool]) -> Vec<bool> {
        let mut gone = vec![true; held.len()];
        let mut is_referred_to = vec![false; held.len()];
        let mut is_given = vec![false; held.len()];
        given.iter().for_each(|place| is_given[*place] = true);
        for place in self.references.references_first().into_iter().rev() {
            gone[place] = is_given[place] || (gone[place] && is_referred_to[place] && !held[place]);
            for other in self.references.of(place).iter().filter(|other| **other != place) {
                is_referred_to[*other] = true;
                gone[*other] &= gone[place];
            }
        }
        gone
    }

    /// Returns how much of disk or archives goes with the paths that do, by place.
    pub fn freed(&self, gone: &[bool]) -> u64 {
        let own = self.own.iter().zip(gone).filter(|(_, is_gone)| **is_gone).map(|(bytes, _)| *bytes);
        let goes = |part: &&Part| !part.elsewhere && part.places.iter().all(|place| gone[*place]);
        own.sum::<u64>() + self.parts.iter().filter(goes).map(|part| part.bytes).sum::<u64>()
    }

    /// Returns by place how much goes when one path goes, with whatever nothing refers to then.
    ///
    /// That is what all ways from what is held, or referred to by nothing, lead through that path to: what it dominates.
    /// All of it takes one pass, and one step for each level of the tree of dominators at most a reference.
    pub fn freed_with_each(&self, held: &[bool]) -> Vec<u64> {
        let order = self.references.references_first();
        let mut tree = Dominators::new(held.len());
        let mut is_referred_to = vec![false; held.len()];
        for place in order.iter().rev() {
            if held[*place] || !is_referred_to[*place] {
                tree.above[*place] = NOBODY;
            }
            tree.settle(*place);
            for other in self.references.of(*place).iter().filter(|other| *other != place) {
                tree.above[*other] = match std::mem::replace(&mut is_referred_to[*other], true) {
                    true => tree.common(tree.above[*other], *place),
                    false => *place,
                };
            }
        }
        let mut sums = self.own.clone();
        for part in self.parts.iter().filter(|part| !part.elsewhere) {
            let place = part.places.iter().copied().reduce(|one, other| tree.common(one, other));
            if let Some(place) = place.filter(|place| *place != NOBODY) {
                sums[place] += part.bytes;
            }
        }
        // What is referred to comes first, and nothing is above what refers to it.
        for place in order {
            if tree.above[place] != NOBODY {
                sums[tree.above[place]] += sums[place];
            }
        }
        sums
    }
}

/// Counts bytes in the sums that the bits stand for.
fn add(sums: &mut [u64], mut bits: u64, bytes: u64) {
    while bits != 0 {
        sums[bits.trailing_zeros() as usize] += bytes;
        bits &= bits - 1;
    }
}

/// Which path goes last before each, on all ways from outside.
struct Dominators {
    /// By place; [`NOBODY`] where there is none.
    above: Vec<usize>,
    depth: Vec<usize>,
    /// Some place further above, so far that going up takes few steps: skips of a list, as Myers has them.
    jump: Vec<usize>,
}

impl Dominators {
    fn new(count: usize) -> Self {
        Self { above: vec![NOBODY; count], depth: vec![0; count], jump: vec![NOBODY; count] }
    }

    fn depth(&self, place: usize) -> usize {
        if place == NOBODY { 0 } else { self.depth[place] }
    }

    fn jump(&self, place: usize) -> usize {
        if place == NOBODY { NOBODY } else { self.jump[place] }
    }

    /// Takes note of what is above a place, for good.
    fn settle(&mut self, place: usize) {
        let above = self.above[place];
        self.depth[place] = self.depth(above) + 1;
        let (near, far) = (self.jump(above), self.jump(self.jump(above)));
        let is_even = self.depth(above) - self.depth(near) == self.depth(near) - self.depth(far);
        self.jump[place] = if is_even { far } else { above };
    }

    /// Returns the last that is above both, or is one of them and above the other.
    fn common(&self, mut one: usize, mut other: usize) -> usize {
        if self.depth(one) < self.depth(other) {
            std::mem::swap(&mut one, &mut other);
        }
        let depth = self.depth(other);
        while self.depth(one) > depth {
            let jump = self.jump(one);
            one = if self.depth(jump) < depth { self.above[one] } else { jump };
        }
        while one != other {
            let (jump, jump_of_other) = (self.jump(one), self.jump(other));
            (one, other) = if jump == jump_of_other {
                (self.above[one], self.above[other])
            } else {
                (jump, jump_of_other)
            };
        }
        one
    }
}
