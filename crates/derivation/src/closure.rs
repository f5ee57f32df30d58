//! Checking many derivations that refer to each other, inputs first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;
use std::rc::Rc;

use store_path::{Name, StoreDir, StorePath};

use crate::check::{OwnFile, Settled, settle_or_tell};
use crate::model::{Bytes, Paths};
use crate::{CheckError, Checked, Derivation, InputError, InputOutputs, Modulo};

/// As many problems of one derivation are worth telling; a file may have millions.
pub(crate) const MOST: usize = 100;

/// Why some derivations are not right together.
#[derive(Debug, thiserror::Error)]
pub enum ClosureError<E: std::error::Error + 'static> {
    /// One of them breaks a rule of its own.
    #[error("the derivation `{derivation}` is not right")]
    Check {
        /// Its path as stated, or else its name.
        derivation: String,
        /// The rule.
        source: CheckError,
    },
    /// The path under which one is given is not its own.
    #[error("the derivation `{stated}` should be called `{computed}`, by what is in it")]
    Path {
        /// The path it is given under.
        stated: String,
        /// The path that follows from what is in it.
        computed: String,
    },
    /// Two are given under one path.
    #[error("the derivation `{path}` is there twice")]
    Twice {
        /// The path.
        path: String,
    },
    /// They would have to be built before themselves.
    #[error("the derivation `{path}` is an input of itself, at however many removes")]
    Cycle {
        /// One of them.
        path: String,
    },
    /// An input that is not among them cannot be had from the store either.
    #[error("cannot read the derivation `{path}`, an input of `{wanted_by}`")]
    Input {
        /// The input's path.
        path: String,
        /// Who needs it.
        wanted_by: String,
        /// Why it cannot be had.
        source: E,
    },
    /// Something is wrong with an input of a derivation in the store.
    #[error("cannot hash the derivation `{path}`")]
    Stored {
        /// The derivation's path.
        path: String,
        /// What is wrong.
        source: InputError,
    },
}

/// Checks derivations that may be inputs of each other, and returns them with inputs first.
///
/// Each comes with the path it is given under, if there is one. Input derivations that are not in the list are
/// asked from `known`, usually the store.
///
/// A path that is not the derivation's own is an error, unless output paths were filled in, in it or in an
/// input: whoever left them out could not know the path either. Then the path given is only a label, and where
/// others in the list use it as an input it is replaced.
pub fn check_closure<E: std::error::Error + 'static>(
    derivations: Vec<(Option<StorePath>, Derivation)>,
    store_dir: &StoreDir,
    known: &mut dyn FnMut(&StorePath) -> Result<Derivation, E>,
) -> Result<Vec<Checked>, ClosureError<E>> {
    let mut given = Paths::default();
    for (index, (path, _)) in derivations.iter().enumerate() {
        if let Some(path) = path
            && given.insert(path.clone(), index).is_some()
        {
            return Err(ClosureError::Twice { path: store_dir.print(path) });
        }
    }
    let needed: Vec<_> = derivations.iter().map(|(_, derivation)| places(derivation, &given)).collect();
    let Order { order, circular, .. } = order(&needed);
    if let Some(index) = circular.first() {
        let (stated, derivation) = &derivations[*index];
        return Err(cycle(stated.as_ref(), &derivation.name, store_dir));
    }
    let mut closure = Closure::new(store_dir, known);
    let mut waiting: Vec<_> = derivations.into_iter().map(Some).collect();
    let mut checked = Vec::with_capacity(order.len());
    for index in order {
        let (stated, derivation) = waiting[index].take().expect("the order names each once");
        let first = |mut problems: Vec<_>| problems.swap_remove(0);
        let problems = closure.load_missing(stated.as_ref(), &derivation);
        if !problems.is_empty() {
            return Err(first(problems));
        }
        let settled = closure.ground.settle(stated.as_ref(), derivation, None).map_err(first)?;
        closure.ground.call(stated.as_ref(), &settled.path);
        settled.tell(&mut closure.ground.modulo);
        checked.push(settled.into());
    }
    Ok(checked)
}

/// Says that a derivation is an input of itself.
pub(crate) fn cycle<E: std::error::Error + 'static>(
    stated: Option<&StorePath>,
    name: &Name,
    store_dir: &StoreDir,
) -> ClosureError<E> {
    ClosureError::Cycle { path: describe(stated, name, store_dir) }
}

/// How derivations in a list need each other; each is named by its place there.
pub(crate) struct Order {
    /// All of them, inputs first, in an order that depends on nothing but the list.
    pub(crate) order: Vec<usize>,
    /// Those that are inputs of themselves, one of each circle; each once.
    pub(crate) circular: Vec<usize>,
    /// Whether it is an input of another.
    pub(crate) is_input: Vec<bool>,
    /// How many come one after the other before it: more than before any of its inputs.
    pub(crate) depth: Vec<usize>,
}

/// Returns the places of those in a list that a derivation needs; `given` has the places of all.
pub(crate) fn places<B>(derivation: &Derivation<B>, given: &Paths<usize>) -> Box<[usize]> {
    let needed = derivation.input_drvs.keys().chain(&derivation.input_srcs);
    needed.filter_map(|path| given.get(path).copied()).collect()
}

