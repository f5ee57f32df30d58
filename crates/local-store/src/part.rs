//! What of a tree is wanted.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A tree without some of what is in it.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// The paths that are left out, with all that is below them.
    left_out: HashSet<PathBuf>,
}

impl Part {
    /// All of it.
    pub(crate) fn whole() -> Self {
        Self::default()
    }

    pub(crate) fn without(left_out: HashSet<PathBuf>) -> Self {
        Self { left_out }
    }

    /// Writes the archive of this part of the tree at `tree`.
    pub(crate) fn dump(&self, tree: &Path, sink: &mut impl Write) -> Result<u64, nar::DumpError> {
        match self.left_out.is_empty() {
            true => nar::dump(tree, sink),
            false => nar::dump_part(tree, &|path| !self.left_out.contains(path), sink),
        }
    }
}
