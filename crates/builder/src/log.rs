//! The log of a build: written as it comes, compressed at the end, its last lines remembered.

#![expect(clippy::disallowed_methods, reason = "writes the log files of builds")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use bzip2::Compression;
use bzip2::write::BzEncoder;
use local_store::Until;
use store_path::StorePath;

use crate::build::Context;
use crate::failure::BuildFailure;
use crate::request::chain;
use crate::verdict;

/// Lines longer than this are remembered cut: the tail is for people.
const LONGEST_LINE: usize = 4096;

/// The log of a build, whose builder may be run more than once.
///
/// ```text
/// begin ─► write … ─► end ─┐
///   ▲                      ├─► close: a verdict, if it failed; compressed, if that is wanted
///   └────── run again ◄────┘
/// ```
pub struct Log {
    keep: Keep,
    open: RefCell<Option<Open>>,
    /// Why the last run was not written down, or not wholly, until somebody is told.
    refused: Cell<Option<io::Error>>,
}

/// The file of the last run. None if no log is kept, or once nothing more can be written (a full disk), which does not
/// end the build.
struct Open {
    file: File,
    /// Whether there is nothing or a whole line.
    is_at_line: bool,
}

/// What one run of a builder prints.
pub struct Run<'a> {
    log: &'a Log,
    tail: Tail,
}

/// What to keep of a log.
pub struct Keep {
    /// Where, without the ending of a compressed one; `None` to keep none.
    pub(crate) path: Option<PathBuf>,
    /// Whether the finished file is compressed.
    pub(crate) compress: bool,
    /// How many last lines are remembered.
    pub(crate) lines: usize,
}

impl Keep {
    /// What the settings say of a build of `drv`.
    pub fn of(context: &Context<'_>, drv: &StorePath) -> Self {
        let Context { store, settings, .. } = context;
        Self {
            path: settings.keep_build_log.then(|| store.location().log_path(drv)),
            compress: settings.compress_build_log,
            lines: settings.log_lines,
        }
    }
}

impl Log {
    /// Prepares to keep a log; nothing is made or removed before its builder is run.
    pub fn new(keep: Keep) -> Self {
        Self { keep, open: RefCell::new(None), refused: Cell::new(None) }
    }

    /// Begins a run. There is a new file from now on, so that whoever follows the build finds it.
    pub fn begin(&self) -> Run<'_> {
        let file = self.keep.path.as_ref().and_then(|path| self.unless_refused(create(path)));
        *self.open.borrow_mut() = file.map(|file| Open { file, is_at_line: true });
        let _ = local_store::failpoint::reach("log.begun");
        Run { log: self, tail: Tail::new(self.keep.lines) }
    }

    fn unless_refused<T>(&self, result: io::Result<T>) -> Option<T> {
        result.map_err(|error| self.refused.set(Some(error))).ok()
    }

    /// Returns what is to be said of a log that is not whole, once.
    pub fn lack(&self) -> Option<String> {
        let (error, path) = (self.refused.take()?, self.keep.path.as_ref()?);
        Some(format!(
            "what the builder prints is not kept any more: cannot write `{}`: {error}",
            path.display()
        ))
    }

    /// Completes the log of a build that has ended, if its builder was run, with why it failed, if it did.
    ///
    /// A log that cannot be completed stays as far as it came: the outputs are worth more. Nor is a long one compressed
    /// once the build has been given up, as ten megabytes may take seconds.
    pub fn close(&self, failure: Option<&BuildFailure>, until: Until<'_>) {
        let Some(mut open) = self.open.take() else { return };
        if let Some(failure) = failure {
            let end = if open.is_at_line { "" } else { "\n" };
            let verdict = verdict::of(failure.kind(), &chain(failure));
            if open.file.write_all(format!("{end}{verdict}").as_bytes()).is_err() {
                return;
            }
        }
        if let Some(path) = self.keep.path.as_ref().filter(|_| self.keep.compress) {
            let _ = compress(path, &open.file, until);
        }
        let _ = local_store::failpoint::reach("log.closed");
    }
}

impl Run<'_> {
    /// Adds what the builder printed.
    pub fn write(&mut self, bytes: &[u8]) {
        self.tail.push(bytes);
        let mut open = self.log.open.borrow_mut();
        let Some(Open { file, is_at_line }) = open.as_mut().filter(|_| !bytes.is_empty()) else { return };
        *is_at_line = bytes.ends_with(b"\n");
        let written = file.write_all(bytes);
        if self.log.unless_refused(written).is_none() {
            *open = None;
        }
    }

    /// Returns the last lines, as the builder has ended.
    pub fn end(self) -> Vec<String> {
        self.tail.finish()
    }
}

/// Makes the file, a new one, as somebody may still read what was there before.
fn create(path: &Path) -> io::Result<File> {
    // An earlier build's, which would otherwise be shown beside this one's.
    remove(&compressed(path))?;
    remove(path)?;
    let open = || File::options().read(true).write(true).create_new(true).open(path);
    match (open(), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(parent)?;
            open()
        }
        (result, _) => result,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn compressed(path: &Path) -> PathBuf {
    path.with_added_extension("bz2")
}

fn compress(path: &Path, mut file: &File, until: Until<'_>) -> io::Result<()> {
    let size = file.stream_position()?;
    if size == 0 {
        return Ok(());
    }
    file.rewind()?;
    // A level is the size of a block in 100 kB: a larger one gains nothing and costs memory.
    let level = Compression::new(size.div_ceil(100_000).clamp(1, 9) as u32);
    let temporary = path.with_added_extension("bz2.tmp");
    let mut encoder = BzEncoder::new(BufWriter::new(File::create(&temporary)?), level);
    let written = io::copy(&mut until.pass(file), &mut encoder)
        .and_then(|_| Ok(encoder.finish()?.into_inner()?))
        .and_then(|_| fs::rename(&temporary, compressed(path)));
    if written.is_err() {
        remove(&temporary)?;
    }
    written?;
    fs::remove_file(path)
}

/// The last lines of a stream.
struct Tail {
    lines: VecDeque<String>,
    most: usize,
    partial: Vec<u8>,
}

impl Tail {
    fn new(most: usize) -> Self {
        Self { lines: VecDeque::new(), most, partial: Vec::new() }
    }

    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.partial.len());
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        // An event for programs that show progress says nothing to whoever looks into a failure.
        if line.starts_with("@nix {") {
            return;
        }
        self.lines.push_back(line);
        if self.lines.len() > self.most {
            self.lines.pop_front();
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.partial.is_empty() {
            self.end_line();
        }
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_lines_however_they_come() {
        let mut tail = Tail::new(2);
        for bytes in [&b"one\ntw"[..], b"o\n@nix {\"action\"", b":\"stop\"}\n", b"", b"three"] {
            tail.push(bytes);
        }
        assert_eq!(tail.finish(), ["two", "three"]);
    }

    #[test]
    fn cuts_a_line_without_end() {
        let mut tail = Tail::new(3);
        tail.push(&vec![b'x'; 100_000]);
        assert_eq!(tail.finish()[0].len(), LONGEST_LINE);
    }
}
