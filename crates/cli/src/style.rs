//! Colour on stderr, and when there is any. Results have none.
//!
//! Little of it: what went wrong is red, what came out well green, what one reads past is dim.

use std::collections::BTreeMap;
use std::fmt::Display;

/// Puts colour into what people read, where it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    /// Returns the style for stderr: colour on a terminal, unless variables of the user say otherwise.
    ///
    /// `NO_COLOR` (<https://no-color.org>) is above `CLICOLOR_FORCE`, and that above what the terminal can do.
    pub(crate) fn of(variables: &BTreeMap<Vec<u8>, Vec<u8>>, is_terminal: bool) -> Self {
        let value = |name: &str| variables.get(name.as_bytes()).map(Vec::as_slice);
        let is_on = |name: &str| value(name).is_some_and(|value| !value.is_empty() && value != b"0");
        let is_capable = value("TERM").is_some_and(|term| !term.is_empty() && term != b"dumb");
        let coloured = if value("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            false
        } else {
            is_on("CLICOLOR_FORCE") || (is_terminal && is_capable && value("CLICOLOR") != Some(b"0"))
        };
        Self { coloured }
    }

    /// Returns the style without colour.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { coloured: false }
    }

    /// Returns the style with colour.
    #[cfg(test)]
    pub(crate) fn coloured() -> Self {
        Self { coloured: true }
    }

    /// Returns whether there is colour.
    pub(crate) fn is_coloured(self) -> bool {
        self.coloured
    }

    /// Shows what went wrong.
    pub(crate) fn failed(self, text: impl Display) -> String {
        self.paint("1;31", text)
    }

    /// Shows what the user should know.
    pub(crate) fn warned(self, text: impl Display) -> String {
        self.paint("1;33", text)
    }

    /// Shows what came out well.
    pub(crate) fn built(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    /// Shows what one reads past.
    pub(crate) fn dim(self, text: impl Display) -> String {
        self.paint("2", text)
    }

    /// Shows a store path, in which one looks for the name: `/nix/store/<digest>-` is dim.
    pub(crate) fn path(self, full: &str) -> String {
        let name = full.rfind('/').map_or(0, |slash| slash + 1);
        match full[name..].find('-') {
            Some(dash) => {
                let (before, name) = full.split_at(name + dash + 1);
                format!("{}{name}", self.dim(before))
            }
            None => full.to_owned(),
        }
    }

    fn paint(self, parameters: &str, text: impl Display) -> String {
        if self.coloured { format!("\x1b[{parameters}m{text}\x1b[0m") } else { text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_coloured(variables: &[(&str, &str)], is_terminal: bool) -> bool {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let variables = variables.iter().map(|(name, value)| (bytes(name), bytes(value))).collect();
        Style::of(&variables, is_terminal).is_coloured()
    }

    #[test]
    fn colour_is_for_terminals_unless_the_user_says_otherwise() {
        let term = ("TERM", "xterm");
        assert!(is_coloured(&[term], true));
        assert!(!is_coloured(&[term], false));
        assert!(!is_coloured(&[], true) && !is_coloured(&[("TERM", "dumb")], true));
        assert!(!is_coloured(&[term, ("CLICOLOR", "0")], true));
        assert!(is_coloured(&[("CLICOLOR_FORCE", "1")], false));
        assert!(!is_coloured(&[("CLICOLOR_FORCE", "0")], false));
        assert!(!is_coloured(&[term, ("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true));
        assert!(is_coloured(&[term, ("NO_COLOR", "")], true));
    }

    #[test]
    fn of_a_path_the_name_stands_out() {
        let coloured = Style::coloured();
        assert_eq!(coloured.path("/nix/store/abc-x-1.drv"), "\x1b[2m/nix/store/abc-\x1b[0mx-1.drv");
        assert_eq!(coloured.path("plain"), "plain");
        assert_eq!(Style::plain().path("/nix/store/abc-x-1.drv"), "/nix/store/abc-x-1.drv");
    }
}
