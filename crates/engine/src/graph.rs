//! What is known of derivations, while a plan is made and while it is carried out.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use derivation::{Checked, Derivation, Link, Output, OutputName};
use local_store::LocalStore;
use store_path::StorePath;

use crate::error::Error;
use crate::offers::Offers;
use crate::read::read_derivation;
use crate::stop;
use crate::wanted::Selection;

/// The derivations met so far.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: HashMap<StorePath, Node>,
    /// Derivations that builds make, by the output that is their file.
    pub(crate) made: HashMap<Link, Made>,
    /// What substituters have.
    pub(crate) offers: Offers,
    /// When this becomes readable, nobody waits for the plan any more.
    pub(crate) stop: Option<OwnedFd>,
}

/// What is known of a derivation that is there.
#[derive(Debug)]
pub(crate) struct Node {
    /// Shared with the worker that builds it.
    pub(crate) derivation: Arc<Derivation>,
    pub(crate) standing: Standing,
    /// Whether it was asked what a build of it takes.
    pub(crate) is_explored: bool,
    /// Whether its outputs are fetched instead, which takes no inputs.
    pub(crate) is_fetched: bool,
    /// What is wanted of it, if its own text does not say where its outputs are.
    pub(crate) wanted: Selection,
    /// Where those outputs are, as far as that was found out.
    pub(crate) outputs: BTreeMap<OutputName, StorePath>,
    /// What is built in its place, once that is known.
    pub(crate) resolved: Option<Arc<Checked>>,
}

/// Whether a derivation has to be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing makes it necessary so far.
    Open,
    /// What is wanted of it is valid, though its own text does not tell where.
    Valid,
    /// It has to be built; or at least it takes its inputs to know that it has not.
    Build,
}

/// What is known of a derivation that is an output.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// What is wanted of it.
    pub(crate) wanted: Selection,
    /// Which one it is, once it is there.
    pub(crate) found: Option<StorePath>,
}

impl Node {
    fn new(derivation: Derivation) -> Self {
        Self {
            derivation: Arc::new(derivation),
            standing: Standing::Open,
            is_explored: false,
            is_fetched: false,
            wanted: Selection::default(),
            outputs: BTreeMap::new(),
            resolved: None,
        }
    }

    /// Whether the derivation's own text says where all of its outputs are.
    pub(crate) fn is_stated(&self) -> bool {
        self.derivation.unknown_outputs().next().is_none()
    }

    pub(crate) fn is_impure(&self) -> bool {
        self.derivation.outputs.values().any(|output| matches!(output, Output::Impure { .. }))
    }

    /// Whether nothing more will be found out about it before something is built.
    pub(crate) fn is_decided(&self) -> bool {
        self.is_stated() || self.standing != Standing::Open
    }

    pub(crate) fn path(&self, output: &OutputName) -> Option<&StorePath> {
        self.derivation.outputs.get(output)?.path().or_else(|| self.outputs.get(output))
    }

    /// Returns the paths of what is wanted; none unless all of them are known.
    pub(crate) fn paths(&self, wanted: &Selection) -> Option<BTreeMap<OutputName, StorePath>> {
        let names: Vec<&OutputName> = match wanted {
            Selection::All => self.derivation.outputs.keys().collect(),
            Selection::Named(names) => names.iter().collect(),
        };
        names.into_iter().map(|name| Some((name.clone(), self.path(name)?.clone()))).collect()
    }

    /// Takes note that more is wanted, which may open what was decided.
    pub(crate) fn want(&mut self, wanted: &Selection) {
        if self.wanted.covers(wanted) {
            return;
        }
        self.wanted.extend(wanted);
        if self.standing == Standing::Valid {
            self.standing = Standing::Open;
        }
    }
}

impl Graph {
    /// Returns what is known about a derivation, which is read when it is met first.
    pub(crate) fn node(&mut self, store: &LocalStore, drv: &StorePath) -> Result<&mut Node, Error> {
        if !self.nodes.contains_key(drv) {
            self.refuse_stopped()?;
            self.nodes.insert(drv.clone(), Node::new(read_derivation(store, drv)?));
        }
        Ok(self.nodes.get_mut(drv).expect("it is there now"))
    }

    /// Refuses to go on if nobody waits for it.
    pub(crate) fn refuse_stopped(&self) -> Result<(), Error> {
        let is_stopped = self.stop.as_ref().is_some_and(|stop| stop::is_readable(stop.as_fd()));
        if is_stopped { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Takes in a derivation that a build has made.
    pub(crate) fn insert(&mut self, drv: &StorePath, derivation: Derivation) -> &mut Node {
        self.nodes.entry(drv.clone()).or_insert_with(|| Node::new(derivation))
    }

    /// Returns where an output is, if that is known; it need not be valid.
    pub(crate) fn path_of(&self, link: &Link) -> Option<&StorePath> {
        self.nodes.get(self.maker(link)?)?.path(&link.output)
    }

    /// Returns the derivation that makes an output, if that is there.
    pub(crate) fn maker<'a>(&'a self, link: &'a Link) -> Option<&'a StorePath> {
        match link.file() {
            None => Some(&link.drv),
            Some(file) => self.made.get(&file)?.found.as_ref(),
        }
    }

    /// Takes in what came out of a build.
    pub(crate) fn built(&mut self, drv: &StorePath, outputs: BTreeMap<OutputName, StorePath>) {
        let node = self.nodes.get_mut(drv).expect("what was built was planned");
        node.standing = Standing::Valid;
        if !node.is_stated() {
            node.outputs = outputs;
        }
    }

    /// Returns what is built in place of a derivation, as far as that is known: itself, or what it resolves to.
    pub(crate) fn built_for<'a>(&'a self, drv: &'a StorePath) -> &'a StorePath {
        let resolved = self.nodes.get(drv).and_then(|node| node.resolved.as_ref());
        resolved.map_or(drv, |resolved| resolved.path())
    }

    /// Refuses outputs that a derivation does not have.
    pub(crate) fn refuse_absent(&self, drv: &StorePath, wanted: &Selection) -> Result<(), Error> {
        let Selection::Named(names) = wanted else { return Ok(()) };
        let outputs = &self.nodes[drv].derivation.outputs;
        match names.iter().find(|name| !outputs.contains_key(*name)) {
            Some(output) => Err(Error::NoSuchOutput { drv: drv.clone(), output: output.clone() }),
            None => Ok(()),
        }
    }
}
