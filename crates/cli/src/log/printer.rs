//! Logs on stdout: as they are, but for a terminal, which what builders print must not steer.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read, Write};

use crate::log_line::printable;
use crate::results::Results;
use crate::session::Session;
use crate::style::Style;

/// So much of a line is held until its end is there.
const LONGEST_HELD: usize = 1 << 16;

/// Prints a log that comes in pieces.
pub(super) struct Printer<'a> {
    results: &'a mut Results,
    /// What is not yet printed, as only the last lines are wanted of what there is.
    last: Option<Last>,
    /// How a terminal is written to, if it is one.
    terminal: Option<Terminal>,
}

/// The last lines of what has come.
struct Last {
    most: usize,
    lines: VecDeque<Vec<u8>>,
}

struct Terminal {
    style: Style,
    /// The beginning of a line.
    held: Vec<u8>,
}

impl<'a> Printer<'a> {
    /// Prepares to print what comes, only the last lines of it if so many are given.
    pub(super) fn new(session: &'a mut Session, tail: Option<usize>) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let style = Style::of(session.variables(), is_terminal);
        let terminal = is_terminal.then(|| Terminal { style, held: Vec::new() });
        let last = tail.map(|most| Last { most, lines: VecDeque::new() });
        Self { results: session.results(), last, terminal }
    }

    /// Prints a whole log.
    pub(super) fn print_all(&mut self, log: &mut dyn Read) -> io::Result<()> {
        io::copy(log, self)?;
        self.end()
    }

    /// Prints all from now on: what there was has come.
    pub(super) fn catch_up(&mut self) -> io::Result<()> {
        let Some(last) = self.last.take() else { return Ok(()) };
        last.lines.iter().try_for_each(|line| self.pass_on(line))
    }

    /// Prints what is held back, as nothing more comes.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.catch_up()?;
        if let Some(terminal) = &mut self.terminal
            && !terminal.held.is_empty()
        {
            let line = std::mem::take(&mut terminal.held);
            writeln!(self.results, "{}", printable(terminal.style, &line))?;
        }
        self.results.flush()
    }

    fn pass_on(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(Terminal { style, held }) = &mut self.terminal else { return self.results.write_all(bytes) };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            held.extend_from_slice(piece);
            let line = held.strip_suffix(b"\n");
            if line.is_some() || held.len() >= LONGEST_HELD {
                let end = if line.is_some() { "\n" } else { "" };
                write!(self.results, "{}{end}", printable(*style, line.unwrap_or(held)))?;
                held.clear();
            }
        }
        Ok(())
    }
}

impl Write for Printer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.last {
            Some(last) => last.push(bytes),
            None => self.pass_on(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.results.flush()
    }
}

impl Last {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match self.lines.back_mut().filter(|line| !line.ends_with(b"\n")) {
                Some(line) => line.extend_from_slice(piece),
                None => self.lines.push_back(piece.to_vec()),
            }
            if self.lines.len() > self.most.max(1) {
                self.lines.pop_front();
            }
        }
        if self.most == 0 {
            self.lines.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(most: usize, pieces: &[&str]) -> String {
        let mut last = Last { most, lines: VecDeque::new() };
        pieces.iter().for_each(|piece| last.push(piece.as_bytes()));
        String::from_utf8(last.lines.iter().flatten().copied().collect()).unwrap()
    }

    #[test]
    fn the_last_lines_are_whole() {
        assert_eq!(last(2, &["one\ntwo\nth", "ree\n"]), "two\nthree\n");
        assert_eq!(last(2, &["one\ntwo\nth", "ree"]), "two\nthree");
        assert_eq!(last(1, &["one\n", "two\n"]), "two\n");
        assert_eq!(last(0, &["one\n", "two"]), "");
        assert_eq!(last(5, &["one"]), "one");
    }
}
