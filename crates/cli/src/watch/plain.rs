//! One plain line for each thing that happens.
#![expect(clippy::disallowed_methods, reason = "people want to know how long their builds took")]

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use builder::{Again, Explanation, Maker, NotVaried};
use derivation::Link;
use engine::{Blocked, Event, Failure, Plan, Report};
use local_store::{Holder, Location, Wait};
use sandbox::{Detail, Exit};
use store_path::StorePath;

use crate::build_failure::{self, Circumstances, LogCommand, harmless};
use crate::divergence;
use crate::duration;
use crate::explain;
use crate::full_disk;
use crate::gc;
use crate::log_line;
use crate::messages::{Messages, chain};
use crate::nix_message::{self, NixMessage};
use crate::on_fail::Shells;
use crate::outcome;
use crate::size;
use crate::watch::phases::Phases;
use crate::when;

/// So many failures are told once more at the end.
const MOST_FAILURES: usize = 20;

/// So much is shown of the command line of another process.
const LONGEST_COMMAND: usize = 100;

/// Turns events into lines on stderr.
pub(crate) struct Plain<'a> {
    messages: Messages,
    location: &'a Location,
    /// Shown with each failure.
    log_command: LogCommand,
    /// Whether the lines that builds print are shown.
    shows_logs: bool,
    /// Whether it is told that a build begins; a picture shows what runs.
    shows_starts: bool,
    started: HashMap<StorePath, Instant>,
    /// Who has told of some failures before.
    shells: Option<&'a Shells<'a>>,
    /// What observed builds lacked, until it is told how they ended.
    explained: HashMap<StorePath, Explanation>,
    phases: Phases,
    /// Whether the last thing that was told is a failure, with all that goes with it.
    failure_is_last: bool,
}

impl<'a> Plain<'a> {
    /// Starts with nothing told.
    pub(crate) fn new(
        messages: Messages,
        location: &'a Location,
        log_command: LogCommand,
        shows_logs: bool,
    ) -> Self {
        Self {
            messages,
            location,
            log_command,
            shows_logs,
            shows_starts: true,
            started: HashMap::new(),
            shells: None,
            explained: HashMap::new(),
            phases: Phases::default(),
            failure_is_last: false,
        }
    }

    /// Tells of those failures shortly that were told of before a shell was opened.
    pub(crate) fn after(self, shells: Option<&'a Shells<'a>>) -> Self {
        Self { shells, ..self }
    }

    /// Leaves out what is seen in a live picture.
    pub(crate) fn beside_picture(self) -> Self {
        Self { shows_starts: false, ..self }
    }

