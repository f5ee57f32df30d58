//! The phase that a builder says it is in, found in what it prints.

use serde_json::Value;

/// So begins a line that is for programs.
const MARK: &[u8] = b"@nix ";

/// A line that is longer than this names no phase.
const LONGEST_LINE: usize = 4096;

/// Longer names are cut.
const LONGEST_PHASE: usize = 100;

/// Finds lines such as `@nix {"action":"setPhase","phase":"build"}` in what comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct PhaseReader {
    /// The beginning of a line that may be one.
    partial: Vec<u8>,
    /// The rest of the line is of no interest.
    is_other: bool,
}

impl PhaseReader {
    /// Takes in what the builder printed, and returns the last phase it named there.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Option<String> {
        let mut last = None;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            if !self.is_other {
                self.partial.extend_from_slice(&text[..text.len().min(LONGEST_LINE)]);
                let length = self.partial.len().min(MARK.len());
                self.is_other = self.partial[..length] != MARK[..length] || self.partial.len() > LONGEST_LINE;
            }
            if is_whole {
                if !self.is_other {
                    last = phase(&self.partial).or(last);
                }
                self.is_other = false;
            }
            if is_whole || self.is_other {
                self.partial.clear();
            }
        }
        last
    }
}

fn phase(line: &[u8]) -> Option<String> {
    let message: Value = serde_json::from_slice(line.strip_prefix(MARK)?).ok()?;
    (message.get("action")? == "setPhase").then_some(())?;
    Some(
        message
            .get("phase")?
            .as_str()?
            .chars()
            .filter(|char| !char.is_control())
            .take(LONGEST_PHASE)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_phase_counts_however_it_comes() {
        let mut reader = PhaseReader::default();
        let text = b"hello\n@nix {\"action\":\"setPhase\",\"phase\":\"a\"}\n@nix {\"action\":\"setPhase\",\"phase\":\"b\"}\nx";
        assert_eq!(reader.read(text).as_deref(), Some("b"));
        let mut found = Vec::new();
        let mut reader = PhaseReader::default();
        text.iter().for_each(|byte| found.extend(reader.read(&[*byte])));
        assert_eq!(found, ["a", "b"]);
    }

    #[test]
    fn other_lines_name_none() {
        let mut reader = PhaseReader::default();
        let long = format!("@nix {}\n", "x".repeat(100_000));
        for line in [
            "x @nix {\"action\":\"setPhase\",\"phase\":\"a\"}\n",
            "@nix {\"action\":\"start\"}\n",
            "@nix {\"action\":\"setPhase\",\"phase\":7}\n",
            "@nix {\n",
            &long,
        ] {
            assert_eq!(reader.read(line.as_bytes()), None, "{line:.60}");
        }
        assert_eq!(reader.partial, b"");
    }
}
