//! The log of a build: written as it comes, compressed at the end, its last lines remembered.

#![expect(clippy::disallowed_methods, reason = "writes the log files of builds")]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bzip2::Compression;
use bzip2::write::BzEncoder;

use crate::failure::BuildFailure;

/// Lines longer than this are remembered cut: the tail is for people.
const LONGEST_LINE: usize = 4096;

/// Follows what a build prints.
pub(crate) struct Log {
    file: Option<(PathBuf, File)>,
    tail: Tail,
    compress: bool,
}

/// What to keep of a log.
pub(crate) struct Keep {
    /// Where, without the ending of a compressed one; `None` to keep none.
    pub(crate) path: Option<PathBuf>,
    /// Whether the finished file is compressed.
    pub(crate) compress: bool,
    /// How many last lines are remembered.
    pub(crate) lines: usize,
}

impl Log {
    pub(crate) fn create(keep: Keep) -> Result<Self, BuildFailure> {
        let file = match keep.path {
            None => None,
            Some(path) => {
                Some(create(&path).map(|file| (path.clone(), file)).map_err(failed("write", &path))?)
            }
        };
        Ok(Self { file, tail: Tail::new(keep.lines), compress: keep.compress })
    }

    /// Adds what the build printed. A log that cannot be written any more (a full disk) ends here and
    /// does not end the build.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.tail.push(bytes);
        if let Some((_, file)) = &mut self.file
            && file.write_all(bytes).is_err()
        {
            self.file = None;
        }
    }

    /// Ends the log and returns its last lines.
    pub(crate) fn finish(self) -> Result<Vec<String>, BuildFailure> {
        if let Some((path, file)) = self.file
            && self.compress
        {
            drop(file);
            compress(&path).map_err(failed("compress the log", &path))?;
        }
        Ok(self.tail.finish())
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildFailure {
    let path = path.to_owned();
    move |source| BuildFailure::File { action, path, source }
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // An earlier build's, which would otherwise be shown beside this one's.
    for old in [compressed(path), path.to_owned()] {
        match fs::remove_file(old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    File::create_new(path)
}

fn compressed(path: &Path) -> PathBuf {
    path.with_added_extension("bz2")
}

fn compress(path: &Path) -> io::Result<()> {
    let mut source = File::open(path)?;
    let temporary = path.with_added_extension("bz2.tmp");
    let mut encoder = BzEncoder::new(BufWriter::new(File::create(&temporary)?), Compression::default());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.into_inner()?;
    fs::rename(temporary, compressed(path))?;
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
        for bytes in [&b"one\ntw"[..], b"o\n", b"", b"three"] {
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
