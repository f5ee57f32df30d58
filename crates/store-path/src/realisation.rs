//! What a build has made of an output whose path nobody knew before.

use crate::StorePath;

/// One entry of the build trace: the output of a derivation, and the path it had when it was built.
///
/// Only resolved derivations have entries: those that take in paths, not outputs of other derivations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realisation {
    /// The derivation, which is resolved.
    pub drv: StorePath,
    /// Which of its outputs.
    pub output: String,
    /// What that has turned out to be.
    pub path: StorePath,
    /// `<key name>:<base 64>` each.
    pub signatures: Vec<String>,
}
