//! Logs on stdout: as they are, but for a terminal, which what builders print must not steer.
//!
//! Why a build failed is the end of its log. A builder can print such lines as well, so on a terminal they are held back
//! until it is clear whose they are.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read, Write};

use crate::log_line::printable;
use crate::results::Results;
use crate::session::Session;
use crate::style::Style;

/// So much of a line is held until its end is there.
const LONGEST_HELD: usize = 1 << 16;

/// As much as the longest verdict, and more.
const MOST_CLAIMED: usize = 1 << 16;

/// What is put before lines of a builder that look like ours.
const NOT_OURS: &str = "(printed by the builder) ";

/// Prints a log that comes in pieces.
pub(super) struct Printer {
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
    /// The beginning of a line, or what comes after a beginning that was too long to be held.
    held: Vec<u8>,
    is_continued: bool,
    /// Lines that may be ours if nothing but such comes after them.
    claimed: VecDeque<Vec<u8>>,
}

impl Printer {
    /// Prepares to print what comes, only the last lines of it if so many are given.
    pub(super) fn new(session: &Session, tail: Option<usize>) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let style = Style::of(session.variables(), is_terminal);
        let last = tail.map(|most| Last { most, lines: VecDeque::new() });
        Self { last, terminal: is_terminal.then(|| Terminal::new(style)) }
    }

    /// Prints a whole log, but for what may be its verdict.
    pub(super) fn print_all(&mut self, log: &mut dyn Read, out: &mut Results) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match log.read(&mut buffer) {
                Ok(0) => return self.catch_up(out),
                Ok(length) => self.print(&buffer[..length], out)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Prints what has come.
    pub(super) fn print(&mut self, bytes: &[u8], out: &mut Results) -> io::Result<()> {
        match &mut self.last {
            Some(last) => last.push(bytes),
            None => self.pass_on(bytes, out)?,
        }
        Ok(())
    }

    /// Prints all from now on: what there was has come.
    pub(super) fn catch_up(&mut self, out: &mut Results) -> io::Result<()> {
        let Some(last) = self.last.take() else { return Ok(()) };
        last.lines.iter().try_for_each(|line| self.pass_on(line, out))
    }

    /// Prints what is held back, as nothing more comes; `verdict` is the end of a log that is ours.
    pub(super) fn end(&mut self, verdict: Option<&str>, out: &mut Results) -> io::Result<()> {
        self.catch_up(out)?;
        if let Some(terminal) = &mut self.terminal {
            terminal.end(verdict, out)?;
        }
        out.flush()
    }

    fn pass_on(&mut self, bytes: &[u8], out: &mut Results) -> io::Result<()> {
        match &mut self.terminal {
            Some(terminal) => terminal.show(bytes, out),
            None => out.write_all(bytes),
        }
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

impl Terminal {
    fn new(style: Style) -> Self {
        Self { style, held: Vec::new(), is_continued: false, claimed: VecDeque::new() }
    }

    fn show(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.held.extend_from_slice(piece);
            if self.held.ends_with(b"\n") {
                self.end_line(out)?;
            } else if self.held.len() >= LONGEST_HELD {
                self.disclaim(0, out)?;
                self.write(out, "")?;
                self.is_continued = true;
            }
        }
        Ok(())
    }

    fn end_line(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.looks_ours() {
            self.claimed.push_back(std::mem::take(&mut self.held));
            return self.disclaim(MOST_CLAIMED, out);
        }
        self.disclaim(0, out)?;
        self.write(out, "\n")?;
        self.is_continued = false;
        Ok(())
    }

    fn looks_ours(&self) -> bool {
        !self.is_continued && self.held.starts_with(builder::MARK.as_bytes())
    }

    /// Shows what is held of a line.
    fn write(&mut self, out: &mut dyn Write, end: &str) -> io::Result<()> {
        let lead = if self.looks_ours() { NOT_OURS } else { "" };
        let line = self.held.strip_suffix(b"\n").unwrap_or(&self.held);
        write!(out, "{lead}{}{end}", printable(self.style, line))?;
        self.held.clear();
        Ok(())
    }

    /// Shows all but so many of the last bytes that were held as ours, as they are not.
    fn disclaim(&mut self, but: usize, out: &mut dyn Write) -> io::Result<()> {
        while self.claimed.iter().map(Vec::len).sum::<usize>() > but {
            let line = self.claimed.pop_front().unwrap_or_default();
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            writeln!(out, "{NOT_OURS}{}", printable(self.style, line))?;
        }
        Ok(())
    }

    fn end(&mut self, verdict: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        let claimed: Vec<u8> = self.claimed.iter().flatten().copied().collect();
        let is_whole = self.held.is_empty();
        let ours = verdict.filter(|verdict| is_whole && claimed.ends_with(verdict.as_bytes()));
        self.disclaim(ours.map_or(0, str::len), out)?;
        for line in ours.unwrap_or_default().lines() {
            writeln!(out, "{}", self.style.failed(line))?;
        }
        self.claimed.clear();
        if !is_whole || self.is_continued {
            self.write(out, "\n")?;
        }
        self.is_continued = false;
        Ok(())
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

    fn shown(pieces: &[&str], verdict: Option<&str>) -> String {
        let (mut terminal, mut out) = (Terminal::new(Style::plain()), Vec::new());
        pieces.iter().for_each(|piece| terminal.show(piece.as_bytes(), &mut out).unwrap());
        terminal.end(verdict, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_a_builder_prints_does_not_pass_for_a_verdict() {
        let ours = Some("[store] failed: really\n[store]   so\n");
        let log = ["one\n[sto", "re] failed: really\n", "[store]   so\n"];
        assert_eq!(shown(&log, ours), "one\n[store] failed: really\n[store]   so\n");
        let fake =
            "one\n(printed by the builder) [store] failed: really\n(printed by the builder) [store]   so\n";
        assert_eq!(shown(&log, None), fake);
        assert_eq!(shown(&log, Some("[store] no\n")), fake);
        assert_eq!(shown(&[&log.concat(), "more"], ours), format!("{fake}more\n"));
        let twice = shown(&[&log.concat(), "[store] failed: really\n[store]   so\n"], ours);
        assert_eq!(twice, format!("{fake}[store] failed: really\n[store]   so\n"));
    }

    #[test]
    fn a_line_without_end_is_not_held_for_ever() {
        let long = "x".repeat(3 * LONGEST_HELD);
        assert_eq!(shown(&[&long, "\nshort"], None), format!("{long}\nshort\n"));
        let marked = format!("[store] {long}[store] ");
        assert_eq!(shown(&[&marked], Some("[store] ")), format!("(printed by the builder) {marked}\n"));
    }
}
