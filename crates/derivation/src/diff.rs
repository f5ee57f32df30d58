//! Why two derivations have different paths.
//!
//! A path stands for everything below it, so one changed word changes the paths of all that needs it. The walk goes
//! down both graphs at once, input beside input, and keeps what does not follow from an input.

mod compare;
mod pairing;
mod rewriter;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use store_path::{Name, StorePath};

use crate::{Derivation, InputOutputs, Output, OutputName};

/// Two graphs, held against each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    pairs: Vec<Pair>,
}

/// Two derivations that stand in the same place of the two graphs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The one on the left.
    pub left: StorePath,
    /// Its counterpart.
    pub right: StorePath,
    /// The pair that these are inputs of, as its place in [`Diff::pairs`]; none for what was asked about.
    pub parent: Option<usize>,
    /// Whether this is a reason for other output paths above; a download that is made differently is none.
    pub changes_outputs: bool,
    /// What differs here, and does not follow from an input.
    pub causes: Vec<Cause>,
}

/// One difference. What is on the right is told in the words of the left: where it means the counterpart of a path,
/// it has that path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// They are called differently.
    Name {
        /// On the left.
        left: Name,
        /// On the right.
        right: Name,
    },
    /// They are for other machines.
    System(Both),
    /// They run another program.
    Builder(Both),
    /// One argument of the program.
    Argument {
        /// Which one, from 1; on the left, if it is there.
        number: usize,
        /// Its value.
        value: Change,
    },
    /// One variable of the environment.
    Variable {
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Change,
    },
    /// One structured attribute.
    Attribute {
        /// Its name.
        name: String,
        /// Its value as JSON.
        value: Change,
    },
    /// What kind of output it is, or what it promises.
    Output {
        /// Its name.
        name: OutputName,
        /// On the left, if it is there.
        left: Option<Output>,
        /// On the right, if it is there.
        right: Option<Output>,
    },
    /// An input derivation without counterpart.
    Input {
        /// Where it is an input.
        side: Side,
        /// Its path.
        drv: StorePath,
    },
    /// Other outputs of an input are wanted.
    Wanted {
        /// The input on the left.
        drv: StorePath,
        /// What is wanted on the left.
        left: InputOutputs,
        /// What is wanted on the right.
        right: InputOutputs,
    },
    /// A source, perhaps with a counterpart.
    Source {
        /// On the left, if it is there.
        left: Option<StorePath>,
        /// On the right, if it is there.
        right: Option<StorePath>,
    },
    /// The derivation cannot be had, so nothing can be said about what is in it.
    Absent {
        /// The one that is not there.
        drv: StorePath,
    },
    /// Nothing but paths differs, so one of them is not what follows from what is in it.
    OnlyPaths,
}

/// The two values of something that both have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Both {
    /// On the left.
    pub left: Vec<u8>,
    /// On the right.
    pub right: Vec<u8>,
}

/// The two values of something that one of them may lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// On the left, if it is there.
    pub left: Option<Vec<u8>>,
    /// On the right, if it is there.
    pub right: Option<Vec<u8>>,
}

/// One of the two that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Left,
    /// The second.
    Right,
}

impl Diff {
    /// Returns all pairs that were compared, what was asked about first; those without causes differ only by what is
    /// below them.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Returns the pairs that differ by themselves, as places in [`Self::pairs`], those first that change outputs.
    pub fn differing(&self) -> impl Iterator<Item = usize> {
        let of = |changes| {
            let pairs = self.pairs.iter().enumerate();
            pairs.filter(move |(_, pair)| pair.changes_outputs == changes && !pair.causes.is_empty())
        };
        of(true).chain(of(false)).map(|(place, _)| place)
    }
}

/// Compares two derivations and all that they are made from.
///
/// `known` returns a derivation, or nothing if it cannot be had. Each pair is looked at once, without recursion:
/// the time grows with the inputs of what differs, and what is the same on both sides is not looked at.
pub fn diff<E>(
    left: &StorePath,
    right: &StorePath,
    known: &mut dyn FnMut(&StorePath) -> Result<Option<Derivation>, E>,
) -> Result<Diff, E> {
    let mut walk = Walk {
        known,
        outputs: HashMap::new(),
        pairs: Vec::new(),
        met: HashMap::new(),
        done: Vec::new(),
        deciding: VecDeque::new(),
        other: VecDeque::new(),
    };
    if left != right {
        let changes = walk.outputs_differ(left, right, None)?;
        walk.meet(left, right, None, changes);
        while let Some(place) = walk.next() {
            walk.visit(place)?;
        }
    }
    Ok(Diff { pairs: walk.pairs })
}

