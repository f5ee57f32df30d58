//! What is written to a terminal so that lines at its bottom change in place. Pure: what it says is written elsewhere.
//!
//! Our own few sequences rather than a package: cursor up, clear to the end of the line or of the screen, and the pair
//! that keeps a terminal from showing half a change. Between changes the cursor stays at the beginning of the last line.

use super::line::{Line, width};

/// What terminals do with their lines when they become narrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reflow {
    /// They wrap them anew, as most do.
    Wraps,
    /// They cut them off.
    Cuts,
}

/// A change is shown as a whole by terminals that know this, and the others pass over it.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// After as many changes everything is written once more: somebody may have typed into it.
const CHANGES: u32 = 50;

/// The lines at the bottom of a terminal.
#[derive(Debug)]
pub(crate) struct Region {
    shown: Vec<Line>,
    /// How wide the terminal was then.
    columns: usize,
    reflow: Reflow,
    changes: u32,
}

impl Region {
    /// Begins with the cursor at the beginning of an empty line, and nothing shown.
    pub(crate) fn new(reflow: Reflow) -> Self {
        Self { shown: Vec::new(), columns: 0, reflow, changes: 0 }
    }

    /// Returns what puts `above` (whole lines) above the region for good, and shows `lines` in it.
    pub(crate) fn set(&mut self, above: &str, lines: Vec<Line>, columns: usize) -> String {
        if above.is_empty() && lines == self.shown && columns == self.columns {
            return String::new();
        }
        self.changes = (self.changes + 1) % CHANGES;
        let is_resized = columns != self.columns;
        let everything = !above.is_empty() || is_resized || self.changes == 0;
        let mut text = format!("{BEGIN}{}", self.to_top(columns));
        if is_resized && !self.shown.is_empty() {
            // Where its lines are now is known, but not what the terminal has made of them.
            text += CLEAR_BELOW;
        }
        self.put_above(&mut text, above, columns);
        for (index, line) in lines.iter().enumerate() {
            let is_last = index + 1 == lines.len();
            if everything || is_last || self.shown.get(index) != Some(line) {
                text += line.text();
                text += CLEAR_LINE;
            }
            if !is_last {
                text.push('\n');
            }
        }
        // What stood lower than the last line is in the way.
        if !above.is_empty() || lines.len() < self.shown.len() {
            text += CLEAR_BELOW;
        }
        text.push('\r');
        text += END;
        (self.shown, self.columns) = (lines, columns);
        text
    }

    /// Returns what puts `above` above the region and leaves that as it is.
    pub(crate) fn lift(&mut self, above: &str) -> String {
        let (lines, columns) = (self.shown.clone(), self.columns);
        self.set(above, lines, columns)
    }

    /// Returns what puts `above` there and leaves nothing of the region.
    pub(crate) fn clear(&mut self, above: &str) -> String {
        match self.shown.is_empty() {
            true => above.to_owned(),
            false => self.set(above, Vec::new(), self.columns),
        }
    }

    /// What moves the cursor to the beginning of the region.
    fn to_top(&self, columns: usize) -> String {
        let rows = |line: &Line| -> usize {
            match self.reflow {
                Reflow::Wraps if columns < self.columns => line.width().div_ceil(columns.max(1)).max(1),
                _ => 1,
            }
        };
        // The cursor is in the first row of the last line.
        let before = self.shown.len().saturating_sub(1);
        match self.shown[..before].iter().map(rows).sum::<usize>() {
            0 => "\r".to_owned(),
            rows => format!("\r\x1b[{rows}A"),
        }
    }

    /// Writes lines for good over what stands there.
    fn put_above(&self, text: &mut String, above: &str, columns: usize) {
        for line in above.split_inclusive('\n') {
            let line = line.strip_suffix('\n').unwrap_or(line);
            let is_short = visible_width(line).is_some_and(|width| width < columns);
            match is_short {
                true => *text += &format!("{line}{CLEAR_LINE}\n"),
                // It goes on in further rows, and its end may stand where clearing would take its last character.
                false => *text += &format!("{CLEAR_BELOW}{line}\n"),
            }
        }
    }
}

/// The columns that a line takes which may be coloured; `None` if that cannot be told.
fn visible_width(line: &str) -> Option<usize> {
    let mut pieces = line.split("\x1b[");
    let mut visible = width(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (_, rest) = piece.split_once('m')?;
        visible += width(rest);
    }
    (!line.contains('\t')).then_some(visible)
}

#[cfg(test)]
mod tests {
    use avt::Terminal;
    use proptest::prelude::*;

    use super::super::line::Paint;
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Line> {
        let line = |text: &&str| {
            let mut line = Line::new(200, true);
            line.push(Paint::Dim, text);
            line
        };
        texts.iter().map(line).collect()
    }

    /// A terminal as the kernel has it: a line end goes to the beginning of the next line.
    struct Screen {
        terminal: Terminal,
        written: Vec<String>,
    }

