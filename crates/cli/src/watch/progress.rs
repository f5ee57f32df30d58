//! Which way of telling suits whoever reads it.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use clap::ValueEnum;

use crate::messages::Verbosity;
use crate::outlet::Reflow;

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// `live` at a terminal that can, unless more or less is to be said than usual; else `plain`.
    #[default]
    Auto,
    /// A picture at the bottom of the terminal: what runs, what waits, what failed, and how long it may take.
    Live,
    /// A line for each thing that happens.
    Plain,
}

impl Progress {
    /// Returns whether a picture is drawn.
    pub(crate) fn is_live(self, variables: &BTreeMap<Vec<u8>, Vec<u8>>, verbosity: Verbosity) -> bool {
        match self {
            Self::Plain => false,
            Self::Live => io::stderr().is_terminal(),
            // With more lines than one a build, what is above the picture could not be read.
            Self::Auto => verbosity == Verbosity::Normal && is_able(variables) && io::stderr().is_terminal(),
        }
    }
}

/// Returns whether the terminal moves its cursor when it is told to.
fn is_able(variables: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
    variable(variables, "TERM").is_some_and(|term| !term.is_empty() && term != b"dumb")
}

/// Returns what the terminal does with its lines when it becomes narrower, as far as its variables tell.
pub(crate) fn reflow(variables: &BTreeMap<Vec<u8>, Vec<u8>>) -> Reflow {
    let term = variable(variables, "TERM").unwrap_or_default();
    let is_screen = term.starts_with(b"screen") && variable(variables, "TMUX").is_none();
    let cuts = is_screen || term == b"linux" || variable(variables, "XTERM_VERSION").is_some();
    if cuts { Reflow::Cuts } else { Reflow::Wraps }
}

fn variable<'a>(variables: &'a BTreeMap<Vec<u8>, Vec<u8>>, name: &str) -> Option<&'a [u8]> {
    variables.get(name.as_bytes()).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(given: &[(&str, &str)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let bytes = |text: &str| text.as_bytes().to_vec();
        given.iter().map(|(name, value)| (bytes(name), bytes(value))).collect()
    }

    #[test]
    fn a_terminal_has_to_say_what_it_is() {
        assert!(is_able(&variables(&[("TERM", "xterm-256color")])));
        assert!(!is_able(&variables(&[("TERM", "dumb")])) && !is_able(&variables(&[("TERM", "")])));
        assert!(!is_able(&variables(&[])));
    }

    #[test]
    fn some_terminals_cut_their_lines_off() {
        let of = |given: &[(&str, &str)]| reflow(&variables(given));
        assert_eq!(of(&[("TERM", "xterm-256color"), ("VTE_VERSION", "7006")]), Reflow::Wraps);
        assert_eq!(of(&[("TERM", "xterm-256color"), ("XTERM_VERSION", "XTerm(390)")]), Reflow::Cuts);
        assert_eq!(of(&[("TERM", "linux")]), Reflow::Cuts);
        assert_eq!(of(&[("TERM", "screen")]), Reflow::Cuts);
        assert_eq!(of(&[("TERM", "screen-256color"), ("TMUX", "/tmp/tmux,1,0")]), Reflow::Wraps);
    }
}
