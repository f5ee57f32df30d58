//! Paths that become valid together.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use store_path::{Hash, PathInfo, StorePath};

use super::arrivals::{Arrival, Arrivals};
use super::error::{Place, ReceiveError};
use super::unpack::{read_derivation, settle};
use crate::add::now;
use crate::commit::OutputRows;
use crate::delete::remove_tree;
use crate::error::Error;
use crate::store::LocalStore;
use crate::threads::{on_each, processors};

/// So many paths at most: each has a lock, which is an open file, and of those a process may often have 1024.
const MAX_PATHS: usize = 256;

/// So many bytes of archives at most, since some of them are in memory.
const MAX_BYTES: u64 = 64 << 20;

/// Paths that have come in and are not valid yet.
pub(super) struct Batch<'store> {
    pub(super) store: &'store LocalStore,
    /// A directory for trees on their way.
    scratch: PathBuf,
    items: Vec<Item>,
    paths: HashSet<StorePath>,
    bytes: u64,
    /// Numbers the trees.
    next: u64,
}

/// A path that has come in.
pub(super) struct Item {
    /// What the stream says of it; hash and size count only if they are `stated`.
    pub(super) info: PathInfo,
    pub(super) stated: Option<Hash>,
    pub(super) tree: Tree,
    pub(super) place: Place,
    /// Where it ends in the stream.
    pub(super) end: u64,
}

/// Where the contents of a path are.
pub(super) enum Tree {
    /// In the store: it is valid, or an earlier one of the batch.
    Here,
    Archive(Vec<u8>),
    Unpacked {
        tree: PathBuf,
        hash: Hash,
        size: u64,
    },
}

impl Tree {
    /// Forgets what turned out to be here already.
    pub(super) fn discard(self) -> Result<Self, Error> {
        if let Self::Unpacked { tree, .. } = self {
            remove_tree(&tree)?;
        }
        Ok(Self::Here)
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Here => 0,
            Self::Archive(bytes) => bytes.len() as u64,
            Self::Unpacked { size, .. } => *size,
        }
    }
}

/// A path that can become valid.
struct Settled {
    info: PathInfo,
    tree: PathBuf,
    is_here: bool,
    end: u64,
}

impl<'store> Batch<'store> {
    pub(super) fn new(store: &'store LocalStore, scratch: PathBuf) -> Self {
        Self { store, scratch, items: Vec::new(), paths: HashSet::new(), bytes: 0, next: 0 }
    }

    /// Whether this path is in the batch.
    pub(super) fn holds(&self, path: &StorePath) -> bool {
        self.paths.contains(path)
    }

    /// Returns where the next tree can be made.
    pub(super) fn next_place(&mut self) -> PathBuf {
        self.next += 1;
        self.scratch.join(self.next.to_string())
    }

    /// Adds a path; returns whether the batch is full.
    pub(super) fn add(&mut self, item: Item) -> bool {
        self.bytes += item.tree.bytes();
        self.paths.insert(item.info.path.clone());
        self.items.push(item);
        self.items.len() >= MAX_PATHS || self.bytes >= MAX_BYTES
    }

