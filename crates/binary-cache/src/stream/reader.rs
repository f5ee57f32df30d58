//! A stream, path by path.

use std::collections::BTreeSet;
use std::io::{self, Read};

use store_path::{Hash, HashAlgorithm, PathInfo, StoreDir, StorePath};

use super::Format;
use super::format::{COMPRESSED, DIFFERENCE, END, NARIO2, NIXE, PATH, PRESENT};
use super::wire::{StreamError, Wire, Wrong};

/// No path is longer, nor anything else that one string says.
const MAX_TEXT: u64 = 4096;

/// The signatures of long ago were in a form of their own, which was longer.
const MAX_OLD_SIGNATURE: u64 = 1 << 20;

/// No path refers to more; it bounds what a wrong number can make us hold.
const MAX_REFERENCES: u64 = 1 << 20;

const MAX_SIGNATURES: u64 = 1 << 10;

/// Reads a stream of either format.
///
/// For each path: [`Reader::next`], then all of the archive by [`Reader::archive`], then [`Reader::trailer`].
/// Reading is by single strings, so an expensive source should be a [`std::io::BufReader`]. Memory is bounded, whatever
/// the stream says.
#[derive(Debug)]
pub struct Reader<R> {
    wire: Wire<R>,
    store_dir: StoreDir,
    format: Format,
    /// The number that says what comes next, where it was needed to tell the format.
    ahead: Option<u64>,
    has_ended: bool,
}

/// What a path begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An archive follows, and then the rest that is known.
    Archive,
    /// An archive follows of which this is stated.
    Known(Box<PathInfo>),
    /// No archive follows: the reader should have it.
    Present(Box<PathInfo>),
}

/// What is known of a path in [`Format::Nix`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// The path.
    pub path: StorePath,
    /// What it refers to.
    pub references: BTreeSet<StorePath>,
    /// The derivation that made it.
    pub deriver: Option<StorePath>,
}

impl<R: Read> Reader<R> {
    /// Starts at the beginning of a stream, and finds out its format.
    pub fn new(source: R, store_dir: StoreDir) -> Result<Self, StreamError> {
        let mut wire = Wire { source, offset: 0 };
        let first = wire.number().map_err(|wrong| StreamError { offset: 0, wrong })?;
        let (format, ahead) = match first {
            END | PATH => (Format::Nix, Some(first)),
            NARIO2 => (Format::Nario, None),
            found => {
                let expected = "a stream as `store export` or `nix-store --export` writes it";
                return Err(StreamError { offset: 0, wrong: Wrong::Number { expected, found } });
            }
        };
        Ok(Self { wire, store_dir, format, ahead, has_ended: false })
    }

    /// Goes on with a stream of [`Format::Nario`] of which `offset` bytes are not there: all before a path.
    pub fn continued(source: R, store_dir: StoreDir, offset: u64) -> Self {
        let wire = Wire { source, offset };
        Self { wire, store_dir, format: Format::Nario, ahead: None, has_ended: false }
    }

    /// Returns how many bytes were read, save those that only told the format.
    pub fn offset(&self) -> u64 {
        self.wire.offset - if self.ahead.is_some() { 8 } else { 0 }
    }

    /// Returns what the next path begins with, or `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "after an error there is nothing left to iterate over")]
    pub fn next(&mut self) -> Result<Option<Entry>, StreamError> {
        self.telling(Self::entry)
    }