/// The paths of a derivation's outputs, as far as they are known.
type OutputPaths = BTreeMap<OutputName, Option<StorePath>>;

struct Walk<'a, E> {
    known: &'a mut dyn FnMut(&StorePath) -> Result<Option<Derivation>, E>,
    /// Of derivations that were met: whole ones would not fit into memory.
    outputs: HashMap<StorePath, Option<Rc<OutputPaths>>>,
    pairs: Vec<Pair>,
    met: HashMap<(StorePath, StorePath), usize>,
    /// Whether each pair was visited.
    done: Vec<bool>,
    /// What is still to be visited and changes output paths: this first, so that each pair is told by the way that
    /// matters.
    deciding: VecDeque<usize>,
    other: VecDeque<usize>,
}

impl<E> Walk<'_, E> {
    /// Notes a pair that a visit has come to.
    fn meet(&mut self, left: &StorePath, right: &StorePath, parent: Option<usize>, changes_outputs: bool) {
        let place = *self.met.entry((left.clone(), right.clone())).or_insert_with(|| {
            let (left, right) = (left.clone(), right.clone());
            self.pairs.push(Pair { left, right, parent, changes_outputs, causes: Vec::new() });
            self.done.push(false);
            self.other.push_back(self.pairs.len() - 1);
            self.pairs.len() - 1
        });
        let pair = &mut self.pairs[place];
        if changes_outputs && !self.done[place] && (!pair.changes_outputs || pair.parent == parent) {
            (pair.changes_outputs, pair.parent) = (true, parent);
            self.deciding.push_back(place);
        }
    }

    fn next(&mut self) -> Option<usize> {
        loop {
            let place = self.deciding.pop_front().or_else(|| self.other.pop_front())?;
            // A pair may stand in both.
            if !self.done[place] {
                return Some(place);
            }
        }
    }

    fn visit(&mut self, place: usize) -> Result<(), E> {
        self.done[place] = true;
        let Pair { left, right, changes_outputs, .. } = self.pairs[place].clone();
        let known = [&left, &right].map(|drv| (self.known)(drv));
        let [left_drv, right_drv] = match known {
            [Ok(Some(left)), Ok(Some(right))] => [left, right],
            [Err(error), _] | [_, Err(error)] => return Err(error),
            [absent, _] => {
                let drv = if matches!(absent, Ok(None)) { left } else { right };
                self.pairs[place].causes.push(Cause::Absent { drv });
                return Ok(());
            }
        };
        let found = compare::compare(&left_drv, &right_drv, &mut |drv| self.outputs_of(drv))?;
        for (left_input, right_input) in &found.inputs {
            let wanted = left_drv.input_drvs.get(left_input);
            let changes = changes_outputs && self.outputs_differ(left_input, right_input, wanted)?;
            self.meet(left_input, right_input, Some(place), changes);
        }
        let mut causes = found.causes;
        if causes.is_empty() && found.inputs.is_empty() {
            causes.push(Cause::OnlyPaths);
        }
        self.pairs[place].causes = causes;
        Ok(())
    }

    fn outputs_of(&mut self, drv: &StorePath) -> Result<Option<Rc<OutputPaths>>, E> {
        if let Some(known) = self.outputs.get(drv) {
            return Ok(known.clone());
        }
        let derivation = (self.known)(drv)?;
        let paths = derivation.map(|derivation| {
            let path = |(name, output): (OutputName, Output)| (name, output.path().cloned());
            Rc::new(derivation.outputs.into_iter().map(path).collect::<OutputPaths>())
        });
        self.outputs.insert(drv.clone(), paths.clone());
        Ok(paths)
    }

    /// Whether two derivations make other paths, as far as `wanted` of them; what is not known counts as different.
    fn outputs_differ(
        &mut self,
        left: &StorePath,
        right: &StorePath,
        wanted: Option<&InputOutputs>,
    ) -> Result<bool, E> {
        let (Some(left), Some(right)) = (self.outputs_of(left)?, self.outputs_of(right)?) else {
            return Ok(true);
        };
        let is_same = |name: &OutputName| match (left.get(name), right.get(name)) {
            (Some(Some(left)), Some(Some(right))) => left == right,
            _ => false,
        };
        Ok(match wanted {
            Some(wanted) => !wanted.dynamic.is_empty() || !wanted.outputs.iter().all(is_same),
            None => !left.keys().chain(right.keys()).all(is_same),
        })
    }
}
