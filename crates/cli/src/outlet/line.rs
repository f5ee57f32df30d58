//! One line for a terminal, as wide as is said and not wider.

use unicode_width::UnicodeWidthChar;

/// How a piece of a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As the terminal has it.
    Plain,
    /// What one reads first.
    Bold,
    /// What one reads past.
    Dim,
    /// What goes on.
    Running,
    /// What went well.
    Good,
    /// What went wrong.
    Bad,
}

impl Paint {
    fn parameters(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Running => "33",
            Self::Good => "32",
            Self::Bad => "1;31",
        }
    }
}

/// A line that grows to the right, up to so many columns.
///
/// Invariant: it has no control characters but those of its colours, which end with it, and no character that takes no
/// column. So it is as wide as the sum of its characters, whatever it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    text: String,
    width: usize,
    columns: usize,
    is_coloured: bool,
}

impl Line {
    /// Begins an empty line.
    pub(crate) fn new(columns: usize, is_coloured: bool) -> Self {
        Self { text: String::new(), width: 0, columns, is_coloured }
    }

    /// Returns how many columns are left.
    pub(crate) fn room(&self) -> usize {
        self.columns - self.width
    }

    /// Returns how many columns it takes.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Returns it as the terminal gets it, without an end.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Adds text, the end of which is cut off if there is no room for it.
    pub(crate) fn push(&mut self, paint: Paint, text: &str) {
        let fitting = fitting(text, self.room());
        self.width += width(&fitting);
        if self.is_coloured && paint != Paint::Plain && !fitting.is_empty() {
            self.text += &format!("\x1b[{}m{fitting}\x1b[0m", paint.parameters());
        } else {
            self.text += &fitting;
        }
    }
}

/// Returns text in so many columns: without what takes none (control characters, marks of direction, joiners, accents
/// that stand alone), and with `…` for an end that has no room.
pub(crate) fn fitting(text: &str, columns: usize) -> String {
    let mut fitting = String::new();
    let mut taken = 0;
    for char in text.chars() {
        let width = char_width(char);
        if width == 0 {
            continue;
        }
        if taken + width > columns {
            // Room for the sign that something is missing.
            while taken + 1 > columns {
                let Some(last) = fitting.pop() else { return fitting };
                taken -= char_width(last);
            }
            fitting.push('…');
            break;
        }
        fitting.push(char);
        taken += width;
    }
    fitting
}

/// Returns how many columns text takes, without what takes none.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(char: char) -> usize {
    match char {
        // Terminals differ about the soft hyphen.
        '\u{ad}' => 0,
        _ => char.width().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_cut_off_and_that_is_shown() {
        assert_eq!(fitting("hello", 5), "hello");
        assert_eq!(fitting("hello", 4), "hel…");
        assert_eq!(fitting("漢字かな", 8), "漢字かな");
        assert_eq!(fitting("漢字かな", 7), "漢字か…");
        assert_eq!(fitting("漢字かな", 6), "漢字…");
        assert_eq!(fitting("漢", 1), "…");
        assert_eq!(fitting("x", 0), "");
    }

    #[test]
    fn nothing_that_takes_no_column_gets_through() {
        assert_eq!(fitting("a\x1b[2J\u{202e}b\u{200d}\u{301}\u{ad}\n\u{9b}c", 20), "a[2Jbc");
    }

    #[test]
    fn colours_take_no_room_and_end() {
        let mut line = Line::new(6, true);
        line.push(Paint::Bad, "four");
        line.push(Paint::Plain, "more");
        assert_eq!((line.text(), line.width()), ("\x1b[1;31mfour\x1b[0mm…", 6));
        line.push(Paint::Dim, "nothing");
        assert_eq!(line.width(), 6);
    }
}
