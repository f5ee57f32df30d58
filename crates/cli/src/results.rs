//! What is printed on stdout: results, and nothing else.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

/// Buffered stdout that remembers whether its reader has gone.
///
/// `store query … | head -1` ends with a broken pipe, which is success; a library that writes here wraps the
/// error in its own, so the fact is kept where it was seen.
#[derive(Debug)]
pub(crate) struct Results {
    out: BufWriter<File>,
    reader_gone: bool,
    refused: bool,
}

impl Results {
    /// Takes the process's stdout.
    pub(crate) fn new() -> io::Result<Self> {
        // Not `io::stdout()`: that one looks for line ends in every archive that passes.
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self { out: BufWriter::with_capacity(1 << 16, out), reader_gone: false, refused: false })
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self, "{text}")
    }

    /// Writes a value as JSON.
    pub(crate) fn json(&mut self, value: &serde_json::Value) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *self, value)?;
        self.write_all(b"\n")
    }

    /// Returns whether nobody reads the results any more.
    pub(crate) fn reader_gone(&self) -> bool {
        self.reader_gone
    }

    /// Returns whether what reads the results takes no more, as a file on a full disk.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    fn noting<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.reader_gone |= error.kind() == io::ErrorKind::BrokenPipe;
            self.refused |= error.kind() != io::ErrorKind::BrokenPipe;
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
