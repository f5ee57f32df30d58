//! The exit codes of `store`: all of them, in one enum.

use std::fmt;
use std::ops::BitOr;
use std::process::ExitCode;

/// How a run of `store` ended, as the calling shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked for is done.
    Success,
    /// Something went wrong; stderr says what. Also: `derivation diff` found a difference.
    Failure,
    /// The command line was not understood, or cannot be done whatever the store holds.
    Usage,
    /// `derivation diff`: something is in the way of comparing, so it is not said whether there are differences.
    NotCompared,
    /// `doctor`: builds work, but not everything that isolates them is there.
    Limited,
    /// `doctor`: this machine cannot isolate a build at all.
    NoIsolation,
    /// The user pressed Ctrl-C, the terminal was closed or the process was told to stop. Also, if nothing failed: somebody
    /// has cancelled a build of it (`store cancel`).
    Interrupted,
    /// What ran in a sandbox for the user ended with this.
    Program(u8),
    /// What `verify` found out.
    Verified(Verdict),
    /// At least one build failed, and this is how.
    Builds(BuildFailures),
}

impl Exit {
    /// Returns the number the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage | Self::NotCompared => 2,
            Self::Limited => 10,
            Self::NoIsolation => 11,
            Self::Interrupted => 130,
            Self::Verified(verdict) => u8::from(verdict.damaged) | u8::from(verdict.unchecked) << 2,
            Self::Program(code) => code,
            Self::Builds(failures) => failures.0.max(1),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A mistake on the command line that is found only after it was taken apart: [`Exit::Usage`], however it is told.
#[derive(Debug)]
pub(crate) struct Misuse(String);

impl Misuse {
    /// Says what is wrong; for an error, with its causes.
    pub(crate) fn new(wrong: impl Into<anyhow::Error>) -> Self {
        Self(format!("{:#}", wrong.into()))
    }

    /// The same for a text.
    pub(crate) fn says(wrong: impl Into<String>) -> Self {
        Self(wrong.into())
    }

    /// Returns the exit code of an error.
    pub(crate) fn exit(error: &anyhow::Error) -> Exit {
        if error.is::<Self>() { Exit::Usage } else { Exit::Failure }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// What `verify` found out, and did not mend. The bits are those of `nix store verify`; its 2 is for paths that nobody
/// trusted has signed, and a usage error here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Something is not as it should be: 1.
    pub(crate) damaged: bool,
    /// Something could not be looked at: 4.
    pub(crate) unchecked: bool,
}

/// The ways in which builds failed, or-ed together under `--keep-going`.
///
/// The bits are Nix's, so that scripts written for `nix-store --realise` keep working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BuildFailures(u8);

impl BuildFailures {
    /// The builder failed, or could not be started.
    pub(crate) const FAILED: Self = Self(100);
    /// The builder has succeeded, but an output is missing or is not what it has to be; or that of a fixed output has failed,
    /// which may go better another time; or a hook has. For Nix that is no lasting failure of a builder, and has no bit:
    /// alone it is 1, and with others it is not to be seen.
    pub(crate) const UNCOUNTED: Self = Self(0);
    /// The builder ran, or was silent, for too long.
    pub(crate) const TIMED_OUT: Self = Self(101);
    /// A fixed output came out with another hash.
    pub(crate) const HASH_MISMATCH: Self = Self(102);
    /// Built once more, a derivation gave something else.
    pub(crate) const NOT_DETERMINISTIC: Self = Self(104);
}

impl BitOr for BuildFailures {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_and_what_could_not_be_read_are_two_bits() {
        let code = |damaged, unchecked| Exit::Verified(Verdict { damaged, unchecked }).code();
        assert_eq!(
            [code(false, false), code(true, false), code(false, true), code(true, true)],
            [0, 1, 4, 5]
        );
    }

    #[test]
    fn failures_add_up_as_in_nix() {
        let both = BuildFailures::FAILED | BuildFailures::HASH_MISMATCH;
        assert_eq!(Exit::Builds(both).code(), 102);
        assert_eq!(Exit::Builds(BuildFailures::UNCOUNTED).code(), 1);
        assert_eq!(Exit::Builds(BuildFailures::UNCOUNTED | BuildFailures::FAILED).code(), 100);
        assert_eq!(Exit::Builds(BuildFailures::FAILED).code(), 100);
        let all = both | BuildFailures::TIMED_OUT;
        assert_eq!(Exit::Builds(all).code(), 103);
        assert_eq!(Exit::Builds(BuildFailures::NOT_DETERMINISTIC).code(), 104);
        assert_eq!(Exit::Builds(BuildFailures::NOT_DETERMINISTIC | BuildFailures::TIMED_OUT).code(), 109);
    }
}
