//! What the user sees: results on stdout, everything else on stderr.

use std::fmt::{Arguments, Display};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors and warnings only.
    Quiet,
    /// What is being done, a line for each build.
    Normal,
    /// Why, too.
    Verbose,
}

/// The two output streams.
pub(crate) struct Terminal {
    verbosity: Verbosity,
    results: Results,
}

impl Terminal {
    /// Takes the process's stdout and stderr.
    ///
    /// Fails only when no descriptor is left for the copy of stdout.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { verbosity: Verbosity::Normal, results: Results::new()? })
    }

    /// Says more or less on stderr from now on.
    pub(crate) fn set_verbosity(&mut self, verbosity: Verbosity) {
        self.verbosity = verbosity;
    }

    /// Returns the writer of results, for those that are not lines.
    pub(crate) fn results(&mut self) -> &mut Results {
        &mut self.results
    }

    /// Writes one result.
    pub(crate) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.results, "{text}")
    }

    /// Writes one result as JSON.
    pub(crate) fn json(&mut self, value: &serde_json::Value) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.results, value)?;
        self.results.write_all(b"\n")
    }

    /// Says what is happening.
    pub(crate) fn note(&self, text: impl Display) {
        self.say(Verbosity::Normal, format_args!("{text}"));
    }

    /// Says what only those who asked with `-v` want to know.
    pub(crate) fn detail(&self, text: impl Display) {
        self.say(Verbosity::Verbose, format_args!("{text}"));
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
            let _ = io::stderr().lock().write_fmt(format_args!("{text}\n"));
        }
    }
}

/// Buffered stdout that remembers whether its reader has gone.
///
/// `store query … | head -1` ends with a broken pipe, which is success; a library that writes here wraps the
/// error in its own, so the fact is kept where it was seen.
pub(crate) struct Results {
    out: BufWriter<File>,
    reader_gone: bool,
}

impl Results {
    fn new() -> io::Result<Self> {
        // Not `io::stdout()`: that one looks for line ends in every archive that passes.
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self { out: BufWriter::with_capacity(1 << 16, out), reader_gone: false })
    }

    /// Returns whether nobody reads the results any more.
    pub(crate) fn reader_gone(&self) -> bool {
        self.reader_gone
    }

    fn noting<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.reader_gone |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        result
    }
}

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.noting(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.noting(result)
    }
}
