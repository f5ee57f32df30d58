//! How much room there is once something is gone, where files have several names.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::Stat;

use crate::store::guard;
use crate::tree::{id, walk};
use crate::weight::{FileId, Link, Weight};

/// Counts names as they go, in any order and from several threads.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The inodes that have a name in `.links`. It goes when it is the last one.
    linked: HashSet<u64>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// How many names are left of a file of which some are gone.
    left: HashMap<FileId, u64>,
    /// Files of which only the name in `.links` is left, counted already.
    counted: HashSet<FileId>,
}

impl Ledger {
    pub(super) fn new(linked: HashSet<u64>) -> Self {
        Self { linked, open: Mutex::default() }
    }

    /// Notes that a name is about to go, and returns how many bytes that frees.
    ///
    /// The number of names was read before that, as it changes with each that goes.
    pub(super) fn note(&self, link: Link) -> u64 {
        if let Some(bytes) = link.alone()
            && !self.linked.contains(&link.id.1)
        {
            return bytes;
        }
        let open = &mut *guard(&self.open);
        let left = open.left.entry(link.id).or_insert(link.links);
        *left = left.saturating_sub(1);
        let is_in_links = self.linked.contains(&link.id.1);
        match *left {
            0 => {
                open.left.remove(&link.id);
                if open.counted.contains(&link.id) { 0 } else { link.bytes }
            }
            1 if is_in_links && open.counted.insert(link.id) => link.bytes,
            _ => 0,
        }
    }

    /// Notes that all of a tree is about to go, and returns how many bytes that frees.
    pub(super) fn note_all(&self, tree: &Weight) -> u64 {
        tree.own_bytes + tree.shared.iter().map(|link| self.note(*link)).sum::<u64>()
    }

    /// Whether a file of which only the name in `.links` is left was counted already.
    pub(super) fn has_counted(&self, stat: &Stat) -> bool {
        guard(&self.open).counted.contains(&id(stat))
    }
}

/// Weighs what is at `path`, as far as it can be looked at: what cannot is told once it cannot be removed.
pub(super) fn weigh(path: &Path) -> Weight {
    let mut weight = Weight { passes_closed: true, ..Weight::default() };
    let _ = walk(path, &mut weight);
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(inode: u64, links: u64) -> Link {
        Link { id: (1, inode), links, bytes: 512 }
    }

    #[test]
    fn a_file_is_free_when_its_last_name_goes() {
        let ledger = Ledger::default();
        assert_eq!(ledger.note(link(1, 1)), 512);
        assert_eq!([ledger.note(link(2, 2)), ledger.note(link(2, 2))], [0, 512], "weighed beforehand");
        assert_eq!([ledger.note(link(3, 2)), ledger.note(link(3, 1))], [0, 512], "as they went");
        assert_eq!([ledger.note(link(4, 3)), ledger.note(link(4, 2))], [0, 0], "another has it");
    }

    #[test]
    fn a_name_in_links_does_not_count() {
        let ledger = Ledger::new(HashSet::from([7]));
        assert_eq!([ledger.note(link(7, 3)), ledger.note(link(7, 3))], [0, 512]);
        assert!(guard(&ledger.open).counted.contains(&(1, 7)));
    }
}
