//! What differs between two values, line by line or word by word.

use std::time::Duration;

use similar::{Algorithm, ChangeTag, TextDiff};

use crate::build_failure::harmless;

/// How much of one value is shown.
const MOST_LINES: usize = 24;
const LONGEST_LINE: usize = 400;
/// Values of more lines are not aligned, only counted: it would take long and nobody would read it.
const MOST_ALIGNED: usize = 1 << 20;

/// Returns lines that begin with `-` for the left, `+` for the right, or a space for what both have around that.
pub(super) fn lines(left: Option<&[u8]>, right: Option<&[u8]>) -> Vec<String> {
    let (Some(left), Some(right)) = (left, right) else {
        let (sign, value) = left.map_or(('+', right), |left| ('-', Some(left)));
        return shown(split(value.unwrap_or_default()).into_iter().map(|line| (sign, line)).collect());
    };
    if left.len() + right.len() > MOST_ALIGNED {
        return vec![format!("- {} bytes", left.len()), format!("+ {} bytes", right.len())];
    }
    let is_one_line = !left.contains(&b'\n') && !right.contains(&b'\n');
    let (left, right) = if is_one_line && left.len().max(right.len()) > 60 {
        // A list, such as of paths or of flags.
        (words(left), words(right))
    } else {
        (split(left), split(right))
    };
    shown(align(&left, &right, if is_one_line { 0 } else { 1 }))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn split(value: &[u8]) -> Vec<String> {
    value.split(|byte| *byte == b'\n').map(text).collect()
}

fn words(value: &[u8]) -> Vec<String> {
    value.split(|byte| *byte == b' ').map(text).collect()
}

/// Returns what differs, with `around` lines of what does not.
fn align(left: &[String], right: &[String], around: usize) -> Vec<(char, String)> {
    let (left, right): (Vec<&str>, Vec<&str>) =
        (left.iter().map(String::as_str).collect(), right.iter().map(String::as_str).collect());
    let diff = TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .timeout(Duration::from_millis(500))
        .diff_slices(&left, &right);
    let mut lines = Vec::new();
    for (place, group) in diff.grouped_ops(around).into_iter().enumerate() {
        if place > 0 && around > 0 {
            lines.push(('…', String::new()));
        }
        for change in group.iter().flat_map(|part| diff.iter_changes(part)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            lines.push((sign, change.value().to_owned()));
        }
    }
    lines
}

/// Cuts what is too long, and takes out what would steer a terminal.
fn shown(lines: Vec<(char, String)>) -> Vec<String> {
    let more = lines.len().saturating_sub(MOST_LINES);
    let line = |(sign, line): &(char, String)| {
        let cut: String = line.chars().take(LONGEST_LINE).collect();
        // A sign alone would look like a mistake.
        let cut = if cut.is_empty() && lines.len() == 1 { "\"\"".to_owned() } else { cut };
        let dots = if cut.len() < line.len() { "…" } else { "" };
        format!("{sign} {}{dots}", harmless(&cut)).trim_end().to_owned()
    };
    let mut text: Vec<String> = lines.iter().take(MOST_LINES).map(line).collect();
    if more > 0 {
        text.push(format!("… and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(left: &str, right: &str) -> Vec<String> {
        lines(Some(left.as_bytes()), Some(right.as_bytes()))
    }

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(of("a", "b"), ["- a", "+ b"]);
        assert_eq!(of("1\n2\n3\n4\n5", "1\n2\nx\n4\n5"), ["  2", "- 3", "+ x", "  4"]);
        let flags = |last| format!("{}{last}", "--enable-something ".repeat(9));
        assert_eq!(of(&flags("-a"), &flags("-b")), ["- -a", "+ -b"]);
        assert_eq!(lines(None, Some(b"a\nb")), ["+ a", "+ b"]);
        assert_eq!(lines(Some(b""), None), ["- \"\""]);
        assert_eq!(lines(Some(b"a\x1b[2J"), None), ["- a\\u{1b}[2J"]);
    }

    #[test]
    fn long_values_are_cut() {
        let many = |word: &str| (0..100).map(|line| format!("{word} {line}\n")).collect::<String>();
        let shown = of(&many("left"), &many("right"));
        assert_eq!(shown.len(), MOST_LINES + 1);
        assert!(shown[MOST_LINES].starts_with("… and "), "{shown:?}");
        assert_eq!(of(&"x".repeat(MOST_ALIGNED + 1), ""), ["- 1048577 bytes", "+ 0 bytes"]);
    }
}
