//! Fixtures: inputs and expected outputs, in files below `fixtures`.

#![expect(clippy::disallowed_methods, reason = "fixtures are files")]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::project_root;

/// Returns the path of a fixture, given below `fixtures`.
pub fn fixture(relative: &str) -> PathBuf {
    project_root().join("fixtures").join(relative)
}

/// Returns the bytes of a fixture.
///
/// # Panics
/// If it cannot be read.
pub fn read(relative: &str) -> Vec<u8> {
    let path = fixture(relative);
    fs::read(&path).unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()))
}

/// Compares `actual` with the fixture of that name.
///
/// With `BLESS=1` (`cargo xtask bless`) the fixture is written instead, to be read in the diff.
///
/// # Panics
/// If they differ, showing the lines that do.
pub fn check(relative: &str, actual: impl AsRef<[u8]>) {
    let actual = actual.as_ref();
    let path = fixture(relative);
    if env::var_os("BLESS").is_some_and(|value| value == "1") {
        let parent = path.parent().expect("a fixture lies in a directory");
        fs::create_dir_all(parent).expect("the checkout can be written to");
        fs::write(&path, actual).expect("the checkout can be written to");
        return;
    }
    let expected = fs::read(&path).unwrap_or_else(|error| {
        panic!("cannot read `fixtures/{relative}`: {error}; `cargo xtask bless` makes it")
    });
    assert!(
        expected == actual,
        "`fixtures/{relative}` differs (- expected, + actual; `cargo xtask bless` accepts it):\n{}",
        difference(&String::from_utf8_lossy(&expected), &String::from_utf8_lossy(actual)),
    );
}

/// Shows the lines between the first and the last that differ, with one line around them.
fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.split('\n').collect(), actual.split('\n').collect());
    let shorter = old.len().min(new.len());
    let head = (0..shorter).take_while(|&line| old[line] == new[line]).count();
    let tail =
        (1..=shorter - head).take_while(|&back| old[old.len() - back] == new[new.len() - back]).count();
    let mut text = String::new();
    let mut show = |sign: char, lines: &[&str]| {
        for line in lines {
            writeln!(text, "{sign}{line}").expect("a string takes every line");
        }
    };
    show(' ', &old[head.saturating_sub(1)..head]);
    show('-', &old[head..old.len() - tail]);
    show('+', &new[head..new.len() - tail]);
    show(' ', &old[old.len() - tail..(old.len() - tail + 1).min(old.len())]);
    text
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn shows_only_what_differs() {
        assert_eq!(difference("a\nb\nc\nd", "a\nb\nx\ny\nd"), " b\n-c\n+x\n+y\n d\n");
    }

    #[test]
    fn shows_a_missing_end() {
        assert_eq!(difference("a\nb", "a"), " a\n-b\n");
    }
}
