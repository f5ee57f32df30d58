//! From an archive in a stream to a tree in the scratch directory.
#![expect(clippy::disallowed_methods, reason = "reads derivations that were unpacked")]

use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nar::{ReadError, RestoreError};
use store_path::{Hash, HashAlgorithm, HashSink};

use super::batch::{Item, Tree};
use super::error::{Place, ReceiveError};
use crate::canonical::{Inodes, canonicalise};
use crate::content::is_addressed;
use crate::error::Error;
use crate::store::LocalStore;
use crate::until::Until;

/// An archive whose end only its reader knows, as far as it fits into memory.
pub(super) enum Small {
    Whole(Vec<u8>),
    /// It is longer: what was read of it.
    Beginning(Cursor<Vec<u8>>),
}

/// Reads an archive into memory, unless it has more than about `limit` bytes.
pub(super) fn read_small(archive: impl Read, limit: usize) -> Result<Small, ReadError> {
    let mut saving = Saving { source: archive, saved: Vec::new(), limit };
    let mut events = nar::Reader::new(&mut saving);
    let outcome = loop {
        match events.next() {
            Ok(Some(_)) => {}
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    match outcome {
        Ok(()) => Ok(Small::Whole(saving.saved)),
        Err(_) if saving.is_full() => Ok(Small::Beginning(Cursor::new(saving.saved))),
        Err(error) => Err(error),
    }
}

/// Keeps what is read, and fails when that becomes too much.
struct Saving<R> {
    source: R,
    saved: Vec<u8>,
    limit: usize,
}

impl<R> Saving<R> {
    fn is_full(&self) -> bool {
        self.saved.len() >= self.limit
    }
}

impl<R: Read> Read for Saving<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_full() {
            return Err(io::Error::other("it is too long for memory"));
        }
        let count = self.source.read(bytes)?;
        self.saved.extend(&bytes[..count]);
        Ok(count)
    }
}

/// Unpacks an archive while it comes in.
pub(super) fn from_stream(
    archive: &mut impl Read,
    tree: PathBuf,
    place: &Place,
) -> Result<Tree, ReceiveError> {
    let mut hashing = Hashing { source: archive, sink: HashSink::new(HashAlgorithm::Sha256) };
    nar::restore(&mut hashing, &tree).map_err(|error| restoring(error, place))?;
    let (hash, size) = hashing.sink.finish();
    Ok(Tree::Unpacked { tree, hash, size })
}

/// Hashes what is read.
struct Hashing<'source, R> {
    source: &'source mut R,
    sink: HashSink,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(bytes)?;
        self.sink.write_all(&bytes[..count])?;
        Ok(count)
    }
}

fn restoring(error: RestoreError, place: &Place) -> ReceiveError {
    let place = place.clone();
    match error {
        RestoreError::Archive { source, .. } => ReceiveError::Archive { place, source },
        source => ReceiveError::Unpack { place, source: source.into() },
    }
}

/// Makes the tree of `item` what it would be in the store, at `tree` if it is still in memory, and checks what is stated of
/// it; returns where it is, and its hash and size.
pub(super) fn settle(
    store: &LocalStore,
    item: &Item,
    tree: PathBuf,
) -> Result<(PathBuf, Hash, u64), ReceiveError> {
    let place = || item.place.clone();
    let (tree, hash, size) = match &item.tree {
        Tree::Here => return Ok((tree, item.info.nar_hash, item.info.nar_size)),
        Tree::Unpacked { tree, hash, size } => (tree.clone(), *hash, *size),
        Tree::Archive(bytes) => {
            let mut rest = &bytes[..];
            nar::restore(&mut rest, &tree).map_err(|error| restoring(error, &item.place))?;
            if !rest.is_empty() {
                return Err(ReceiveError::Size { place: place(), stated: bytes.len() as u64 });
            }
            (tree, Hash::of(HashAlgorithm::Sha256, bytes), bytes.len() as u64)
        }
    };
    if let Some(stated) = item.stated.filter(|stated| *stated != hash) {
        let (stated, computed) = (Box::new(stated), Box::new(hash));
        return Err(ReceiveError::Hash { place: place(), stated, computed });
    }
    let unpacking = |source| ReceiveError::Unpack { place: place(), source };
    canonicalise(&tree, None, &mut Inodes::default(), Until::DONE).map_err(unpacking)?;
    let is_addressed =
        is_addressed(store.store_dir(), &item.info, &hash, &tree, Until::DONE).map_err(unpacking)?;
    match item.info.content_address.filter(|_| !is_addressed) {
        None => Ok((tree, hash, size)),
        Some(stated) => Err(ReceiveError::Address { place: place(), stated: Box::new(stated) }),
    }
}

/// Reads the text of a derivation, which is one plain file.
pub(super) fn read_derivation(tree: &Path) -> Result<Vec<u8>, Error> {
    let metadata = fs::symlink_metadata(tree).map_err(Error::file("look at", tree))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 != 0 {
        return Err(Error::NotFlat { path: tree.to_owned() });
    }
    fs::read(tree).map_err(Error::file("read", tree))
}
