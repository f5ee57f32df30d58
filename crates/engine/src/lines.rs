//! Whole lines out of what a build prints in pieces, so that those of different builds do not mix.

/// A line that is longer than this is told in several.
const LONGEST_LINE: usize = 64 * 1024;

/// The beginning of a line whose end did not come yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes the next piece, and returns the lines that it completes, each with its end.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        self.partial.extend_from_slice(piece);
        let whole = match self.partial.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if self.partial.len() >= LONGEST_LINE => self.partial.len(),
            None => return None,
        };
        let rest = self.partial.split_off(whole);
        Some(std::mem::replace(&mut self.partial, rest))
    }

    /// Returns the last line if it has no end.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        Some(self.partial).filter(|partial| !partial.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&str]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut told: Vec<_> = pieces.iter().filter_map(|piece| lines.push(piece.as_bytes())).collect();
        told.extend(lines.finish());
        told.into_iter().map(|text| String::from_utf8(text).unwrap()).collect()
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        assert_eq!(told(&["on", "e\ntwo\nth", "ree", "\n"]), ["one\ntwo\n", "three\n"]);
        assert_eq!(told(&["no end"]), ["no end"]);
        assert!(told(&["", ""]).is_empty());
    }

    #[test]
    fn a_line_without_end_does_not_pile_up() {
        let piece = "x".repeat(LONGEST_LINE / 2);
        assert_eq!(told(&[&piece, &piece, "y"]), [piece.repeat(2), "y".to_owned()]);
    }
}
