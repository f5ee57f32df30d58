//! Copies of what somebody else made.

use std::path::Path;

use store_path::{Digest, Hash};

use crate::canonical::{Inodes, canonicalise};
use crate::error::Error;
use crate::part::Part;
use crate::threads;
use crate::until::Until;

/// Copies the tree at `source` to `target`, which is new, with canonical metadata.
///
/// Nobody has a file of the copy open. Who made the tree may have: closing it to them by its mode does not
/// take away the descriptors that they hold, or have passed on.
///
/// What is there when it fails, or was given up, is the caller's to remove.
pub fn copy_tree(source: &Path, target: &Path, until: Until<'_>) -> Result<(), Error> {
    threads::copy(source, &Part::whole(), target, until)?;
    canonicalise(target, None, &mut Inodes::default(), until)
}

/// Copies the tree at `source` to `target`, which is new, with the first of each pair of `rewrites` replaced by the
/// second; returns the hash and the size of its archive.
///
/// Names of files and targets of symlinks are rewritten, too. What is there when it fails is the caller's to remove.
pub fn rewrite_tree(
    source: &Path,
    target: &Path,
    rewrites: &[(Digest, Digest)],
    until: Until<'_>,
) -> Result<(Hash, u64), Error> {
    let archive = threads::copy_rewritten(source, &Part::whole(), target, rewrites, until)?;
    canonicalise(target, None, &mut Inodes::default(), until)?;
    Ok(archive)
}
