//! What was done.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of all who take part.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Calls of `store build` that succeeded.
    pub(crate) builds: AtomicU64,
    /// Results that were looked at while something kept them.
    pub(crate) looks: AtomicU64,
    pub(crate) adds: AtomicU64,
    pub(crate) collections: AtomicU64,
    /// Paths that were collected.
    pub(crate) collected: AtomicU64,
    /// What collections gave back, in bytes, as far as they tell.
    pub(crate) freed: AtomicU64,
    pub(crate) optimisations: AtomicU64,
    /// What linking saved, in bytes, as far as it is told.
    pub(crate) saved: AtomicU64,
    pub(crate) verifications: AtomicU64,
    pub(crate) kills: AtomicU64,
    /// How much of this Nix did.
    pub(crate) nixs: AtomicU64,
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, number: u64) {
    count.fetch_add(number, Ordering::Relaxed);
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            formatter,
            "{} builds, {} results looked at, {} files added; {} collections of {} paths freed {} KiB; \
             {} optimisations saved {} KiB; {} verifications; {} killed; {} of these were Nix's",
            of(&self.builds),
            of(&self.looks),
            of(&self.adds),
            of(&self.collections),
            of(&self.collected),
            of(&self.freed) >> 10,
            of(&self.optimisations),
            of(&self.saved) >> 10,
            of(&self.verifications),
            of(&self.kills),
            of(&self.nixs),
        )
    }
}
