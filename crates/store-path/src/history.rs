//! What is remembered of builds beyond what they made.

use std::time::Duration;

use crate::StorePath;

/// What earlier builds of a name lead one to expect of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How long its builder will run. The last builds count most.
    pub wall_time: Duration,
    /// The most memory that it will have, in bytes: as one build is measured, so is the next.
    pub peak_memory_bytes: u64,
    /// The size of all its outputs, as archives, in bytes.
    pub output_bytes: u64,
    /// Whether it was learned from builds of another version.
    pub is_of_other_version: bool,
}

/// A build that was tried in vain, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedBuild {
    /// What was to be built.
    pub drv: StorePath,
    /// When it was begun, in milliseconds since 1970.
    pub started_millis: i64,
    /// How long it took to fail.
    pub wall_time: Duration,
    /// The kind of failure, as a word for programs.
    pub kind: String,
    /// Why, as a sentence for people.
    pub why: String,
}
