//! What this process takes.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// What this process takes.
pub(super) struct Usage {
    /// Processor time so far. Other than time, it does not depend on what else the machine does.
    pub(super) processor: Duration,
    /// The bytes that are in memory.
    pub(super) resident: u64,
    /// The most bytes that were in memory so far.
    pub(super) peak: u64,
}

impl Usage {
    pub(super) fn now() -> Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        let status = fs::read_to_string("/proc/self/status")?;
        let bytes = |key| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
            anyhow::Ok(
                kib.context("the kernel does not tell what is in memory")?.trim().parse::<u64>()? << 10,
            )
        };
        Ok(Self {
            processor: Duration::from_micros(u64::try_from(micros)?),
            resident: bytes("VmRSS:")?,
            peak: bytes("VmHWM:")?,
        })
    }
}
