//! One line of JSON for each thing that happens (`EVENTS.md`).
#![expect(clippy::disallowed_methods, reason = "writes events to a file, and says how long builds took")]

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use builder::{Explanation, Finding, Maker};
use data_encoding::BASE64;
use engine::{Event, Failure, Plan, Report};
use local_store::Wait;
use sandbox::{Detail, Exit};
use serde_json::{Map, Value, json};
use store_path::{StoreDir, StorePath};

use crate::build_failure;
use crate::events::{Line, VERSION};
use crate::explain;
use crate::messages::{Messages, Verbosity, chain};
use crate::nix_message;
use crate::outcome;
use crate::watch::phases::Phases;

/// Where events go.
pub(crate) enum Sink {
    /// In place of text for people.
    Stderr(Messages),
    /// Beside it. `None` once it takes no more.
    File(Option<File>, PathBuf, Messages),
}

impl Sink {
    fn verbosity(&self) -> Verbosity {
        let (Self::Stderr(messages) | Self::File(_, _, messages)) = self;
        messages.verbosity()
    }

    fn write(&mut self, line: &Line) {
        match self {
            Self::Stderr(messages) => messages.event(line),
            Self::File(file, path, messages) => {
                // In one piece, as the file may be a pipe that others write to.
                let text = format!("{line}\n");
                let written = file.as_mut().map(|file| file.write_all(text.as_bytes()));
                if let Some(Err(error)) = written {
                    let path = path.display();
                    messages.warn(format_args!("cannot write more events to `{path}`: {error}"));
                    *file = None;
                }
            }
        }
    }
}

/// Turns events into lines of JSON.
pub(crate) struct Json {
    sink: Sink,
    store_dir: StoreDir,
    started: HashMap<StorePath, Instant>,
    phases: Phases,
    has_ended: bool,
}

impl Json {
    /// Begins to tell.
    pub(crate) fn new(mut sink: Sink, store_dir: &StoreDir) -> Self {
        let line = Line::new("begin")
            .with("version", VERSION)
            .with("program", concat!("store ", env!("CARGO_PKG_VERSION")))
            .with("pid", std::process::id())
            .with("storeDir", store_dir.as_str());
        sink.write(&line);
        Self {
            sink,
            store_dir: store_dir.clone(),
            started: HashMap::new(),
            phases: Phases::default(),
            has_ended: false,
        }
    }

    /// Returns whether there is no room for text on stderr.
    pub(crate) fn is_on_stderr(&self) -> bool {
        matches!(self.sink, Sink::Stderr(_))
    }

    /// Tells of one event.
    pub(crate) fn on_event(&mut self, event: &Event<'_>) {
        self.phases.on_event(event);
        if let Event::Started { drv } | Event::Fetching { path: drv, .. } = event {
            self.started.insert((*drv).clone(), Instant::now());
        }
        if self.is_wanted(event)
            && let Some(line) = self.line(event)
        {
            self.sink.write(&line);
        }
    }

    /// With `--quiet`, stderr has nothing but what is wrong; steps are for those who ask for them.
    fn is_wanted(&self, event: &Event<'_>) -> bool {
        let verbosity = self.sink.verbosity();
        match event {
            Event::Detail { detail: Detail::Stage(_), .. } => verbosity >= Verbosity::Verbose,
            Event::Detail { detail: Detail::Step(_), .. } => verbosity >= Verbosity::Steps,
            Event::Warning { .. } | Event::NoRoom { .. } | Event::Failed(_) => true,
            _ => verbosity > Verbosity::Quiet || matches!(self.sink, Sink::File(..)),
        }
    }