/// Puts derivations in order, of each of which the places of what it needs are given.
///
/// A walk with a stack of its own: graphs are deeper than a thread's stack.
pub(crate) fn order(needed: &[Box<[usize]>]) -> Order {
    let mut circular = Vec::new();
    let mut is_input = vec![false; needed.len()];
    let mut depth = vec![0; needed.len()];
    let mut visits = vec![Visit::Ahead; needed.len()];
    let mut order = Vec::with_capacity(needed.len());
    for start in 0..needed.len() {
        if visits[start] != Visit::Ahead {
            continue;
        }
        visits[start] = Visit::Open;
        let mut stack = vec![(start, needed[start].iter())];
        while let Some((index, rest)) = stack.last_mut() {
            let index = *index;
            let Some(&input) = rest.next() else {
                visits[index] = Visit::Done;
                order.push(index);
                stack.pop();
                if let Some((dependent, _)) = stack.last() {
                    depth[*dependent] = depth[*dependent].max(depth[index] + 1);
                }
                continue;
            };
            is_input[input] = true;
            match visits[input] {
                Visit::Done => depth[index] = depth[index].max(depth[input] + 1),
                Visit::Open => circular.push(input),
                Visit::Ahead => {
                    visits[input] = Visit::Open;
                    stack.push((input, needed[input].iter()));
                }
            }
        }
    }
    // One may be in many circles.
    let mut met = HashSet::new();
    circular.retain(|index| met.insert(*index));
    Order { order, circular, is_input, depth }
}

/// How far the walk has come with a derivation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    /// Not met yet.
    Ahead,
    /// On the stack: its inputs are being walked.
    Open,
    /// In the order.
    Done,
}

/// Names a derivation for people.
fn describe(stated: Option<&StorePath>, name: &Name, store_dir: &StoreDir) -> String {
    stated.map_or_else(|| name.to_string(), |path| store_dir.print(path))
}

/// What is done so far.
pub(crate) struct Closure<'a, 'text, B, E> {
    known: &'a mut dyn FnMut(&StorePath) -> Result<Derivation, E>,
    pub(crate) ground: Ground<'a>,
    /// Those that are no inputs of others in the list. Should one be met further on, it is told of then.
    untold: HashMap<StorePath, Settled<'text, B>>,
}

/// What has been learnt, on which any number of derivations can be settled at once.
pub(crate) struct Ground<'a> {
    store_dir: &'a StoreDir,
    pub(crate) modulo: Modulo,
    /// Labels, and the paths that they turned out to stand for.
    aliases: Paths<StorePath>,
    /// Whether the inputs of a fixed output have to be had, though no path follows from them.
    needs_inputs_of_fixed: bool,
}

impl<'a> Ground<'a> {
    /// Nothing is known yet.
    pub(crate) fn new(store_dir: &'a StoreDir, needs_inputs_of_fixed: bool) -> Self {
        let modulo = Modulo::new(store_dir.clone());
        Self { store_dir, modulo, aliases: Paths::default(), needs_inputs_of_fixed }
    }

    /// Returns the inputs that have to be asked for: those that are not in the list.
    pub(crate) fn missing<B>(&self, derivation: &Derivation<B>) -> Vec<StorePath> {
        if derivation.is_fixed() && !self.needs_inputs_of_fixed {
            return Vec::new();
        }
        let inputs = derivation.input_drvs.keys().map(|input| self.aliases.get(input).unwrap_or(input));
        inputs.filter(|input| !self.modulo.knows(input)).cloned().collect()
    }

    /// Checks one of which no input is [`missing`](Self::missing), or returns all that is wrong with it. `own` is its
    /// file, if that is known.
    pub(crate) fn settle<'text, B: Bytes, E: std::error::Error + 'static>(
        &self,
        stated: Option<&StorePath>,
        mut derivation: Derivation<B>,
        own: Option<OwnFile<'text>>,
    ) -> Result<Settled<'text, B>, Vec<ClosureError<E>>> {
        let was_relabelled = self.resolve_aliases(&mut derivation);
        let own = own.filter(|_| !was_relabelled);
        let name = derivation.name.clone();
        let error = |source| {
            let derivation = describe(stated, &name, self.store_dir);
            ClosureError::Check { derivation, source }
        };
        let settled = settle_or_tell(derivation, own, &self.modulo)
            .map_err(|problems| problems.into_iter().map(error).collect::<Vec<_>>())?;
        match stated {
            Some(stated) if *stated != settled.path && !settled.was_filled && !was_relabelled => {
                let (stated, computed) = (self.store_dir.print(stated), self.store_dir.print(&settled.path));
                Err(vec![ClosureError::Path { stated, computed }])
            }
            _ => Ok(settled),
        }
    }

    /// Remembers the path of one that is given under another, which is only a label then.
    pub(crate) fn call(&mut self, stated: Option<&StorePath>, path: &StorePath) {
        if let Some(stated) = stated
            && stated != path
        {
            self.aliases.insert(stated.clone(), path.clone());
        }
    }

    /// Whether any of its inputs is given by a label.
    pub(crate) fn has_label<B>(&self, derivation: &Derivation<B>) -> bool {
        let is_label = |path: &StorePath| self.aliases.contains_key(path);
        !self.aliases.is_empty() && derivation.input_drvs.keys().chain(&derivation.input_srcs).any(is_label)
    }

    /// Replaces labels by paths, and returns whether there were any.
    fn resolve_aliases<B>(&self, derivation: &mut Derivation<B>) -> bool {
        if !self.has_label(derivation) {
            return false;
        }
        let resolve = |path: StorePath| self.aliases.get(&path).cloned().unwrap_or(path);
        derivation.input_srcs = mem::take(&mut derivation.input_srcs).into_iter().map(resolve).collect();
        let mut inputs: BTreeMap<StorePath, Vec<InputOutputs>> = BTreeMap::new();
        for (path, wanted) in mem::take(&mut derivation.input_drvs) {
            inputs.entry(resolve(path)).or_default().push(wanted);
        }
        let merged = inputs.into_iter().map(|(path, wanted)| (path, InputOutputs::merged(wanted)));
        derivation.input_drvs = merged.collect();
        true
    }
}

