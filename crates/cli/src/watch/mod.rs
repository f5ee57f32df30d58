//! Who is told what happens while builds go on.
//!
//! Each way of telling is a module that gets every [`Event`], in order, on the thread that called the engine. [`Watch`] is
//! the one place that knows which of them are there.
#![expect(clippy::disallowed_methods, reason = "opens the file that events go to")]

mod json;
mod live;
mod phases;
mod plain;
mod progress;
mod timings;

use std::fs::File;
use std::io::stdout;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use engine::{Event, Report};
use local_store::Location;

use crate::build_failure::LogCommand;
use crate::exit::Misuse;
use crate::interrupt::Interrupt;
use crate::messages::Messages;
use crate::on_fail::Shells;
use crate::session::Session;

pub(crate) use json::Json;
use json::Sink;
use live::Live;
use plain::Plain;
pub(crate) use progress::{Progress, reflow};
pub(crate) use timings::Timings;

/// Tells everybody who listens.
pub(crate) struct Watch<'a> {
    /// Unless stderr has something else.
    plain: Option<Plain<'a>>,
    live: Option<Live<'a>>,
    json: Option<&'a mut Json>,
    timings: Option<Timings>,
    messages: Messages,
}

impl<'a> Watch<'a> {
    /// Starts with nothing told.
    pub(crate) fn new(
        messages: Messages,
        location: &'a Location,
        log_command: LogCommand,
        shows_logs: bool,
    ) -> Self {
        let plain = Plain::new(messages, location, log_command, shows_logs);
        Self { plain: Some(plain), live: None, json: None, timings: None, messages }
    }

    /// Tells of those failures shortly that were told of before a shell was opened.
    pub(crate) fn after(self, shells: Option<&'a Shells<'a>>) -> Self {
        Self { plain: self.plain.map(|plain| plain.after(shells)), ..self }
    }

    /// Tells programs, too.
    pub(crate) fn and(self, json: Option<&'a mut Json>) -> Self {
        let plain = self.plain.filter(|_| !json.as_ref().is_some_and(|json| json.is_on_stderr()));
        Self { plain, json, ..self }
    }

    /// Keeps what happens for a page, too.
    pub(crate) fn timed(self, timings: Option<Timings>) -> Self {
        Self { timings, ..self }
    }

    /// Draws a live picture, too, if that is how progress is to be shown here, until the user has enough.
    pub(crate) fn drawn(self, progress: Progress, session: &Session, interrupt: &'a Interrupt) -> Self {
        let (variables, messages) = (session.variables(), session.messages());
        // Where there are no lines for people, there is no picture for them.
        let Some(plain) = self.plain else { return self };
        if !progress.is_live(variables, messages.verbosity()) {
            if progress == Progress::Live {
                messages.note(
                    "`--progress live` needs a terminal as standard error; each thing is told on a line",
                );
            }
            return Self { plain: Some(plain), ..self };
        }
        let live = Live::new(interrupt, progress::reflow(variables), messages.style().is_coloured());
        Self { live: Some(live), plain: Some(plain.beside_picture()), ..self }
    }

    /// Returns after how long it wants to hear that nothing has happened.
    pub(crate) fn tick(&self) -> Option<Duration> {
        let live = self.live.as_ref().map(|_| live::TICK);
        live.or(self.timings.as_ref().map(|_| timings::TICK))
    }

    /// Tells of one event.
    pub(crate) fn on_event(&mut self, event: &Event<'_>) {
        if let Some(plain) = &mut self.plain {
            plain.on_event(event);
        }
        if let Some(live) = &mut self.live {
            live.on_event(event);
        }
        if let Some(json) = &mut self.json {
            json.on_event(event);
        }
        if let Some(timings) = &mut self.timings {
            timings.on_event(event);
        }
    }

    /// Tells what became of everything.
    pub(crate) fn ended(&mut self, report: &Report) {
        if let Some(plain) = &mut self.plain {
            plain.ended(report);
        }
        if let Some(json) = &mut self.json {
            json.ended(report);
        }
        self.write_timings(Some(report));
    }

    /// Tells that it came to nothing.
    pub(crate) fn gave_up(&mut self) {
        self.write_timings(None);
    }

    /// A page that cannot be written is told of, but does not make builds fail.
    fn write_timings(&mut self, report: Option<&Report>) {
        match self.timings.take().map(|timings| timings.write(report)) {
            Some(Ok(file)) => self.messages.note(format_args!("timings are in `{}`", file.display())),
            Some(Err(error)) => self.messages.warn(format_args!("{error:#}")),
            None => {}
        }
    }
}

/// Whether `file` is the one that results go to: what is opened once more is written over what is there, or beside it. A
/// pipe or a device is not.
fn is_of_results(file: &Path) -> bool {
    let stdout = stdout().as_fd().try_clone_to_owned().and_then(|stdout| File::from(stdout).metadata());
    let (Ok(stdout), Ok(file)) = (stdout, file.metadata()) else { return false };
    file.is_file() && (file.dev(), file.ino()) == (stdout.dev(), stdout.ino())
}

/// Begins to tell programs what happens, if they asked for it: in a file (`--events`), or, with `--json`, on stderr where
/// that is not a terminal.
pub(crate) fn for_programs(
    session: &mut Session,
    file: Option<&Path>,
    is_terminal: bool,
) -> Result<Option<Json>> {
    let sink = match file {
        Some(file) => {
            let path: PathBuf = session.absolute(file);
            ensure!(
                file != "-" && !is_of_results(&path),
                Misuse::says(
                    "stdout is for results; `--events /dev/stderr` sends events to stderr, `--events FILE` into a file"
                )
            );
            let open = File::options().write(true).create(true).truncate(true).open(&path);
            let open = open.with_context(|| format!("cannot write events to `{}`", path.display()))?;
            Sink::File(Some(open), path, session.messages())
        }
        None if session.json() && !is_terminal => {
            session.tell_events();
            Sink::Stderr(session.messages())
        }
        None => return Ok(None),
    };
    Ok(Some(Json::new(sink, &session.location()?.store_dir)))
}