    impl Screen {
        fn new(columns: usize, rows: usize) -> Self {
            let terminal = Terminal::with_scrollback(columns, rows, None).expect("it has a size");
            Self { terminal, written: Vec::new() }
        }

        fn write(&mut self, text: String) {
            self.terminal.feed(text.replace('\n', "\r\n").as_str());
            self.written.push(text);
        }

        /// All lines there are, also those that have left the screen, without empty ones at the end.
        fn shows(&self) -> Vec<String> {
            let mut rows: Vec<String> = Vec::new();
            let mut continues = false;
            for line in self.terminal.primary_screen().all_lines() {
                match rows.last_mut().filter(|_| continues) {
                    Some(last) => *last += &line.text(),
                    None => rows.push(line.text()),
                }
                continues = line.is_wrapped();
            }
            rows.iter_mut().for_each(|row| *row = row.trim_end().to_owned());
            while rows.last().is_some_and(String::is_empty) {
                rows.pop();
            }
            rows
        }
    }

    #[test]
    fn what_is_said_stays_above_and_the_rest_changes_in_place() {
        let (mut screen, mut region) = (Screen::new(20, 5), Region::new(Reflow::Wraps));
        screen.write("$ store\n".to_owned());
        screen.write(region.set("", lines(&["one", "two", "three"]), 20));
        screen.write(region.set("", lines(&["one", "2", "3"]), 20));
        assert_eq!(screen.shows(), ["$ store", "one", "2", "3"]);
        screen.write(region.set("built a\nbuilt b\n", lines(&["x", "y"]), 20));
        assert_eq!(screen.shows(), ["$ store", "built a", "built b", "x", "y"]);
        screen.write(region.lift("a line that is longer than the terminal is wide\n"));
        let long = "a line that is longer than the terminal is wide";
        assert_eq!(screen.shows(), ["$ store", "built a", "built b", long, "x", "y"]);
        screen.write(region.clear("the end\n"));
        assert_eq!(screen.shows(), ["$ store", "built a", "built b", long, "the end"]);
        screen.write("$ \n".to_owned());
        assert!(screen.shows().ends_with(&["the end".to_owned(), "$".to_owned()]));
    }

    #[test]
    fn lines_that_did_not_change_are_not_written_again() {
        let mut region = Region::new(Reflow::Wraps);
        region.set("", lines(&["first", "second", "0:01"]), 20);
        let change = region.set("", lines(&["first", "second", "0:02"]), 20);
        assert!(!change.contains("first") && !change.contains("second"), "{change:?}");
        assert_eq!(region.set("", lines(&["first", "second", "0:02"]), 20), "");
    }

    #[test]
    fn a_narrower_terminal_wraps_what_stood_there() {
        let (mut screen, mut region) = (Screen::new(60, 20), Region::new(Reflow::Wraps));
        let said: Vec<String> = (0..30).map(|number| format!("said {number}")).collect();
        screen.write(said.iter().map(|line| format!("{line}\n")).collect());
        let wide = "x".repeat(50);
        screen.write(region.set("", lines(&[&wide, &wide, "sum"]), 60));
        let mut expect = |columns: usize, texts: &[&str]| {
            screen.terminal.resize(columns, 20);
            screen.write(region.set("", lines(texts), columns));
            let shown = screen.shows();
            assert_eq!(
                (&shown[..30], &shown[30..]),
                (&said[..], &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()[..])
            );
        };
        expect(20, &["narrow", "sum"]);
        expect(70, &["wide again", "sum"]);
        expect(69, &[&"y".repeat(68), "sum"]);
        expect(10, &["sum"]);
    }

    #[test]
    fn one_that_cuts_its_lines_loses_nothing_above() {
        let mut region = Region::new(Reflow::Cuts);
        let wide = "x".repeat(50);
        region.set("", lines(&[&wide, &wide, "sum"]), 60);
        assert!(region.set("", lines(&["narrow", "sum"]), 20).starts_with(&format!("{BEGIN}\r\x1b[2A")));
    }

    proptest! {
        /// However lines come and go, all that was said is there in order, and at the end nothing else.
        #[test]
        fn nothing_that_was_said_is_lost(
            steps in prop::collection::vec((prop::collection::vec("[a-z]{0,70}", 0..4), 0usize..9), 0..20),
            rows in 9usize..15,
        ) {
            let (mut screen, mut region) = (Screen::new(30, rows), Region::new(Reflow::Wraps));
            let mut said = Vec::new();
            for (above, count) in steps {
                let texts: Vec<String> = (0..count).map(|index| "#".repeat((index * 7) % 30)).collect();
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                let above: String = above.iter().map(|line| format!("{line}.\n")).collect();
                said.extend(above.lines().map(str::to_owned));
                screen.write(region.set(&above, lines(&texts), 30));
            }
            screen.write(region.clear(""));
            prop_assert_eq!(screen.shows(), said);
            prop_assert!(screen.written.iter().all(|text| !text.contains("\x1b[2J") && !text.contains("\x1b[H")));
        }
    }
}