impl<'a, 'text, B: Bytes, E: std::error::Error + 'static> Closure<'a, 'text, B, E> {
    pub(crate) fn new(
        store_dir: &'a StoreDir,
        known: &'a mut dyn FnMut(&StorePath) -> Result<Derivation, E>,
    ) -> Self {
        Self::with(Ground::new(store_dir, true), known)
    }

    /// Goes on from what is known already.
    pub(crate) fn with(
        ground: Ground<'a>,
        known: &'a mut dyn FnMut(&StorePath) -> Result<Derivation, E>,
    ) -> Self {
        Self { known, ground, untold: HashMap::new() }
    }

    /// Takes one that is no input of others in the list: its hash would cost as much as all the rest, for nothing.
    pub(crate) fn put_by(&mut self, settled: Settled<'text, B>) {
        self.untold.insert(settled.path.clone(), settled);
    }

    /// Asks for all inputs that are missing, and returns what is wrong with those that cannot be had: with no more of them
    /// than show that it is more than is told.
    pub(crate) fn load_missing(
        &mut self,
        stated: Option<&StorePath>,
        derivation: &Derivation<B>,
    ) -> Vec<ClosureError<E>> {
        let missing = self.ground.missing(derivation);
        if missing.is_empty() {
            return Vec::new();
        }
        let wanted_by: Rc<str> = describe(stated, &derivation.name, self.ground.store_dir).into();
        missing.iter().filter_map(|input| self.load(input, &wanted_by).err()).take(MOST + 1).collect()
    }

    /// Asks for an input, and for all that is needed to hash it.
    fn load(&mut self, input: &StorePath, wanted_by: &Rc<str>) -> Result<(), ClosureError<E>> {
        let mut stack = vec![Pending { path: input.clone(), wanted_by: wanted_by.clone(), derivation: None }];
        let mut read = HashSet::new();
        while let Some(Pending { path, wanted_by, derivation }) = stack.pop() {
            if self.ground.modulo.knows(&path) {
                continue;
            }
            if let Some(derivation) = derivation {
                self.insert_stored(&path, &derivation)?;
                continue;
            }
            if let Some(settled) = self.untold.remove(&path) {
                settled.tell(&mut self.ground.modulo);
                continue;
            }
            let full: Rc<str> = self.ground.store_dir.print(&path).into();
            // One that was read and is not in `modulo` yet lies further down the stack: it waits for itself.
            if !read.insert(path.clone()) {
                return Err(ClosureError::Cycle { path: full.to_string() });
            }
            let derivation = (self.known)(&path).map_err(|source| ClosureError::Input {
                path: full.to_string(),
                wanted_by: wanted_by.to_string(),
                source,
            })?;
            let place = stack.len();
            if !derivation.is_fixed() {
                self.push_missing(&derivation, &full, &mut stack);
            }
            stack.insert(place, Pending { path, wanted_by, derivation: Some(derivation) });
        }
        Ok(())
    }

    fn push_missing(&self, derivation: &Derivation, wanted_by: &Rc<str>, stack: &mut Vec<Pending>) {
        let missing = derivation.input_drvs.keys().filter(|input| !self.ground.modulo.knows(input));
        stack.extend(missing.map(|path| Pending {
            path: path.clone(),
            wanted_by: wanted_by.clone(),
            derivation: None,
        }));
    }

    fn insert_stored(&mut self, path: &StorePath, derivation: &Derivation) -> Result<(), ClosureError<E>> {
        let error = |source| ClosureError::Stored { path: self.ground.store_dir.print(path), source };
        self.ground.modulo.insert(path, derivation).map_err(error)
    }
}

/// A derivation in the store that has to be known.
struct Pending {
    path: StorePath,
    wanted_by: Rc<str>,
    /// There once it is read, while its inputs are being seen to.
    derivation: Option<Derivation>,
}
