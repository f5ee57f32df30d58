//! Lines that builds print, made fit for a terminal.

use store_path::StorePath;

use crate::style::Style;

/// Returns what is shown of a line: the name of its build, and its text.
pub(crate) fn prefixed(style: Style, drv: &StorePath, line: &[u8]) -> String {
    let name = drv.name().as_str();
    let name = name.strip_suffix(".drv").unwrap_or(name);
    format!("{} {}", style.dim(format_args!("{name}>")), printable(style, line))
}

/// Returns a line without what would move the terminal's cursor; colours stay until its end where there are any, and a
/// progress bar shows its last state.
pub(crate) fn printable(style: Style, line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let last = line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line);
    let text = String::from_utf8_lossy(last);
    let mut shown = String::with_capacity(text.len());
    let mut pieces = text.split('\x1b');
    push_plain(&mut shown, pieces.next().unwrap_or_default());
    let mut is_coloured = false;
    for piece in pieces {
        let (sequence, rest) = split_sequence(piece);
        if let Some(parameters) = colours(sequence).filter(|_| style.is_coloured()) {
            shown.push('\x1b');
            shown.push_str(sequence);
            is_coloured = !matches!(parameters, "" | "0");
        }
        push_plain(&mut shown, rest);
    }
    // The next line is another build's, or ours.
    if is_coloured {
        shown.push_str("\x1b[0m");
    }
    shown
}

/// The parameters of a control sequence that sets colours and nothing else.
///
/// Terminals obey control characters inside of one, and one with `<`, `=`, `>` or `?` is about the keyboard, or asks
/// for an answer.
fn colours(sequence: &str) -> Option<&str> {
    let parameters = sequence.strip_prefix('[')?.strip_suffix('m')?;
    parameters.chars().all(|char| matches!(char, '0'..=';')).then_some(parameters)
}

/// Splits what follows an escape character into the rest of its control sequence and the text behind it.
fn split_sequence(piece: &str) -> (&str, &str) {
    let Some(parameters) = piece.strip_prefix('[') else { return ("", piece) };
    match parameters.find(|char| matches!(char, '@'..='~')) {
        Some(last) => piece.split_at(last + 2),
        None => (piece, ""),
    }
}

fn push_plain(shown: &mut String, text: &str) {
    shown.extend(text.chars().filter(|char| !steers(*char) || *char == '\t'));
}

/// Whether a character has a terminal do something other than show it: a control character, or one that turns the order
/// round in which others are shown, ours on the same line too.
pub(crate) fn steers(char: char) -> bool {
    char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coloured(line: &[u8]) -> String {
        printable(Style::coloured(), line)
    }

    #[test]
    fn the_prefix_is_the_name_of_the_derivation() {
        let drv = "00000000000000000000000000000000-hello-2.10.drv".parse().unwrap();
        assert_eq!(
            prefixed(Style::plain(), &drv, b"checking for gcc... gcc"),
            "hello-2.10> checking for gcc... gcc"
        );
    }

    #[test]
    fn a_progress_bar_shows_its_last_state() {
        assert_eq!(coloured(b"10%\r50%\r100%\r"), "100%");
        assert_eq!(coloured(b"a\x07\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn what_is_shown_stays_in_order() {
        let line = "built \u{202e}deliaf\u{202c} \u{2067}x\u{2069} \u{5d0}\u{5d1}";
        assert_eq!(coloured(line.as_bytes()), "built deliaf x \u{5d0}\u{5d1}");
    }

    #[test]
    fn colours_stay_and_the_cursor_does_not_move() {
        let line = b"\x1b[1;31mred\x1b[0m \x1b[2Jnot \x1b[1Acleared";
        assert_eq!(coloured(line), "\x1b[1;31mred\x1b[0m not cleared");
        assert_eq!(printable(Style::plain(), line), "red not cleared");
        for line in
            ["\x1b[\x08\x08\x08mx", "\x1b[?4mx", "\x1b[>4;2mx", "\x1b[1\u{9b}mx", "\x1b[\x0b1mx", "\x1b[ mx"]
        {
            assert_eq!(coloured(line.as_bytes()), "x", "{line:?}");
        }
    }

    #[test]
    fn colours_end_with_their_line() {
        assert_eq!(coloured(b"\x1b[8mhidden"), "\x1b[8mhidden\x1b[0m");
        assert_eq!(coloured(b"\x1b[38:5:1mred\x1b[m"), "\x1b[38:5:1mred\x1b[m");
        assert_eq!(coloured(b"\x1b[31mred\x1b[0;8mhidden"), "\x1b[31mred\x1b[0;8mhidden\x1b[0m");
    }
}
