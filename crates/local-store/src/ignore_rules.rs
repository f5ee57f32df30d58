//! The rules in `.gitignore` and `.storeignore`.
#![expect(clippy::disallowed_methods, reason = "the rules are in files of the user's")]

use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::Error;

/// The files with rules; those of the later ones count first.
const FILES: [&str; 2] = [".gitignore", ".storeignore"];

/// The rules of a directory, and of those above it.
#[derive(Debug)]
pub(crate) struct Rules {
    own: Gitignore,
    above: Option<Rc<Rules>>,
}

/// What rules say of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A rule leaves it out.
    Out,
    /// A rule with `!` keeps it.
    In,
    /// No rule is about it.
    None,
}

impl Rules {
    /// Reads the rules of the directories above `tree`, from `first` on; none if it is not below that.
    pub(crate) fn above(tree: &Path, first: &Path) -> Result<Option<Rc<Self>>, Error> {
        let mut directories: Vec<&Path> =
            tree.ancestors().skip(1).take_while(|directory| directory.starts_with(first)).collect();
        directories.reverse();
        let mut rules = None;
        for directory in directories {
            rules = Some(Self::in_directory(directory, rules)?);
        }
        Ok(rules)
    }

    /// Reads the rules of a directory, which go before those above.
    pub(crate) fn in_directory(directory: &Path, above: Option<Rc<Self>>) -> Result<Rc<Self>, Error> {
        let mut builder = GitignoreBuilder::new(directory);
        for name in FILES {
            let path = directory.join(name);
            let Some(text) = read(&path)? else { continue };
            for (index, line) in text.lines().enumerate() {
                builder.add_line(None, line).map_err(|error| wrong(&path, index + 1, &error))?;
            }
        }
        let own = builder.build().map_err(|error| wrong(directory, 0, &error))?;
        match above {
            // Most directories have no rules of their own.
            Some(above) if own.is_empty() => Ok(above),
            above => Ok(Rc::new(Self { own, above })),
        }
    }

    /// Returns what the innermost rule says that is about the file.
    pub(crate) fn judge(&self, path: &Path, is_directory: bool) -> Verdict {
        let mut rules = Some(self);
        while let Some(here) = rules {
            match here.own.matched(path, is_directory) {
                Match::Ignore(_) => return Verdict::Out,
                Match::Whitelist(_) => return Verdict::In,
                Match::None => rules = here.above.as_deref(),
            }
        }
        Verdict::None
    }
}

/// Reads a file of rules, if there is one. It has to be a plain one: a pipe would never end.
fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => {
            return Err(Error::file("read the ignore rules in", path)(io::Error::other(
                "it is not a plain file",
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("look at", path)(error)),
    }
    fs::read_to_string(path).map(Some).map_err(Error::file("read the ignore rules in", path))
}

fn wrong(path: &Path, line: usize, error: &ignore::Error) -> Error {
    Error::IgnoreRule { path: path.to_owned(), line, reason: error.to_string() }
}