    /// Tells of one event.
    pub(crate) fn on_event(&mut self, event: &Event<'_>) {
        self.phases.on_event(event);
        self.failure_is_last &= matches!(event, Event::Blocked(_) | Event::Tick);
        match event {
            Event::Planned(plan) => self.planned(plan),
            Event::Found { file, drv, to_build, .. } => self.found(file, drv, to_build),
            Event::Resolved { drv, resolved } => {
                let (drv, resolved) = (self.full(drv), self.full(resolved));
                self.messages.detail(format_args!("{drv} resolves to {resolved}"));
            }
            Event::Unchanged { drv, .. } => self.messages.note(format_args!(
                "not building {}: what it takes in has not changed since it was built",
                self.full(drv)
            )),
            Event::Started { drv } => self.building(drv),
            Event::Waiting { drv, wait } => self.waiting(drv, wait),
            Event::Running { drv, id, .. } => {
                self.messages.detail(format_args!("the builder of {} runs, as {id}", self.full(drv)));
            }
            Event::Postponed { drv } => {
                self.messages.detail(format_args!("the build hook postpones {}", self.full(drv)));
            }
            Event::Fetching { path, program, download_size } => {
                self.fetching(path, program, *download_size);
            }
            Event::FetchLog { path, line } if self.shows_logs => self.log(path, line),
            Event::FetchLog { .. } => {}
            Event::Fetched { path } => self.built(path, "fetched", "", None),
            Event::NotFetched { path, error } => {
                self.started.remove(*path);
                self.messages.detail(harmless(&chain(*error)));
            }
            Event::Substituted { drv, .. } => self
                .messages
                .detail(format_args!("not building {}: its outputs were fetched", self.full(drv))),
            Event::FellBack { drv, error, .. } => self.messages.warn(format_args!(
                "{}; building `{}`",
                chain(*error),
                self.location.store_dir.print(drv)
            )),
            Event::Elsewhere { drv, machine } => {
                let machine = harmless(machine);
                self.messages.note(format_args!("{} is built on {machine}", self.full(drv)));
            }
            Event::Log { drv, line } if self.shows_logs => self.log(drv, line),
            Event::Log { .. } => {}
            Event::Warning { text, .. } => self.messages.warn(text),
            Event::Detail { drv, detail } => self.detail(drv, detail),
            Event::Explained { drv, explanation } => {
                self.explained.insert((*drv).clone(), (*explanation).clone());
            }
            Event::WaitOver { .. } => {}
            Event::MadeRoom { collected } => self.messages.note(format_args!(
                "too little of the disk was free (`min-free`): {} deleted, {} freed",
                gc::counted(collected.gone, "path"),
                size::show(collected.freed_bytes)
            )),
            Event::NoRoom { error } => self.messages.warn(format_args!(
                "too little of the disk is free (`min-free`), and garbage cannot be collected: {}",
                chain(*error)
            )),
            Event::Built { drv, maker: Maker::Meanwhile(process), .. } => {
                let by = process.map_or("another process".to_owned(), |process| format!("process {process}"));
                self.messages.note(format_args!("{} was built by {by} meanwhile", self.full(drv)));
                self.started.remove(*drv);
            }
            Event::Built { drv, output_bytes, maker, .. } => {
                let usage = if let Maker::Here(usage) = maker { Some(usage) } else { None };
                self.built(drv, "built", &format!(", {}", size::show(*output_bytes)), usage);
            }
            Event::Again { drv, again } => self.again(drv, again),
            Event::Checked { drv, usage, .. } => {
                self.built(drv, "checked", ", and what came out is what was there", usage.as_ref());
            }
            Event::Failed(failure) => self.failed(failure),
            Event::Blocked(blocked) => self.blocked(blocked),
            Event::Tick => {}
            Event::Cancelled { drv, with_all: true } => {
                self.messages.detail(format_args!("stopped building {}", self.full(drv)));
            }
            Event::Cancelled { drv, with_all: false } => {
                self.messages.note(format_args!("cancelled {}", self.full(drv)));
            }
        }
    }

    fn waiting(&self, drv: &StorePath, wait: &Wait) {
        match wait {
            Wait::Lock { file, holder } => self.messages.note(format_args!(
                "waiting for {}: {} the lock `{file}`",
                self.full(drv),
                holder.as_ref().map_or("another process has".to_owned(), holds)
            )),
            Wait::User => self.messages.warn(format_args!(
                "waiting for {}: every user for builders is in use, until a build ends",
                self.full(drv)
            )),
            // Before every build.
            Wait::Hook { program } => self.messages.detail(format_args!(
                "waiting for {}: the hook `{}` runs",
                self.full(drv),
                program.display()
            )),
        }
    }

    /// What is for programs that show progress is shown if it is a text for people.
    fn log(&self, drv: &StorePath, line: &[u8]) {
        match nix_message::parse(line) {
            None => self.messages.note(log_line::prefixed(self.messages.style(), drv, line)),
            Some(NixMessage::Text(text)) => {
                self.messages.note(log_line::prefixed(self.messages.style(), drv, text.as_bytes()))
            }
            Some(_) => {}
        }
    }

    fn detail(&self, drv: &StorePath, detail: &Detail) {
        match detail {
            Detail::Stage(text) => {
                self.messages.detail(log_line::prefixed(self.messages.style(), drv, text.as_bytes()));
            }
            Detail::Step(text) => {
                self.messages.step(log_line::prefixed(self.messages.style(), drv, text.as_bytes()))
            }
        }
    }

