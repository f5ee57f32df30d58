//! What is asked of a failure: whether its builder has run, what that has printed, what is left of it.

use std::io;
use std::path::PathBuf;

use sandbox::Step;

use super::BuildFailure;

impl BuildFailure {
    /// Whether the builder may have failed since it lacked something, which observing it would tell.
    pub fn may_be_a_lack(&self) -> bool {
        match self.itself() {
            Self::Builder { .. } | Self::NoOutput { .. } => true,
            Self::Sandbox { source: sandbox::Error::Setup { step: Step::Execute, source, .. }, .. } => {
                source.kind() == io::ErrorKind::NotFound
            }
            _ => false,
        }
    }

    /// The last lines that the builder printed, if it came to run.
    pub fn log_tail(&self) -> &[String] {
        match self {
            Self::Builder { log_tail, .. }
            | Self::OutOfMemory { log_tail, .. }
            | Self::Overran { log_tail, .. }
            | Self::NetworkLost { log_tail, .. }
            | Self::Elsewhere { log_tail, .. }
            | Self::NoOutput { log_tail, .. } => log_tail,
            Self::Withheld { source, .. } => source.log_tail(),
            _ => &[],
        }
    }

    /// The failure itself, where this says something of its circumstances only.
    pub fn itself(&self) -> &Self {
        match self {
            Self::Withheld { source, .. } | Self::Declined { source, .. } => source,
            failure => failure,
        }
    }

    /// Where the build directory was kept, under `keep-failed`.
    pub fn kept(&self) -> Option<&PathBuf> {
        match self {
            Self::Builder { kept, .. }
            | Self::OutOfMemory { kept, .. }
            | Self::Overran { kept, .. }
            | Self::NetworkLost { kept, .. }
            | Self::NoOutput { kept, .. } => kept.as_ref(),
            Self::Withheld { source, .. } => source.kept(),
            _ => None,
        }
    }

    /// Whether `keep-failed` keeps the build directory of such a build.
    pub fn leaves_a_directory(&self) -> bool {
        matches!(
            self.itself(),
            Self::Builder { .. }
                | Self::OutOfMemory { .. }
                | Self::Overran { .. }
                | Self::NetworkLost { .. }
                | Self::NoOutput { .. }
        )
    }

    /// Whether the builder has run and what it did is the reason, so that there is something to be found out there.
    pub fn has_run(&self) -> bool {
        matches!(
            self.itself(),
            Self::Builder { .. }
                | Self::Overran { .. }
                | Self::OutOfMemory { .. }
                | Self::NoOutput { .. }
                | Self::Hash { .. }
                | Self::Writable { .. }
                | Self::NotFlat { .. }
                | Self::FixedReference { .. }
                | Self::Rejected { .. }
        )
    }

    /// Says where the build directory was kept.
    pub(crate) fn keep_in(&mut self, place: PathBuf) {
        match self {
            Self::Builder { kept, .. }
            | Self::OutOfMemory { kept, .. }
            | Self::Overran { kept, .. }
            | Self::NetworkLost { kept, .. }
            | Self::NoOutput { kept, .. } => *kept = Some(place),
            _ => {}
        }
    }
}
