//! Deciding about derivations whose own text does not say where their outputs are.
//!
//! Such a derivation is resolved when it is known where its inputs are; what it resolves to names its outputs, or was
//! built before, which the build trace remembers. So inputs are decided about first, in waves, each of which costs as
//! many questions to the database whatever its size. Where an input has to be built to know, so has the derivation:
//! it is resolved when that is done ([`crate::ready`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::mem;
use std::sync::Arc;

use derivation::{Checked, Link, OutputName, ResolveError, resolve};
use local_store::LocalStore;
use store_path::StorePath;

use crate::closure::rooted_and_valid;
use crate::error::Error;
use crate::graph::{Graph, Standing};
use crate::made::read_made;
use crate::trace;
use crate::wanted::Selection;

/// Something to decide about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// A derivation.
    Drv(StorePath),
    /// The derivation that an output is.
    Made(Link),
}

/// A key all of whose inputs are decided about, with what follows from them.
enum Step {
    /// What the derivation resolves to; none where that is not known yet, or does not matter.
    Drv(StorePath, Option<Arc<Checked>>),
    /// Where the derivation is that a build makes, if that is known.
    Made(Link, Option<StorePath>),
}

/// What the store knows about everything in a wave.
struct Answers {
    valid: BTreeSet<StorePath>,
    /// By resolved derivation; all valid.
    traced: HashMap<StorePath, BTreeMap<OutputName, StorePath>>,
}

struct Settling<'a> {
    graph: &'a mut Graph,
    store: &'a LocalStore,
    /// How many inputs are not decided about, of each key that is not either.
    waits: HashMap<Key, usize>,
    /// Who waits for a key.
    users: HashMap<Key, Vec<Key>>,
    ready: Vec<Key>,
    /// Derivations to be made, of which no more can be known now.
    unmade: HashSet<Link>,
}

impl Graph {
    /// Decides about `keys`, of which so much is wanted, and about everything they depend on.
    pub(crate) fn settle(&mut self, store: &LocalStore, keys: &[(Key, Selection)]) -> Result<(), Error> {
        let mut settling = Settling {
            graph: self,
            store,
            waits: HashMap::new(),
            users: HashMap::new(),
            ready: Vec::new(),
            unmade: HashSet::new(),
        };
        for (key, wanted) in keys {
            settling.want(key, wanted)?;
        }
        for (key, _) in keys {
            settling.open(key.clone())?;
        }
        while !settling.ready.is_empty() {
            settling.wave()?;
        }
        match settling.waits.into_keys().min() {
            Some(Key::Drv(drv) | Key::Made(Link { drv, .. })) => Err(Error::Cycle { drv }),
            None => Ok(()),
        }
    }