    /// Returns the archive. The caller reads it to its end and not beyond; in [`Format::Nario`] that is after as many bytes
    /// as are stated.
    pub fn archive(&mut self) -> Archive<'_, R> {
        Archive(&mut self.wire)
    }

    /// Reads what follows an archive: nothing in [`Format::Nario`].
    pub fn trailer(&mut self) -> Result<Option<Trailer>, StreamError> {
        match self.format {
            Format::Nix => self.telling(Self::nix_trailer).map(Some),
            Format::Nario => Ok(None),
        }
    }

    fn telling<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, StreamError> {
        read(self).map_err(|wrong| StreamError { offset: self.wire.offset, wrong })
    }

    fn entry(&mut self) -> Result<Option<Entry>, Wrong> {
        if self.has_ended {
            return Ok(None);
        }
        let tag = match self.ahead.take() {
            Some(tag) => tag,
            None => self.wire.number()?,
        };
        match (self.format, tag) {
            (_, END) => {
                self.has_ended = true;
                Ok(None)
            }
            (Format::Nix, PATH) => Ok(Some(Entry::Archive)),
            (Format::Nario, PATH) => self.info().map(|info| Some(Entry::Known(info))),
            (Format::Nario, PRESENT) => self.info().map(|info| Some(Entry::Present(info))),
            (Format::Nario, DIFFERENCE) => Err(Wrong::Unsupported { what: "a binary difference" }),
            (Format::Nario, COMPRESSED) => Err(Wrong::Unsupported { what: "a compressed archive" }),
            (_, found) => Err(Wrong::Number { expected: "1 before another path or 0 at the end", found }),
        }
    }

    fn info(&mut self) -> Result<Box<PathInfo>, Wrong> {
        let base = |wire: &mut Wire<R>, what| Ok(wire.string(what, MAX_TEXT)?.parse::<StorePath>()?);
        let wire = &mut self.wire;
        let path = base(wire, "a store path")?;
        let deriver = optional(wire.string("a deriver", MAX_TEXT)?, |text| Ok(text.parse()?))?;
        let nar_hash = Hash::parse(&wire.string("a hash", MAX_TEXT)?, Some(HashAlgorithm::Sha256))?;
        let references =
            wire.list("a list of references", MAX_REFERENCES, |wire| base(wire, "a reference"))?;
        let (registration_time, nar_size) = (wire.number()?.cast_signed(), wire.number()?);
        let ultimate = boolean(wire.number()?)?;
        let mut signatures: Vec<String> = wire.list("a list of signatures", MAX_SIGNATURES, signature)?;
        // Nix keeps them as a set.
        signatures.sort();
        signatures.dedup();
        let address = wire.string("a content address", MAX_TEXT)?;
        let content_address = optional(address, |text| Ok(text.parse()?))?;
        Ok(Box::new(PathInfo {
            path,
            nar_hash,
            nar_size,
            references,
            deriver,
            registration_time,
            ultimate,
            signatures,
            content_address,
        }))
    }

    fn nix_trailer(&mut self) -> Result<Trailer, Wrong> {
        let (wire, store_dir) = (&mut self.wire, &self.store_dir);
        let found = wire.number()?;
        if found != NIXE {
            return Err(Wrong::Number { expected: "`NIXE` after the archive", found });
        }
        let path = store_dir.parse(wire.string("a store path", MAX_TEXT)?)?;
        let reference = |wire: &mut Wire<R>| Ok(store_dir.parse(wire.string("a reference", MAX_TEXT)?)?);
        let references = wire.list("a list of references", MAX_REFERENCES, reference)?;
        let deriver = optional(wire.string("a deriver", MAX_TEXT)?, |text| Ok(store_dir.parse(text)?))?;
        if boolean(wire.number()?)? {
            wire.string("an old signature", MAX_OLD_SIGNATURE)?;
        }
        Ok(Trailer { path, references, deriver })
    }
}

/// Reads a text that is empty where there is nothing.
fn optional<T>(text: String, read: impl FnOnce(&str) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
    if text.is_empty() { Ok(None) } else { read(&text).map(Some) }
}

fn boolean(number: u64) -> Result<bool, Wrong> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(Wrong::Number { expected: "0 or 1", found }),
    }
}

fn signature<R: Read>(wire: &mut Wire<R>) -> Result<String, Wrong> {
    let text = wire.string("a signature", MAX_TEXT)?;
    match text.is_empty() || text.contains(char::is_whitespace) {
        true => Err(Wrong::Signature { text }),
        false => Ok(text),
    }
}

/// The archive of a path; see [`Reader::archive`].
#[derive(Debug)]
pub struct Archive<'reader, R>(&'reader mut Wire<R>);

impl<R: Read> Read for Archive<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}