    fn line(&mut self, event: &Event<'_>) -> Option<Line> {
        Some(match event {
            Event::Planned(plan) => {
                let line = expected(Line::new("planned").with("toBuild", self.paths(plan.to_build())), plan);
                line.with_some("toFetch", (plan.to_fetch().len() > 0).then(|| self.paths(plan.to_fetch())))
            }
            Event::Found { file, drv, to_build, .. } => self
                .about("found", drv)
                .with("output", format!("{}/{file}", self.store_dir))
                .with("toBuild", self.paths(to_build.iter().copied())),
            Event::Resolved { drv, resolved } => {
                self.about("resolved", drv).with("resolvedPath", self.full(resolved))
            }
            Event::Unchanged { drv, resolved } => {
                self.about("unchanged", drv).with("resolvedPath", self.full(resolved))
            }
            Event::Started { drv } => self.about("started", drv),
            Event::Waiting { drv, wait } => self.waiting(drv, wait),
            Event::WaitOver { drv } => self.about("waited", drv),
            Event::Running { drv, id, process } => {
                self.about("running", drv).with("id", id.to_string()).with("pid", *process)
            }
            Event::Postponed { drv } => self.about("postponed", drv),
            Event::Fetching { path, program, download_size } => self
                .fetch("fetching", path)
                .with("program", program.to_string_lossy().into_owned())
                .with_some("downloadBytes", Some(*download_size).filter(|size| *size > 0)),
            Event::FetchLog { path, line } => {
                self.fetch("fetch-log", path).with("text", String::from_utf8_lossy(line).into_owned())
            }
            Event::Fetched { path } => self.fetch("fetched", path).with_some("durationMs", self.took(path)),
            Event::NotFetched { path, error } => self
                .fetch("not-fetched", path)
                .with("message", chain(*error))
                .with_some("durationMs", self.took(path)),
            Event::Substituted { drv, outputs } => {
                let outputs = outputs.iter().map(|(name, path)| (name.to_string(), self.full(path).into()));
                self.about("substituted", drv).with("outputs", outputs.collect::<Map<_, _>>())
            }
            Event::FellBack { drv, error, to_build, .. } => self
                .about("fell-back", drv)
                .with("message", chain(*error))
                .with("toBuild", self.paths(to_build.iter().copied())),
            Event::Elsewhere { drv, machine } => self.about("elsewhere", drv).with("machine", *machine),
            Event::Log { drv, line } => self.log(drv, line),
            Event::Warning { drv, text } => self.about("warning", drv).with("text", *text),
            Event::Detail { drv, detail } => {
                let (level, text) = match detail {
                    Detail::Stage(text) => ("stage", text),
                    Detail::Step(text) => ("step", text),
                };
                self.about("detail", drv).with("level", level).with("text", text.as_str())
            }
            Event::Explained { drv, explanation } => self.explained(drv, explanation),
            Event::Built { drv, outputs, output_bytes, maker } => {
                let outputs = outputs.iter().map(|(name, path)| (name.to_string(), self.full(path).into()));
                let line = self.about("built", drv).with("outputs", outputs.collect::<Map<_, _>>());
                let line = line.with("outputBytes", *output_bytes);
                let line = line.with_some("durationMs", self.took(drv));
                match maker {
                    Maker::Here(usage) => with_usage(line, Some(usage)),
                    Maker::Elsewhere => line,
                    Maker::Meanwhile(process) => line.with("meanwhile", true).with_some("builtBy", *process),
                }
            }
            Event::Again { drv, again } => {
                let varied: Value = again.varied.iter().map(|variation| variation.word()).collect();
                self.about("again", drv)
                    .with("number", again.number)
                    .with("of", again.of)
                    .with("varied", varied)
            }
            Event::Checked { drv, usage, .. } => {
                let line = self.about("checked", drv).with_some("durationMs", self.took(drv));
                with_usage(line, usage.as_ref())
            }
            Event::Failed(failure) => self.failed(failure),
            Event::Blocked(blocked) => self.about("blocked", &blocked.drv).with("by", self.full(&blocked.by)),
            Event::Cancelled { drv, .. } => {
                self.about("cancelled", drv).with_some("durationMs", self.took(drv))
            }
            Event::MadeRoom { collected } => Line::new("collected")
                .with("paths", collected.gone)
                .with("freedBytes", collected.freed_bytes)
                .with("failed", collected.failed.len()),
            Event::NoRoom { error } => Line::new("not-collected").with("message", chain(*error)),
            Event::Tick => return None,
        })
    }

    fn about(&self, kind: &str, drv: &StorePath) -> Line {
        Line::new(kind).with("drvPath", self.full(drv))
    }

    fn fetch(&self, kind: &str, path: &StorePath) -> Line {
        Line::new(kind).with("path", self.full(path))
    }

    fn full(&self, path: &StorePath) -> String {
        self.store_dir.print(path)
    }

