//! Copies of what somebody else made.

use std::path::Path;

use store_path::{Digest, Hash};

use crate::canonical::{Inodes, canonicalise};
use crate::error::Error;
use crate::part::Part;
use crate::threads;

/// Copies the tree at `source` to `target`, which is new, with canonical metadata.
///
/// Nobody has a file of the copy open. Who made the tree may have: closing it to them by its mode does not
/// take away the descriptors that they hold, or have passed on.
pub fn copy_tree(source: &Path, target: &Path) -> Result<(), Error> {
    threads::copy(source, &Part::whole(), target)?;
    canonicalise(target, None, &mut Inodes::default())
}

/// Copies the tree at `source` to `target`, which is new, with the first of each pair of `rewrites` replaced by the
/// second; returns the hash and the size of its archive.
///
/// Names of files and targets of symlinks are rewritten, too.
pub fn rewrite_tree(
    source: &Path,
    target: &Path,
    rewrites: &[(Digest, Digest)],
) -> Result<(Hash, u64), Error> {
    let archive = threads::copy_rewritten(source, &Part::whole(), target, rewrites)?;
    canonicalise(target, None, &mut Inodes::default())?;
    Ok(archive)
}
