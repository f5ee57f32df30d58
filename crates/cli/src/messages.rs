//! What is said on stderr.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::build_failure::harmless;
use crate::events::Line;
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

/// What is said while somebody else has the terminal; `None` while nobody has. There is one stderr, so there is one.
static HELD: Mutex<Option<Held>> = Mutex::new(None);

/// As many bytes are held back; the logs of builds are kept elsewhere.
const MOST_HELD: usize = 1 << 20;

#[derive(Default)]
struct Held {
    text: String,
    /// Lines for which there was no room.
    lost: usize,
}

impl Held {
    fn push(&mut self, line: String) {
        match self.text.len() + line.len() <= MOST_HELD {
            true => self.text += &line,
            false => self.lost += 1,
        }
    }
}

fn held() -> MutexGuard<'static, Option<Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds back everything that is said, until it is dropped.
#[must_use = "dropping it says what was held back"]
pub(crate) struct Hold(());

/// Begins to hold back what is said.
pub(crate) fn hold() -> Hold {
    *held() = Some(Held::default());
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(Held { mut text, lost }) = held().take() else { return };
        if lost > 0 {
            text += &format!("({lost} more lines were printed meanwhile; `store log` has them)\n");
        }
        let _ = io::stderr().write_all(text.as_bytes());
    }
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

    /// Says an event, where events are said.
    pub(crate) fn event(&self, event: &Line) {
        write(format!("{event}\n"));
    }

    fn say(&self, level: Verbosity, word: &str, prefix: &str, text: impl Display) {
        if self.verbosity < level {
            return;
        }
        match self.form {
            Form::Text => write(format!("{prefix}{text}\n")),
            Form::Events => {
                self.event(&Line::new("message").with("level", word).with("text", text.to_string()));
            }
        }
    }
}

/// Writes in one piece, so that it does not mix with what other processes say on the same terminal.
///
/// A closed stderr is no reason to stop working, so what cannot be said is left unsaid.
fn write(line: String) {
    match &mut *held() {
        Some(held) => held.push(line),
        None => drop(io::stderr().write_all(line.as_bytes())),
    }
}