    fn failed(&mut self, failure: &Failure) {
        self.failure_is_last = true;
        let phase = self.phases.last(&failure.drv);
        let explained = self.explained(&failure.drv);
        if self.shells.is_some_and(|shells| shells.has_told(failure)) {
            // What it said has been seen; what has come of it has not.
            self.messages.error(build_failure::in_short(&failure.error) + &explained);
            let kept = failure.error.kept();
            kept.iter().for_each(|kept| {
                self.messages.note(format_args!("  its build directory is kept in `{}`", kept.display()))
            });
            return;
        }
        let circumstances = Circumstances {
            phase: phase.as_deref(),
            wanted_by: &failure.wanted_by,
            blocked: failure.blocked,
        };
        let (style, log_command) = (self.messages.style(), &self.log_command);
        let told =
            build_failure::describe(style, failure.built(), &failure.error, &circumstances, log_command);
        self.messages.error(told + &explained);
        // A builder has its own words for it, or none.
        let full = full_disk::told(&failure.error, self.location, None);
        if let Some(line) = full.or_else(|| full_disk::now(self.location, None)) {
            self.messages.error(line);
        }
    }

    /// What the build lacked, if it was observed.
    fn explained(&mut self, drv: &StorePath) -> String {
        let explanation = self.explained.remove(drv);
        explanation.map_or(String::new(), |explanation| explain::show(&explanation, &self.log_command))
    }

    /// Whatever failed has told how many there are.
    fn blocked(&self, blocked: &Blocked) {
        let (drv, by) = (self.full(&blocked.drv), self.full(&blocked.by));
        match blocked.is_cancelled {
            true => self.messages.detail(format_args!("not building {drv}, as {by} was cancelled")),
            false => self.messages.detail(format_args!("not building {drv}: it needs {by}, which failed")),
        }
    }

    /// Tells what became of everything.
    pub(crate) fn ended(&self, report: &Report) {
        if report.stopped {
            return self.messages.error("interrupted; what was built before is kept");
        }
        if !report.cancelled.is_empty() {
            self.messages.error(all_cancelled(report));
        }
        if report.failures.is_empty() {
            return;
        }
        if report.failures.len() > 1 || !self.failure_is_last {
            self.messages.error(self.all_failures(report));
        }
        let left = report.not_started.len();
        if left > 0 {
            self.messages.note(format_args!(
                "{left} more were not started; `--keep-going` builds what does not need what failed"
            ));
        }
    }

    /// Their root causes once more: by now other things stand between them.
    fn all_failures(&self, report: &Report) -> String {
        let builds = if report.failures.len() == 1 { "build" } else { "builds" };
        let mut text = format!("{} {builds} failed", report.failures.len());
        match report.blocked.iter().filter(|blocked| !blocked.is_cancelled).count() {
            0 => {}
            1 => text.push_str(", and 1 that needs what failed was not tried"),
            count => text.push_str(&format!(", and {count} that need what failed were not tried")),
        }
        text.push(':');
        for failure in report.failures.iter().take(MOST_FAILURES) {
            let (drv, status) = (self.full(failure.built()), outcome::status(&failure.error));
            text.push_str(&format!("\n  {drv}: {}", self.messages.style().failed(status)));
        }
        match report.failures.len().saturating_sub(MOST_FAILURES) {
            0 => {}
            more => text.push_str(&format!("\n  and {more} more")),
        }
        text
    }

    fn planned(&self, plan: &Plan) {
        if plan.to_build().len() > 1 {
            let about = duration::about(plan.estimate());
            self.messages.note(format_args!("{} derivations will be built{about}", plan.to_build().len()));
            plan.to_build().for_each(|drv| self.messages.detail(format_args!("  {}", self.full(drv))));
        }
        let size = plan.download_size();
        let size = if size > 0 { format!(", {}", size::show(size)) } else { String::new() };
        match plan.to_fetch().len() {
            0 | 1 => {}
            count => self.messages.note(format_args!("{count} paths will be fetched{size}")),
        }
    }