    /// Returns what a derivation resolves to by what is known now.
    pub(crate) fn resolve(
        &self,
        store: &LocalStore,
        drv: &StorePath,
    ) -> Result<Option<Arc<Checked>>, ResolveError> {
        let path_of = &mut |link: &Link| self.path_of(link).cloned();
        match resolve(&self.nodes[drv].derivation, store.store_dir(), path_of) {
            Ok(resolved) => Ok(Some(Arc::new(resolved))),
            Err(ResolveError::Unknown(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes in what the store knows about what a derivation resolves to.
    fn conclude(&mut self, drv: &StorePath, resolved: Option<Arc<Checked>>, answers: &Answers) {
        let node = self.nodes.get_mut(drv).expect("what is settled was read");
        node.standing = Standing::Build;
        node.outputs.clear();
        if let Some(resolved) = &resolved {
            let stated = resolved.output_paths().into_iter();
            let stated: BTreeMap<_, _> = stated.filter_map(|(name, path)| Some((name, path?))).collect();
            let traced = answers.traced.get(resolved.path()).cloned().unwrap_or_default();
            // What is stated is where it will be; what is traced is there, or nothing is known of it.
            let is_stated = !stated.is_empty();
            node.outputs = if is_stated { stated } else { traced };
            let is_valid =
                |paths: BTreeMap<_, StorePath>| paths.values().all(|path| answers.valid.contains(path));
            if node.paths(&node.wanted).is_some_and(is_valid) {
                node.standing = Standing::Valid;
            } else if !is_stated {
                node.outputs.clear();
            }
        }
        node.resolved = resolved;
    }

    /// Looks once more whether what a derivation resolves to is there; if so, it need not be built.
    pub(crate) fn is_there(
        &mut self,
        store: &LocalStore,
        drv: &StorePath,
        resolved: &Arc<Checked>,
    ) -> Result<bool, Error> {
        let step = Step::Drv(drv.clone(), Some(resolved.clone()));
        let answers = ask(store, std::slice::from_ref(&step))?;
        self.conclude(drv, Some(resolved.clone()), &answers);
        Ok(self.nodes[drv].standing == Standing::Valid)
    }
}

impl Settling<'_> {
    fn want(&mut self, key: &Key, wanted: &Selection) -> Result<(), Error> {
        match key {
            Key::Drv(drv) => {
                self.graph.node(self.store, drv)?.want(wanted);
                self.graph.refuse_absent(drv, wanted)
            }
            Key::Made(file) => {
                self.graph.made.entry(file.clone()).or_default().wanted.extend(wanted);
                match self.graph.made[file].found.clone() {
                    Some(drv) => self.want(&Key::Drv(drv), wanted),
                    None => Ok(()),
                }
            }
        }
    }

    fn is_decided(&self, key: &Key) -> bool {
        let is_decided = |drv: &StorePath| self.graph.nodes[drv].is_decided();
        match key {
            Key::Drv(drv) => is_decided(drv),
            Key::Made(file) if self.unmade.contains(file) => true,
            Key::Made(file) => self.graph.made[file].found.as_ref().is_some_and(is_decided),
        }
    }

    /// Begins to decide about a key, and about what it depends on. A stack of our own: chains are deep.
    fn open(&mut self, key: Key) -> Result<(), Error> {
        let mut stack = vec![key];
        while let Some(key) = stack.pop() {
            if self.is_decided(&key) || self.waits.contains_key(&key) {
                continue;
            }
            let needs = self.needs(&key)?;
            self.waits.insert(key.clone(), needs.len());
            if needs.is_empty() {
                self.ready.push(key.clone());
            }
            for need in needs {
                self.users.entry(need.clone()).or_default().push(key.clone());
                stack.push(need);
            }
        }
        Ok(())
    }

    /// Returns what has to be decided about before.
    fn needs(&mut self, key: &Key) -> Result<BTreeSet<Key>, Error> {
        let links = match key {
            // It is built in any case.
            Key::Drv(drv) if self.graph.nodes[drv].is_impure() => Vec::new(),
            Key::Drv(drv) => self.graph.nodes[drv].derivation.links(),
            Key::Made(file) => match self.graph.made[file].found.clone() {
                Some(drv) => return Ok(BTreeSet::from([Key::Drv(drv)])),
                None => vec![file.clone()],
            },
        };
        let mut needs = BTreeSet::new();
        for link in links {
            let maker = link.file().map_or_else(|| Key::Drv(link.drv.clone()), Key::Made);
            self.want(&maker, &Selection::from(link.output))?;
            if !self.is_decided(&maker) {
                needs.insert(maker);
            }
        }
        Ok(needs)
    }

    /// Decides about everything that waits for nothing more.
    fn wave(&mut self) -> Result<(), Error> {
        let steps = mem::take(&mut self.ready).into_iter().map(|key| self.step(key));
        let steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
        let answers = ask(self.store, &steps)?;
        for step in steps {
            match step {
                Step::Drv(drv, resolved) => {
                    self.graph.conclude(&drv, resolved, &answers);
                    self.decided(&Key::Drv(drv));
                }
                Step::Made(file, Some(path)) if answers.valid.contains(&path) => self.found(file, &path)?,
                Step::Made(file, _) => {
                    self.unmade.insert(file.clone());
                    self.decided(&Key::Made(file));
                }
            }
        }
        Ok(())
    }

    fn step(&self, key: Key) -> Result<Step, Error> {
        match key {
            Key::Drv(drv) if self.graph.nodes[&drv].is_impure() => Ok(Step::Drv(drv, None)),
            Key::Drv(drv) => {
                let resolved = self.graph.resolve(self.store, &drv);
                let resolved = resolved.map_err(|source| Error::Resolve { drv: drv.clone(), source })?;
                Ok(Step::Drv(drv, resolved))
            }
            Key::Made(file) => {
                let path = self.graph.path_of(&file).cloned();
                Ok(Step::Made(file, path))
            }
        }
    }

    /// Goes on with a derivation that was made before.
    fn found(&mut self, file: Link, path: &StorePath) -> Result<(), Error> {
        self.graph.found(self.store, &file, path)?;
        let (made, found) = (Key::Made(file), Key::Drv(path.clone()));
        if self.is_decided(&found) {
            self.decided(&made);
            return Ok(());
        }
        self.waits.insert(made.clone(), 1);
        self.users.entry(found.clone()).or_default().push(made);
        self.open(found)
    }

    fn decided(&mut self, key: &Key) {
        self.waits.remove(key);
        for user in self.users.remove(key).unwrap_or_default() {
            let waits = self.waits.get_mut(&user).expect("a user waits until all it needs is decided about");
            *waits -= 1;
            if *waits == 0 {
                match &user {
                    // That was the last thing to know about it.
                    Key::Made(file) if self.graph.made[file].found.is_some() => self.decided(&user),
                    _ => self.ready.push(user),
                }
            }
        }
    }
}

impl Graph {
    /// Takes in the derivation that an output turned out to be.
    pub(crate) fn found(&mut self, store: &LocalStore, file: &Link, path: &StorePath) -> Result<(), Error> {
        if !self.nodes.contains_key(path) {
            let derivation = read_made(store, file, path)?;
            self.insert(path, derivation);
        }
        let made = self.made.entry(file.clone()).or_default();
        made.found = Some(path.clone());
        let wanted = made.wanted.clone();
        self.refuse_absent(path, &wanted)?;
        self.node(store, path)?.want(&wanted);
        Ok(())
    }
}

/// Asks for everything in a wave at once.
fn ask(store: &LocalStore, steps: &[Step]) -> Result<Answers, Error> {
    let (mut paths, mut resolved) = (BTreeSet::new(), BTreeSet::new());
    for step in steps {
        match step {
            Step::Drv(_, Some(checked)) => {
                let outputs = checked.output_paths();
                if outputs.values().any(Option::is_none) {
                    resolved.insert(checked.path().clone());
                }
                paths.extend(outputs.into_values().flatten());
            }
            Step::Made(_, Some(path)) => drop(paths.insert(path.clone())),
            Step::Drv(_, None) | Step::Made(_, None) => {}
        }
    }
    let traced = trace::outputs_of(store, &resolved)?;
    paths.extend(traced.values().flat_map(BTreeMap::values).cloned());
    Ok(Answers { valid: rooted_and_valid(store, &paths)?, traced })
}
