//! Checking many derivations that refer to each other, inputs first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;
use std::rc::Rc;

use store_path::{Name, StoreDir, StorePath};

use crate::check::{OwnFile, Settled, settle_or_tell};
use crate::json::Stated;
use crate::model::Bytes;
use crate::{CheckError, Checked, Derivation, InputError, InputOutputs, Modulo};

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
    let mut given = HashMap::new();
    for (index, (path, _)) in derivations.iter().enumerate() {
        if let Some(path) = path
            && given.insert(path.clone(), index).is_some()
        {
            return Err(ClosureError::Twice { path: store_dir.print(path) });
        }
    }
    let Order { order, circular, .. } = order(&derivations, &given);
    if let Some(index) = circular.first() {
        return Err(cycle(&derivations[*index], store_dir));
    }
    let mut closure = Closure::new(store_dir, known);
    let mut waiting: Vec<_> = derivations.into_iter().map(Some).collect();
    let mut checked = Vec::with_capacity(order.len());
    for index in order {
        let (stated, derivation) = waiting[index].take().expect("the order names each once");
        let settled =
            closure.settle(stated, derivation, None).map_err(|mut problems| problems.swap_remove(0))?;
        settled.tell(&mut closure.modulo);
        checked.push(settled.into());
    }
    Ok(checked)
}

/// Says that a derivation is an input of itself.
pub(crate) fn cycle<B, E: std::error::Error + 'static>(
    (stated, derivation): &Stated<B>,
    store_dir: &StoreDir,
) -> ClosureError<E> {
    ClosureError::Cycle { path: describe(stated.as_ref(), &derivation.name, store_dir) }
}

/// How derivations in a list need each other; each is named by its place there.
pub(crate) struct Order {
    /// All of them, inputs first, in an order that depends on nothing but the list.
    pub(crate) order: Vec<usize>,
    /// Those that are inputs of themselves, one of each circle.
    pub(crate) circular: Vec<usize>,
    /// Whether it is an input of another.
    pub(crate) is_input: Vec<bool>,
}

/// Puts derivations in order.
///
/// A walk with a stack of its own: graphs are deeper than a thread's stack.
pub(crate) fn order<B>(derivations: &[Stated<B>], given: &HashMap<StorePath, usize>) -> Order {
    let mut circular = Vec::new();
    let mut is_input = vec![false; derivations.len()];
    let inputs = |index: usize| {
        let drv = &derivations[index].1;
        drv.input_drvs.keys().chain(&drv.input_srcs).filter_map(|path| given.get(path).copied())
    };
    let mut visits = vec![Visit::Ahead; derivations.len()];
    let mut order = Vec::with_capacity(derivations.len());
    for start in 0..derivations.len() {
        if visits[start] != Visit::Ahead {
            continue;
        }
        visits[start] = Visit::Open;
        let mut stack = vec![(start, inputs(start))];
        while let Some((index, rest)) = stack.last_mut() {
            let Some(input) = rest.next() else {
                visits[*index] = Visit::Done;
                order.push(*index);
                stack.pop();
                continue;
            };
            is_input[input] = true;
            match visits[input] {
                Visit::Done => {}
                Visit::Open => circular.push(input),
                Visit::Ahead => {
                    visits[input] = Visit::Open;
                    stack.push((input, inputs(input)));
                }
            }
        }
    }
    Order { order, circular, is_input }
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
    store_dir: &'a StoreDir,
    known: &'a mut dyn FnMut(&StorePath) -> Result<Derivation, E>,
    pub(crate) modulo: Modulo,
    /// Labels, and the paths that they turned out to stand for.
    aliases: HashMap<StorePath, StorePath>,
    /// Those that are no inputs of others in the list. Should one be met further on, it is told of then.
    untold: HashMap<StorePath, Settled<'text, B>>,
    /// Whether the inputs of a fixed output have to be had, though no path follows from them.
    pub(crate) needs_inputs_of_fixed: bool,
}