    fn found(&self, file: &Link, drv: &StorePath, to_build: &[&StorePath]) {
        let (file, drv) = (format!("{}/{file}", self.location.store_dir), self.full(drv));
        let more = match to_build.len() {
            0 => "of which everything is there".to_owned(),
            1 => "for which 1 more will be built".to_owned(),
            count => format!("for which {count} more will be built"),
        };
        self.messages.note(format_args!("{file} is the derivation {drv}, {more}"));
        to_build.iter().for_each(|drv| self.messages.detail(format_args!("  {}", self.full(drv))));
    }

    fn full(&self, path: &StorePath) -> String {
        self.messages.style().path(&self.location.store_dir.print(path))
    }

    fn building(&mut self, drv: &StorePath) {
        self.started.insert(drv.clone(), Instant::now());
        if self.shows_starts {
            self.messages.note(format_args!("building {}", self.full(drv)));
        }
    }

    fn fetching(&mut self, path: &StorePath, program: &Path, download_size: u64) {
        self.started.insert(path.clone(), Instant::now());
        if self.shows_starts {
            let size =
                if download_size > 0 { format!(", {}", size::show(download_size)) } else { String::new() };
            self.messages.note(format_args!("fetching {}{size}", self.full(path)));
            self.messages.detail(format_args!("  by `{}`", program.display()));
        }
    }

    fn again(&self, drv: &StorePath, again: &Again) {
        let Again { number, of, not_varied, .. } = again;
        let count = if *of > 1 { format!(" ({number} of {of})") } else { String::new() };
        let changed = divergence::told_again(again);
        self.messages.note(format_args!("building {} once more{changed}{count}", self.full(drv)));
        for NotVaried { variation, why } in not_varied {
            self.messages.note(format_args!("  not varied: {}: {why}", variation.word()));
        }
    }

    fn built(&mut self, drv: &StorePath, what: &str, how: &str, usage: Option<&Exit>) {
        let took = self.started.remove(drv).map(|start| format!(" in {}", duration::show(start.elapsed())));
        let explained = self.explained(drv);
        self.messages.note(format_args!(
            "{} {}{}{how}{explained}",
            self.messages.style().built(what),
            self.full(drv),
            took.unwrap_or_default()
        ));
        if let Some(usage) = usage {
            self.messages.detail(format_args!(
                "  it used {} in its programs, {} in the kernel, {} MiB at most",
                duration::show(usage.user_time),
                duration::show(usage.system_time),
                usage.peak_memory_bytes.div_ceil(1024 * 1024)
            ));
        }
    }
}

/// Says how many were given up, and what did not come to be for it.
fn all_cancelled(report: &Report) -> String {
    let fetches = report.cancelled.iter().filter(|path| !path.is_derivation()).count();
    let what = if fetches == report.cancelled.len() { "fetch" } else { "build" };
    let text = match (report.cancelled.len(), what) {
        (1, what) => format!("1 {what} was cancelled"),
        (count, "fetch") => format!("{count} fetches were cancelled"),
        (count, _) if fetches == 0 => format!("{count} builds were cancelled"),
        (count, _) => format!("{count} builds and fetches were cancelled"),
    };
    match report.blocked.iter().filter(|blocked| blocked.is_cancelled).count() {
        0 => text,
        1 => text + ", and 1 was not tried for that",
        count => format!("{text}, and {count} were not tried for that"),
    }
}

/// Says who holds a lock, and since when.
fn holds(holder: &Holder) -> String {
    let process = holder.process;
    let command = holder.command.as_ref().map(|command| {
        let command = harmless(command).replace('\n', " ");
        let end = if command.chars().nth(LONGEST_COMMAND).is_some() { "…" } else { "" };
        format!(", `{}{end}`,", command.chars().take(LONGEST_COMMAND).collect::<String>())
    });
    let build = holder.build.as_ref().map(|build| format!(" (build {build})"));
    let since = holder.since_millis.map(|since| format!(" since {}", when::show(since)));
    format!(
        "process {process}{}{} has had{}",
        command.unwrap_or_default(),
        build.unwrap_or_default(),
        since.unwrap_or_default()
    )
}
