//! How a path was built, as it is written down.

use std::sync::Arc;
use std::time::Duration;

use crate::StorePath;

/// One build that ended well, as it is written down beside what it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRecord {
    /// What was built.
    pub drv: StorePath,
    /// When its builder was started, in milliseconds since 1970.
    pub started_millis: i64,
    /// How long the builder ran.
    pub wall_time: Duration,
    /// Time its processes spent in user mode.
    pub user_time: Duration,
    /// Time its processes spent in the kernel.
    pub system_time: Duration,
    /// Most memory it had, in bytes.
    pub peak_memory_bytes: u64,
    /// What its processes wrote to disks, in bytes.
    pub written_bytes: u64,
    /// What kept it apart; most builds have the same.
    pub isolation: Arc<IsolationText>,
}

/// What kept a build apart, as text that only its writer understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolationText {
    /// How the text is to be read; higher numbers came later.
    pub format: u32,
    /// Whether nothing was lacking, as far as its writer knew.
    pub isolated: bool,
    /// The text.
    pub text: String,
}
