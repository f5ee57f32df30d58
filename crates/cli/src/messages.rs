//! What is said on stderr.

pub(crate) use builder::chain;
use std::fmt::Display;
use std::path::Path;

use crate::build_failure::harmless;
use crate::events::Line;
use crate::outlet;
use crate::style::Style;

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
    style: Style,
    form: Form,
}

/// In which form things are said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Text for people.
    Text,
    /// Events, a line of JSON each.
    Events,
}

impl Messages {
    /// Says that much and no more.
    pub(crate) fn new(verbosity: Verbosity, style: Style) -> Self {
        Self { verbosity, style, form: Form::Text }
    }

    /// Says everything as events from now on.
    pub(crate) fn as_events(self) -> Self {
        Self { form: Form::Events, ..self }
    }

    /// Returns how much is said.
    pub(crate) fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Returns how it is coloured.
    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// Says what is happening.
    pub(crate) fn note(&self, text: impl Display) {
        self.say(Verbosity::Normal, "note", "", text);
    }

    /// Says more, with `--verbose`.
    pub(crate) fn detail(&self, text: impl Display) {
        self.say(Verbosity::Verbose, "detail", "", text);
    }

    /// Says still more, with `-vv`.
    pub(crate) fn step(&self, text: impl Display) {
        self.say(Verbosity::Steps, "step", "", text);
    }

    /// Says what the user should know even with `--quiet`.
    pub(crate) fn warn(&self, text: impl Display) {
        let prefix = self.style.warned("store: warning:") + " ";
        self.say(Verbosity::Quiet, "warning", &prefix, harmless(&text.to_string()));
    }

    /// Says why something could not be done.
    pub(crate) fn error(&self, text: impl Display) {
        let prefix = self.style.failed("store:") + " ";
        self.say(Verbosity::Quiet, "error", &prefix, text);
    }

    /// Returns how it is told that a file has been locked by somebody else for seconds, if it is.
    pub(crate) fn locked(&self) -> Option<fn(&Path)> {
        match self.form {
            _ if self.verbosity < Verbosity::Normal => None,
            Form::Text => Some(|file| outlet::say(&format!("{}\n", waiting_for(file)))),
            Form::Events => Some(|file| {
                let line = Line::new("message").with("level", "note").with("text", waiting_for(file));
                outlet::say(&format!("{line}\n"));
            }),
        }
    }

    /// Says an event, where events are said.
    pub(crate) fn event(&self, event: &Line) {
        outlet::say(&format!("{event}\n"));
    }

    fn say(&self, level: Verbosity, word: &str, prefix: &str, text: impl Display) {
        if self.verbosity < level {
            return;
        }
        match self.form {
            Form::Text => outlet::say(&format!("{prefix}{text}\n")),
            Form::Events => {
                self.event(&Line::new("message").with("level", word).with("text", text.to_string()));
            }
        }
    }
}

fn waiting_for(file: &Path) -> String {
    let holder = local_store::locker(file);
    let by = holder.map_or(String::new(), |holder| format!(" by {holder}"));
    harmless(&format!("waiting for `{}`, which is locked{by}", file.display()))
}
