//! What is said on stderr.

use std::fmt::{Arguments, Display};
use std::io::{self, Write};

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors and warnings only.
    Quiet,
    /// What is being done, a line for each build.
    Normal,
    /// More than that.
    Verbose,
    /// Each step of it.
    Steps,
}

/// The way to stderr.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Messages {
    verbosity: Verbosity,
}

impl Messages {
    /// Says that much and no more.
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        Self { verbosity }
    }

    /// Says what is happening.
    pub(crate) fn note(&self, text: impl Display) {
        self.say(Verbosity::Normal, format_args!("{text}"));
    }

    /// Says more, with `--verbose`.
    pub(crate) fn detail(&self, text: impl Display) {
        self.say(Verbosity::Verbose, format_args!("{text}"));
    }

    /// Says still more, with `-vv`.
    pub(crate) fn step(&self, text: impl Display) {
        self.say(Verbosity::Steps, format_args!("{text}"));
    }

    /// Says what the user should know even with `--quiet`.
    pub(crate) fn warn(&self, text: impl Display) {
        self.say(Verbosity::Quiet, format_args!("store: warning: {text}"));
    }

    /// Says why something could not be done.
    pub(crate) fn error(&self, text: impl Display) {
        self.say(Verbosity::Quiet, format_args!("store: {text}"));
    }

    /// A closed stderr is no reason to stop working, so what cannot be said is left unsaid.
    fn say(&self, level: Verbosity, text: Arguments<'_>) {
        if self.verbosity >= level {
            // In one piece, so that it does not mix with what other processes say on the same terminal.
            let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
        }
    }
}
