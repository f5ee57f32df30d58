//! Valid paths as lines of text: what `nix-store --dump-db` prints, and `--load-db` and `--register-validity` read.
//!
//! For each path, a line each: the path, its hash in base 16 and its size (unless the reader is to find these out), the
//! deriver or nothing, how many references follow, and those.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::{self, BufRead, Read};

use store_path::{Hash, HashAlgorithm, HashError, PathInfo, StoreDir, StoreDirError, StorePath};

/// No line is longer: a path and a little more.
const MAX_LINE: u64 = 512;

/// What such a text says of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The path.
    pub path: StorePath,
    /// The hash and the size of its archive, if they are given.
    pub archive: Option<(Hash, u64)>,
    /// The derivation that made it.
    pub deriver: Option<StorePath>,
    /// What it refers to.
    pub references: BTreeSet<StorePath>,
    /// The number of its first line, from 1.
    pub line: u64,
}

/// Why a text cannot be read on.
#[derive(Debug, thiserror::Error)]
#[error("cannot read line {line}")]
pub struct RegistrationError {
    /// Which one, from 1.
    pub line: u64,
    /// What is wrong with it.
    #[source]
    pub wrong: LineError,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The bytes could not be had.
    #[error("cannot read its bytes")]
    Source {
        /// Why not.
        source: io::Error,
    },
    /// The text ends where another line should be.
    #[error("the text ends, where {expected} should be")]
    Truncated {
        /// What is missing.
        expected: &'static str,
    },
    /// The last line has to end, or the text may have been cut.
    #[error("it does not end, or is too long")]
    Unfinished,
    /// Nothing of that kind stands in such a text.
    #[error("it is not text as `dump-db` prints it")]
    NotText,
    /// Not a number.
    #[error("`{}` should be a number", text.escape_debug())]
    Number {
        /// The text refused.
        text: String,
    },
    /// Not a full path in this store.
    #[error(transparent)]
    Path(#[from] StoreDirError),
    /// Not a hash.
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// Returns the lines about a path, as Nix prints them.
pub fn print(info: &PathInfo, store_dir: &StoreDir) -> String {
    let mut text = String::new();
    let deriver = info.deriver.as_ref().map(|path| store_dir.print(path)).unwrap_or_default();
    let (path, hash) = (store_dir.print(&info.path), info.nar_hash.to_base16());
    let references = info.references.len();
    writeln!(text, "{path}\n{hash}\n{}\n{deriver}\n{references}", info.nar_size)
        .expect("a string takes every line");
    for reference in &info.references {
        writeln!(text, "{}", store_dir.print(reference)).expect("a string takes every line");
    }
    text
}

/// Reads such a text path by path.
#[derive(Debug)]
pub struct Registrations<R> {
    source: R,
    store_dir: StoreDir,
    has_hashes: bool,
    /// How many lines were read.
    line: u64,
}

impl<R: BufRead> Registrations<R> {
    /// Starts at the beginning of a text, with hashes and sizes or without.
    pub fn new(source: R, store_dir: StoreDir, has_hashes: bool) -> Self {
        Self { source, store_dir, has_hashes, line: 0 }
    }

    /// Returns what is said of the next path, or `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "after an error there is nothing left to iterate over")]
    pub fn next(&mut self) -> Result<Option<Registration>, RegistrationError> {
        self.registration().map_err(|wrong| RegistrationError { line: self.line.max(1), wrong })
    }

    fn registration(&mut self) -> Result<Option<Registration>, LineError> {
        let Some(path) = self.line()? else { return Ok(None) };
        let line = self.line;
        let path = self.store_dir.parse(path)?;
        let archive = match self.has_hashes {
            true => {
                let hash = Hash::parse(&self.due("a hash")?, Some(HashAlgorithm::Sha256))?;
                Some((hash, number(self.due("a size")?)?))
            }
            false => None,
        };
        let deriver = self.due("a deriver or nothing")?;
        let deriver = if deriver.is_empty() { None } else { Some(self.store_dir.parse(deriver)?) };
        let count = number(self.due("the number of references")?)?;
        let mut references = BTreeSet::new();
        for _ in 0..count {
            let reference = self.due("a reference")?;
            references.insert(self.store_dir.parse(reference)?);
        }
        Ok(Some(Registration { path, archive, deriver, references, line }))
    }

    fn due(&mut self, expected: &'static str) -> Result<String, LineError> {
        self.line()?.ok_or(LineError::Truncated { expected })
    }

    fn line(&mut self) -> Result<Option<String>, LineError> {
        let mut bytes = Vec::new();
        self.line += 1;
        let read = (&mut self.source).take(MAX_LINE).read_until(b'\n', &mut bytes);
        read.map_err(|source| LineError::Source { source })?;
        match bytes.pop() {
            None => Ok(None),
            Some(b'\n') if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) => {
                Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
            }
            // It would be of no use to whoever reads the message.
            Some(b'\n') => Err(LineError::NotText),
            Some(_) => Err(LineError::Unfinished),
        }
    }
}

fn number(text: String) -> Result<u64, LineError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain).ok_or(LineError::Number { text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(name: &str) -> StorePath {
        let hash = Hash::of(HashAlgorithm::Sha256, name.as_bytes());
        StoreDir::default().make_path("test", &hash, &name.parse().unwrap())
    }

    fn info(name: &str, references: &[String], deriver: Option<&str>) -> PathInfo {
        PathInfo {
            path: path(name),
            nar_hash: Hash::of(HashAlgorithm::Sha256, name.as_bytes()),
            nar_size: 120,
            references: references.iter().map(|name| path(name)).collect(),
            deriver: deriver.map(path),
            registration_time: 0,
            ultimate: false,
            signatures: Vec::new(),
            content_address: None,
        }
    }

    fn read(text: &str, has_hashes: bool) -> Result<Vec<Registration>, RegistrationError> {
        let mut all = Vec::new();
        let mut reader = Registrations::new(text.as_bytes(), StoreDir::default(), has_hashes);
        while let Some(one) = reader.next()? {
            all.push(one);
        }
        Ok(all)
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let text = print(&info("x", &["y".to_owned()], None), &StoreDir::default());
        assert_eq!(text.lines().count(), 6);
        let refused = |text: &str| read(text, true).expect_err(text);
        let with = |number: usize, line: &str| {
            let mut lines: Vec<&str> = text.lines().collect();
            lines[number - 1] = line;
            refused(&(lines.join("\n") + "\n"))
        };
        for (line, wrong) in [(1, "/nix/store/x"), (2, "00"), (3, "-1"), (4, "x"), (5, "one"), (6, "")] {
            assert_eq!(with(line, wrong).line, line as u64, "{wrong}");
        }
        assert!(matches!(refused(text.trim_end()).wrong, LineError::Unfinished));
        let cut = refused(&text[..text.len() - 1 - text.lines().last().unwrap().len()]);
        assert!(matches!(cut, RegistrationError { line: 6, wrong: LineError::Truncated { .. } }), "{cut:?}");
        assert!(matches!(refused(&"x".repeat(1 << 20)).wrong, LineError::Unfinished));
        assert_eq!(refused("\n").line, 1);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(
            names in proptest::collection::vec("[a-z]{1,9}", 0..4),
            references in proptest::collection::vec("[a-z]{1,9}", 0..4),
            deriver in proptest::option::of("[a-z]{1,9}"),
        ) {
            let infos: Vec<PathInfo> =
                names.iter().map(|name| info(name, &references, deriver.as_deref())).collect();
            let text: String = infos.iter().map(|info| print(info, &StoreDir::default())).collect();
            let mut line = 1;
            for (info, one) in infos.iter().zip(read(&text, true).unwrap()) {
                let expected = Registration {
                    path: info.path.clone(),
                    archive: Some((info.nar_hash, info.nar_size)),
                    deriver: info.deriver.clone(),
                    references: info.references.clone(),
                    line,
                };
                line += 5 + info.references.len() as u64;
                prop_assert_eq!(one, expected);
            }
        }

        #[test]
        fn never_panics(text: String, has_hashes: bool) {
            let _ = read(&text, has_hashes);
        }
    }
}
