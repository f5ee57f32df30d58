//! Whoever has paths come in.

use std::collections::BTreeMap;

use store_path::{PathInfo, StorePath};

/// Why somebody else did not agree.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What the store asks of whoever has paths come in, and tells it.
pub trait Arrivals {
    /// Returns the outputs whose paths are known of a derivation with this text, which is about to become valid.
    ///
    /// Derivations come with their inputs before them, or the inputs are valid.
    ///
    /// # Errors
    /// If it is not right; then it does not become valid, nor what comes after it.
    fn outputs(&mut self, drv: &StorePath, text: &[u8]) -> Result<BTreeMap<String, StorePath>, Cause>;

    /// Says whether to believe what is stated of a path. Of those whose paths follow from their contents it is not asked.
    ///
    /// # Errors
    /// If not, and why.
    fn trust(&mut self, info: &PathInfo) -> Result<(), Cause>;

    /// Hears of a path that is valid now.
    fn arrived(&mut self, arrival: Arrival<'_>);
}

/// A path that has come in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The path.
    pub path: &'a StorePath,
    /// Whether it was valid before, so that nothing was to be done.
    pub was_here: bool,
    /// How long the stream is up to the end of this path, in bytes.
    pub end: u64,
}
