//! What a store remembers of a valid path.

use std::collections::BTreeSet;

use crate::{ContentAddress, Hash, StorePath};

/// All that is known of one valid path, apart from its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// Which path this is about.
    pub path: StorePath,
    /// The hash of its archive.
    pub nar_hash: Hash,
    /// The length of its archive in bytes.
    pub nar_size: u64,
    /// The paths whose digests occur in it, perhaps its own among them.
    pub references: BTreeSet<StorePath>,
    /// The derivation that made it.
    pub deriver: Option<StorePath>,
    /// When it became valid, in seconds since 1970.
    pub registration_time: i64,
    /// Whether it was built here, so that no signature is needed to trust it.
    pub ultimate: bool,
    /// `<key name>:<base 64>` each.
    pub signatures: Vec<String>,
    /// What its path was computed from, if not from its derivation.
    pub content_address: Option<ContentAddress>,
}
