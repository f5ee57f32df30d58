//! Lines out of a pipe, whole, however they come.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Read};

/// A line that is longer is cut: what a hook says is read by people.
const LONGEST: usize = 1 << 20;

/// Pieces of text in, lines out.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    whole: VecDeque<Vec<u8>>,
}

impl Lines {
    /// Waits for the next line out of a pipe; none once nobody can write any more.
    pub(crate) fn next_of(&mut self, pipe: &mut PipeReader) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0; 16384];
        while self.whole.is_empty() {
            match pipe.read(&mut buffer) {
                Ok(0) => {
                    self.end();
                    break;
                }
                Ok(length) => self.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.next())
    }

    /// The next of the lines that are whole.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        self.whole.pop_front()
    }

    /// Takes in what has been read of the pipe.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = LONGEST.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if piece.ends_with(b"\n") {
                lines.push(std::mem::take(&mut self.partial));
            }
        }
        self.whole.extend(lines);
    }

    /// Takes in that there is no more to come.
    pub(crate) fn end(&mut self) {
        if !self.partial.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.partial));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_come_whole_and_in_order() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let mut lines = Lines::default();
        writer.write_all(b"one\ntwo\nthr").unwrap();
        assert_eq!(lines.next_of(&mut reader).unwrap(), Some(b"one".to_vec()));
        writer.write_all(b"ee\nrest").unwrap();
        drop(writer);
        for line in ["two", "three", "rest"] {
            assert_eq!(lines.next_of(&mut reader).unwrap(), Some(line.as_bytes().to_vec()));
        }
        assert_eq!(lines.next_of(&mut reader).unwrap(), None);
    }
}
