//! One layer of configuration text: lines of `name = value`, comments and includes.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;

/// Who says a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A configuration file.
    File(PathBuf),
    /// An environment variable that holds configuration text.
    Variable(&'static str),
    /// An option on the command line.
    Flag(String),
}

/// Where a setting is said: a source and, in a text, its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    source: Arc<Source>,
    line: Option<usize>,
}

impl Origin {
    /// Returns the place of a flag, which has no lines.
    pub fn flag(name: impl Into<String>) -> Self {
        Self { source: Arc::new(Source::Flag(name.into())), line: None }
    }

    /// Returns who says it, so that a relative `include` can be resolved beside its file.
    pub fn source(&self) -> &Source {
        &self.source
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source() {
            Source::File(path) => write!(out, "{}", path.display())?,
            Source::Variable(name) => out.write_str(name)?,
            Source::Flag(name) => out.write_str(name)?,
        }
        self.line.map_or(Ok(()), |line| write!(out, ":{line}"))
    }
}

/// One meaningful line of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `name = value`; the value may be empty.
    Assignment {
        /// The name as written.
        key: String,
        /// The words of the value, one space apart.
        value: String,
        /// Where the line stands.
        origin: Origin,
    },
    /// `include path`, or `!include path`. Whoever reads files applies that file's lines in this place.
    Include {
        /// The path as written; a relative one is meant from the directory of the including file.
        path: PathBuf,
        /// Whether a file that does not exist is passed over (`!include`).
        optional: bool,
        /// Where the line stands.
        origin: Origin,
    },
}

/// Splits a layer of text into its lines; names and values are judged by [`crate::Settings::set`].
///
/// The grammar is Nix's: `#` starts a comment anywhere, words are separated by blanks, and the second word of an
/// assignment is `=`.
pub fn parse(text: &str, source: &Source) -> Result<Vec<Line>, Error> {
    let source = Arc::new(source.clone());
    let numbered = text.lines().zip(1..);
    numbered
        .filter_map(|(text, line)| parse_line(text, Origin { source: Arc::clone(&source), line: Some(line) }))
        .collect()
}

fn parse_line(text: &str, origin: Origin) -> Option<Result<Line, Error>> {
    let text = text.split_once('#').map_or(text, |(before, _comment)| before).trim();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    Some(Ok(match words.as_slice() {
        [] => return None,
        ["include", path] => Line::Include { path: path.into(), optional: false, origin },
        ["!include", path] => Line::Include { path: path.into(), optional: true, origin },
        [key, "=", value @ ..] => Line::Assignment { key: (*key).to_owned(), value: value.join(" "), origin },
        _ => return Some(Err(Error::Syntax { origin, text: text.to_owned() })),
    }))
}