    fn paths<'b>(&self, paths: impl Iterator<Item = &'b StorePath>) -> Value {
        paths.map(|path| self.full(path)).collect()
    }

    /// Milliseconds since it was started, if it was.
    fn took(&mut self, drv: &StorePath) -> Option<u64> {
        let started = self.started.remove(drv)?;
        u64::try_from(started.elapsed().as_millis()).ok()
    }

    fn waiting(&self, drv: &StorePath, wait: &Wait) -> Line {
        let line = self.about("waiting", drv);
        match wait {
            Wait::Lock { file, holder } => line
                .with("for", "lock")
                .with("lock", file.as_str())
                .with_some("holder", holder.as_ref().map(|holder| holder.process)),
            Wait::User => line.with("for", "user"),
            Wait::Hook { program } => line.with("for", "hook").with("program", program.to_string_lossy()),
        }
    }

    /// Bytes that are not text are there twice: as well as that can be shown, and exactly.
    fn log(&self, drv: &StorePath, line: &[u8]) -> Line {
        if let Some(message) = nix_message::whole(line) {
            return self.about("progress", drv).with("message", message);
        }
        let exact = std::str::from_utf8(line).is_err().then(|| BASE64.encode(line));
        let text = String::from_utf8_lossy(line).into_owned();
        self.about("log", drv).with("text", text).with_some("base64", exact)
    }

    fn explained(&self, drv: &StorePath, explanation: &Explanation) -> Line {
        let findings: Value = explanation.findings.iter().map(finding).collect();
        self.about("explained", drv).with("findings", findings).with("lost", explanation.lost)
    }

    fn failed(&mut self, failure: &Failure) -> Line {
        let error = &failure.error;
        let kept = error.kept().map(|kept| kept.to_string_lossy().into_owned());
        self.about("failed", &failure.drv)
            .with_some("resolvedPath", failure.resolved.as_ref().map(|resolved| self.full(resolved)))
            .with("status", outcome::status(error))
            .with_some("exitCode", outcome::exit_code(error))
            .with_some("signal", outcome::signal(error))
            .with_some("limit", outcome::limit(error))
            .with_some("phase", self.phases.last(&failure.drv))
            .with("message", build_failure::in_short(error))
            .with("logTail", error.log_tail().to_vec())
            .with_some("divergence", outcome::divergence(error, &self.store_dir))
            .with_some("keptBuildDir", kept)
            .with("wantedBy", self.paths(failure.wanted_by.iter()))
            .with("blocked", failure.blocked)
            .with_some("durationMs", self.took(&failure.drv))
    }

    /// Tells what became of everything.
    pub(crate) fn ended(&mut self, report: &Report) {
        let line = Line::new("end")
            .with("status", report.status())
            .with("built", report.built.len())
            .with("checked", report.checked.len())
            .with("unchanged", report.unchanged.len())
            .with_some("substituted", Some(report.substituted.len()).filter(|count| *count > 0))
            .with("failed", report.failures.len())
            .with("cancelled", report.cancelled.len())
            .with("blocked", report.blocked.len())
            .with("notStarted", report.not_started.len());
        self.sink.write(&line);
        self.has_ended = true;
    }

    /// Tells that it came to nothing.
    pub(crate) fn gave_up(&mut self, error: &str) {
        if !self.has_ended {
            self.sink.write(&Line::new("end").with("status", "error").with("error", error));
        } else if !self.is_on_stderr() {
            // What is made of results went wrong. Stderr will have it anyway.
            self.sink.write(&Line::new("message").with("level", "error").with("text", error));
        }
    }
}

/// Adds what past builds say, if any of them says something.
fn expected(line: Line, plan: &Plan) -> Line {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let of_builds = plan
        .tasks()
        .zip(plan.expected())
        .filter(|((task, _), _)| task.builds().is_some_and(|drv| !plan.is_fetched(drv)));
    let each = of_builds.map(|(_, expected)| expected.map(|expected| millis(expected.wall_time)).into());
    let estimate = plan.estimate().map(millis);
    line.with_some("expectedMs", estimate.is_some().then(|| each.collect::<Vec<Value>>()))
        .with_some("estimateMs", estimate)
}

fn with_usage(line: Line, usage: Option<&Exit>) -> Line {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    line.with_some("userMs", usage.map(|usage| millis(usage.user_time)))
        .with_some("systemMs", usage.map(|usage| millis(usage.system_time)))
        .with_some("peakMemoryBytes", usage.map(|usage| usage.peak_memory_bytes))
        .with_some("writtenBytes", usage.map(|usage| usage.written_bytes))
}

fn finding(finding: &Finding) -> Value {
    json!({
        "kind": explain::kind(&finding.kind),
        "name": finding.name.to_string_lossy(),
        "count": finding.count,
        "by": finding.by,
    })
}
