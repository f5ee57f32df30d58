//! What is remembered of builds that failed.

use local_store::{LocalStore, Until};
use sandbox::Overrun;
use store_path::{FailedBuild, StorePath};

use crate::build::Message;
use crate::failure::BuildFailure;
use crate::log::Log;
use crate::observe::Teller;
use crate::request::chain;
use crate::stopwatch::{Measured, Stopwatch};

/// Builds, writes down if that failed, and completes the log; that is not to take long once nobody wants the build any
/// more.
///
/// # Errors
/// Those of `build`.
pub fn remembering<T>(
    store: &LocalStore,
    drv: &StorePath,
    log: &Log,
    until: Until<'_>,
    tell: &mut Teller<'_>,
    build: impl FnOnce(&mut Teller<'_>) -> Result<T, BuildFailure>,
) -> Result<T, BuildFailure> {
    let stopwatch = Stopwatch::start();
    let built = build(tell);
    // In this order: whoever sees the verdict in the log may look up whether it is ours.
    if let Err(failure) = &built {
        remember(store, drv, failure, &stopwatch.stop(), tell);
    }
    log.close(built.as_ref().err(), until);
    built
}

/// Writes down a build that failed or was cancelled, for `store log`. It has failed all the same if that cannot be.
fn remember(
    store: &LocalStore,
    drv: &StorePath,
    failure: &BuildFailure,
    measured: &Measured,
    tell: &mut dyn FnMut(Message<'_>),
) {
    let failed = FailedBuild {
        drv: drv.clone(),
        started_millis: measured.started_millis,
        wall_time: measured.wall_time,
        kind: failure.kind().to_owned(),
        why: chain(failure),
    };
    if let Err(error) = store.record_failure(&failed) {
        tell(Message::Warning(format!("`store log --failed` will not know of `{drv}`: {}", chain(&error))));
    }
}

impl BuildFailure {
    /// Whether it was stopped, rather than that it failed.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::GivenUp { .. } | Self::Sandbox { source: sandbox::Error::LauncherGone, .. })
    }

    /// What kind of failure it is, as a word for programs that never changes (see `EVENTS.md` of cli).
    pub fn kind(&self) -> &'static str {
        match self.itself() {
            failure if failure.is_cancelled() => "cancelled",
            Self::GivenUp { .. } => "cancelled",
            Self::Elsewhere { code: Some(101), .. } => "timed-out",
            Self::Elsewhere { code: Some(102), .. } => "hash-mismatch",
            Self::Builder { is_transient: true, .. } => "transient",
            Self::Builder { .. } | Self::Elsewhere { .. } => "failed",
            Self::NoOutput { .. } => "no-output",
            Self::Overran { overrun: Overrun::Time, .. } => "timed-out",
            Self::Overran { overrun: Overrun::Silence, .. } => "silent",
            Self::Overran { overrun: Overrun::Output, .. } => "log-limit",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::NetworkLost { .. } => "network-lost",
            Self::Hash { .. } => "hash-mismatch",
            Self::NotDeterministic { .. } | Self::Unrepaired { .. } => "not-deterministic",
            Self::Rejected { .. } => "rejected",
            Self::Writable { .. }
            | Self::NotFlat { .. }
            | Self::Unaddressable { .. }
            | Self::OutputCycle { .. }
            | Self::FixedReference { .. } => "bad-output",
            Self::Store { source, .. } if refuses_output(source) => "bad-output",
            Self::System { .. }
            | Self::Declined { .. }
            | Self::Feature { .. }
            | Self::NoFilter { .. }
            | Self::Builtin { .. }
            | Self::Attribute { .. }
            | Self::Open { .. }
            | Self::UidRange { .. }
            | Self::KeepsGroups { .. }
            | Self::NotComparable { .. }
            | Self::ChrootNeedsRoot => "impossible",
            Self::HookStart { .. } | Self::PreBuildHook { .. } | Self::PostBuildHook { .. } => "hook",
            _ => "error",
        }
    }
}

/// Whether it is about what the builder has made, not about the store.
fn refuses_output(error: &local_store::Error) -> bool {
    match error {
        local_store::Error::Together(error) => refuses_output(error),
        local_store::Error::Kind { .. } | local_store::Error::Cycle(_) => true,
        _ => false,
    }
}
