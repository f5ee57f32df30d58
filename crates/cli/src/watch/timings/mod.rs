//! `--timings`: a page that shows when which build did what.
//!
//! ```text
//! events, a clock ─► record (goals, what they waited for) ┐
//! looks at /proc ──► course (samples)                     ├─► data (JSON) ─► page (HTML) ─► file
//!                    critical (the longest chain)         ┘
//! ```
#![expect(clippy::disallowed_methods, reason = "takes times, and writes a file of the user's")]

mod course;
mod critical;
mod data;
mod goal;
mod page;
mod record;

use std::fs::{self, File};
use std::io::Write;
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use engine::{Event, Report};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{AccessFlags, access};
use sandbox::Processes;
use store_path::StoreDir;

use super::is_of_results;
use crate::exit::Misuse;
use data::Header;
use record::Record;

/// The time after which it wants to hear that nothing has happened.
pub(crate) const TICK: Duration = course::INTERVAL;

/// Keeps what happens until it is written.
pub(crate) struct Timings {
    file: PathBuf,
    place: Place,
    store_dir: StoreDir,
    record: Record,
    began: Instant,
    began_at: SystemTime,
}

impl Timings {
    /// Begins, if `file` can be written in the end.
    pub(crate) fn new(file: &Path, store_dir: &StoreDir, slots: usize) -> Result<Self> {
        let failed = || format!("cannot write timings to `{}`", file.display());
        ensure!(!file.is_dir(), "{}: that is a directory", failed());
        ensure!(
            !file.ends_with("-") && !is_of_results(file),
            Misuse::says("stdout is for results; `--timings=FILE.html` writes the page into a file")
        );
        let place = Place::of(file).with_context(failed)?;
        Ok(Self {
            file: file.to_owned(),
            place,
            store_dir: store_dir.clone(),
            record: Record::new(slots),
            began: Instant::now(),
            began_at: SystemTime::now(),
        })
    }

    /// Learns from one event.
    pub(crate) fn on_event(&mut self, event: &Event<'_>) {
        let now = self.began.elapsed();
        self.record.apply(event, now);
        if self.record.course.is_due(now) {
            let processes = Processes::look();
            self.record.look(now, |process| processes.usage(process));
        }
    }

    /// Writes the page: whole, or not at all. Without a report, it came to nothing.
    pub(crate) fn write(mut self, report: Option<&Report>) -> Result<PathBuf> {
        let now = self.began.elapsed();
        self.record.look(now, |_| None);
        self.record.finish(now);
        let began = self.began_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let header = Header {
            began: u64::try_from(began).unwrap_or(u64::MAX),
            took: now,
            status: report.map_or("failed", Report::status),
            processors: thread::available_parallelism().map_or(1, NonZero::get),
            store_dir: &self.store_dir,
        };
        let page = page::with(&data::of(&self.record, &header));
        self.place
            .put(&page)
            .with_context(|| format!("cannot write timings to `{}`", self.file.display()))?;
        Ok(self.file)
    }
}

/// Where the page goes.
enum Place {
    /// To a file, which it replaces whole.
    File(PathBuf),
    /// To a pipe or a device, as `/dev/null` is, whose place no file may take.
    Open(File),
}

impl Place {
    fn of(file: &Path) -> Result<Self> {
        if fs::metadata(file).is_ok_and(|metadata| !metadata.is_file()) {
            // Nobody is waited for: a pipe that nobody reads is refused.
            let open = File::options().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(file)?;
            fcntl(&open, FcntlArg::F_SETFL(OFlag::empty()))?;
            return Ok(Self::Open(open));
        }
        // A symlink stays, and what it leads to is replaced.
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        access(file.parent().unwrap_or(Path::new("/")), AccessFlags::W_OK)?;
        Ok(Self::File(file))
    }

    fn put(self, page: &str) -> Result<()> {
        match self {
            Self::File(file) => replace(&file, page),
            Self::Open(mut open) => Ok(open.write_all(page.as_bytes())?),
        }
    }
}

/// Whoever reads the file meanwhile sees the page of before.
fn replace(file: &Path, page: &str) -> Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = file.with_file_name(name);
    let written = fs::write(&new, page).and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    Ok(written?)
}