    /// Makes all of the batch valid, or all before the first that is not right.
    pub(super) fn commit(&mut self, arrivals: &mut dyn Arrivals) -> Result<(), ReceiveError> {
        self.bytes = 0;
        self.paths.clear();
        let items = std::mem::take(&mut self.items);
        let items: Vec<(Item, PathBuf)> = items.into_iter().map(|item| (item, self.next_place())).collect();
        let store = self.store;
        let settled = on_each(&items, processors(), |(item, place)| settle(store, item, place.clone()));
        let mut ready = Vec::new();
        let mut outcome = Ok(());
        for ((item, _), settled) in items.into_iter().zip(settled) {
            match settled {
                Ok((tree, nar_hash, nar_size)) => ready.push((
                    Settled {
                        is_here: matches!(item.tree, Tree::Here),
                        info: PathInfo {
                            nar_hash,
                            nar_size,
                            ultimate: false,
                            registration_time: now(),
                            ..item.info
                        },
                        tree,
                        end: item.end,
                    },
                    item.place,
                )),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.take_in(ready, arrivals)?;
        outcome
    }

    /// Makes what was settled valid as far as it fits together.
    fn take_in(
        &self,
        settled: Vec<(Settled, Place)>,
        arrivals: &mut dyn Arrivals,
    ) -> Result<(), ReceiveError> {
        let valid = self.root_and_look(settled.iter().map(|(one, _)| one))?;
        let (mut good, mut outputs) = (Vec::new(), Vec::new());
        let mut earlier = HashSet::new();
        let mut outcome = Ok(());
        for (one, place) in settled {
            match self.judge(&one, place, &valid, &earlier, arrivals) {
                Ok(rows) => outputs.extend(rows),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
            earlier.insert(one.info.path.clone());
            good.push(one);
        }
        self.register(&good, outputs)?;
        for one in &good {
            arrivals.arrived(Arrival { path: &one.info.path, was_here: one.is_here, end: one.end });
        }
        outcome
    }

    /// Keeps everything from being collected, and then finds out which of it is valid.
    fn root_and_look<'a>(
        &self,
        settled: impl Iterator<Item = &'a Settled>,
    ) -> Result<BTreeSet<StorePath>, Error> {
        let mut all = BTreeSet::new();
        for one in settled {
            all.insert(one.info.path.clone());
            all.extend(one.info.references.iter().cloned());
        }
        if all.is_empty() {
            return Ok(all);
        }
        self.store.temp_roots(&all.iter().cloned().collect::<Vec<_>>())?;
        self.store.valid_among(&all)
    }

    /// Says whether a path may become valid; returns the outputs of a derivation.
    fn judge(
        &self,
        one: &Settled,
        place: Place,
        valid: &BTreeSet<StorePath>,
        earlier: &HashSet<StorePath>,
        arrivals: &mut dyn Arrivals,
    ) -> Result<Option<OutputRows>, ReceiveError> {
        let info = &one.info;
        if one.is_here {
            return Ok(None);
        }
        let is_there =
            |path: &&StorePath| **path == info.path || earlier.contains(*path) || valid.contains(*path);
        if let Some(reference) = info.references.iter().find(|path| !is_there(path)) {
            return Err(ReceiveError::Reference { place, reference: reference.clone() });
        }
        if !info.path.is_derivation() {
            // One with a content address has been held against that.
            if info.content_address.is_none() {
                arrivals.trust(info).map_err(|source| ReceiveError::Untrusted { place, source })?;
            }
            return Ok(None);
        }
        // Its path follows from its text, too.
        let wrong = |source| ReceiveError::Derivation { place: place.clone(), source };
        let text = read_derivation(&one.tree).map_err(|error| wrong(error.into()))?;
        let outputs: BTreeMap<_, _> = arrivals.outputs(&info.path, &text).map_err(wrong)?;
        Ok(Some((info.path.clone(), outputs)))
    }

    /// Moves trees to their places and makes them valid, under the locks of all.
    fn register(&self, good: &[Settled], mut outputs: Vec<OutputRows>) -> Result<(), Error> {
        let new: Vec<&Settled> = good.iter().filter(|one| !one.is_here).collect();
        if new.is_empty() {
            return Ok(());
        }
        let paths: Vec<StorePath> = new.iter().map(|one| one.info.path.clone()).collect();
        let _lock = self.store.lock(&paths)?;
        // Whoever held a lock may have made the path.
        let valid = self.store.valid_among(&paths.into_iter().collect())?;
        let mut infos = Vec::new();
        for one in new {
            if valid.contains(&one.info.path) {
                remove_tree(&one.tree)?;
                continue;
            }
            self.store.move_into_place(&one.tree, &one.info.path)?;
            infos.push(one.info.clone());
        }
        outputs.retain(|(drv, _)| !valid.contains(drv));
        if infos.is_empty() { Ok(()) } else { self.store.register_with(infos, outputs) }
    }
}