impl<'a, 'text, B: Bytes, E: std::error::Error + 'static> Closure<'a, 'text, B, E> {
    pub(crate) fn new(
        store_dir: &'a StoreDir,
        known: &'a mut dyn FnMut(&StorePath) -> Result<Derivation, E>,
    ) -> Self {
        let modulo = Modulo::new(store_dir.clone());
        Self {
            store_dir,
            known,
            modulo,
            aliases: HashMap::new(),
            untold: HashMap::new(),
            needs_inputs_of_fixed: true,
        }
    }

    /// Checks the next one, of which its dependents are still to be told; or returns all that is wrong with it.
    /// `own` is its file, if that is known.
    pub(crate) fn settle(
        &mut self,
        stated: Option<StorePath>,
        mut derivation: Derivation<B>,
        own: Option<OwnFile<'text>>,
    ) -> Result<Settled<'text, B>, Vec<ClosureError<E>>> {
        let was_relabelled = self.resolve_aliases(&mut derivation);
        let own = own.filter(|_| !was_relabelled);
        let missing = self.missing(&derivation);
        let mut problems = Vec::new();
        if !missing.is_empty() {
            let wanted_by: Rc<str> = describe(stated.as_ref(), &derivation.name, self.store_dir).into();
            problems.extend(missing.iter().filter_map(|input| self.load(input, &wanted_by).err()));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let name = derivation.name.clone();
        let error = |source| {
            let derivation = describe(stated.as_ref(), &name, self.store_dir);
            ClosureError::Check { derivation, source }
        };
        let settled = settle_or_tell(derivation, own, &self.modulo)
            .map_err(|problems| problems.into_iter().map(error).collect::<Vec<_>>())?;
        if let Some(stated) = stated
            && stated != settled.path
        {
            if !settled.was_filled && !was_relabelled {
                let (stated, computed) = (self.store_dir.print(&stated), self.store_dir.print(&settled.path));
                return Err(vec![ClosureError::Path { stated, computed }]);
            }
            self.aliases.insert(stated, settled.path.clone());
        }
        Ok(settled)
    }

    /// Takes one that is no input of others in the list: its hash would cost as much as all the rest, for nothing.
    pub(crate) fn put_by(&mut self, settled: Settled<'text, B>) {
        self.untold.insert(settled.path.clone(), settled);
    }

    /// Replaces labels by paths, and returns whether there were any.
    fn resolve_aliases(&self, derivation: &mut Derivation<B>) -> bool {
        let is_alias = |path: &StorePath| self.aliases.contains_key(path);
        if !derivation.input_drvs.keys().chain(&derivation.input_srcs).any(is_alias) {
            return false;
        }
        let resolve = |path: StorePath| self.aliases.get(&path).cloned().unwrap_or(path);
        derivation.input_srcs = mem::take(&mut derivation.input_srcs).into_iter().map(resolve).collect();
        let mut inputs: BTreeMap<StorePath, InputOutputs> = BTreeMap::new();
        for (path, wanted) in mem::take(&mut derivation.input_drvs) {
            inputs.entry(resolve(path)).or_default().merge(wanted);
        }
        derivation.input_drvs = inputs;
        true
    }

    /// Returns the inputs that have to be asked for: those that are not in the list.
    fn missing(&self, derivation: &Derivation<B>) -> Vec<StorePath> {
        if derivation.is_fixed() && !self.needs_inputs_of_fixed {
            return Vec::new();
        }
        derivation.input_drvs.keys().filter(|input| !self.modulo.knows(input)).cloned().collect()
    }

    /// Asks for an input, and for all that is needed to hash it.
    fn load(&mut self, input: &StorePath, wanted_by: &Rc<str>) -> Result<(), ClosureError<E>> {
        let mut stack = vec![Pending { path: input.clone(), wanted_by: wanted_by.clone(), derivation: None }];
        let mut read = HashSet::new();
        while let Some(Pending { path, wanted_by, derivation }) = stack.pop() {
            if self.modulo.knows(&path) {
                continue;
            }
            if let Some(derivation) = derivation {
                self.insert_stored(&path, &derivation)?;
                continue;
            }
            if let Some(settled) = self.untold.remove(&path) {
                settled.tell(&mut self.modulo);
                continue;
            }
            let full: Rc<str> = self.store_dir.print(&path).into();
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
        let missing = derivation.input_drvs.keys().filter(|input| !self.modulo.knows(input));
        stack.extend(missing.map(|path| Pending {
            path: path.clone(),
            wanted_by: wanted_by.clone(),
            derivation: None,
        }));
    }

    fn insert_stored(&mut self, path: &StorePath, derivation: &Derivation) -> Result<(), ClosureError<E>> {
        self.modulo
            .insert(path, derivation)
            .map_err(|source| ClosureError::Stored { path: self.store_dir.print(path), source })
    }
}

/// A derivation in the store that has to be known.
struct Pending {
    path: StorePath,
    wanted_by: Rc<str>,
    /// There once it is read, while its inputs are being seen to.
    derivation: Option<Derivation>,
}
