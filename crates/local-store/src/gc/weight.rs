//! How much a tree takes on disk.

use std::path::Path;

use rustix::fs::Mode;

use super::ledger::{Ledger, Link};
use crate::error::Error;
use crate::tree::{Node, Visit, walk};

/// What a tree takes on disk.
#[derive(Debug, Default)]
pub(super) struct Weight {
    own_bytes: u64,
    /// Files that have other names as well, perhaps elsewhere.
    shared: Vec<Link>,
}

impl Weight {
    /// Returns how many bytes are free once this is gone, after all that was noted before.
    pub(super) fn note(&self, ledger: &Ledger) -> u64 {
        self.own_bytes + self.shared.iter().map(|link| ledger.note(*link)).sum::<u64>()
    }
}

/// Weighs the tree at `path`, as far as it can be looked at; nothing is mounted in it that would count.
pub(super) fn weigh(path: &Path) -> Weight {
    let mut weight = Weight::default();
    // What cannot be looked at is not known, and told once it cannot be removed.
    let _ = walk(path, &mut weight);
    weight
}

impl Visit for Weight {
    fn enters(&mut self, directory: &Node<'_>) -> Result<bool, Error> {
        self.leaf(directory)?;
        let mode = Mode::from_raw_mode(directory.stat.st_mode);
        Ok(mode.contains(Mode::RUSR | Mode::XUSR) || rustix::process::geteuid().is_root())
    }

    fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
        let link = Link::of(node.stat);
        match link.alone() {
            Some(bytes) => self.own_bytes += bytes,
            None => self.shared.push(link),
        }
        Ok(())
    }
}
