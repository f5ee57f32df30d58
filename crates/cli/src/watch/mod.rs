//! Who is told what happens while builds go on.
//!
//! Each way of telling is a module that gets every [`Event`], in order, on the thread that called the engine. [`Watch`] is
//! the one place that knows which of them are there.

mod plain;

use engine::Event;
use local_store::Location;

use crate::build_failure::LogCommand;
use crate::messages::Messages;
use crate::on_fail::Shells;

pub(crate) use plain::MOST_BLOCKED;
use plain::Plain;

/// Tells everybody who listens.
pub(crate) struct Watch<'a> {
    plain: Plain<'a>,
}

impl<'a> Watch<'a> {
    /// Starts with nothing told.
    pub(crate) fn new(
        messages: Messages,
        location: &'a Location,
        log_command: LogCommand,
        shows_logs: bool,
    ) -> Self {
        Self { plain: Plain::new(messages, location, log_command, shows_logs) }
    }

    /// Tells of those failures shortly that were told of before a shell was opened.
    pub(crate) fn after(self, shells: Option<&'a Shells<'a>>) -> Self {
        Self { plain: self.plain.after(shells) }
    }

    /// Tells of one event.
    pub(crate) fn on_event(&mut self, event: &Event<'_>) {
        self.plain.on_event(event);
    }
}
