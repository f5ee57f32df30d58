//! Why something did not come in.

use std::fmt;

use binary_cache::stream::StreamError;
use store_path::{ContentAddress, Hash, StorePath};

use super::arrivals::Cause;
use crate::error::Error;

/// Which path of a stream something is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path, where it is known yet.
    pub path: Option<StorePath>,
    /// Where it begins in the stream, in bytes.
    pub begins: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begins = self.begins;
        match &self.path {
            Some(path) => write!(formatter, "`{path}`, which begins at byte {begins} of the stream"),
            None => write!(formatter, "what begins at byte {begins} of the stream"),
        }
    }
}

/// Why a stream was not taken in to its end. What came before is in the store.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// It is damaged around the archives, or ends too early.
    #[error("cannot import {place}")]
    Stream {
        /// Where.
        place: Place,
        /// What is wrong.
        source: StreamError,
    },
    /// An archive is damaged, or ends too early.
    #[error("cannot import {place}")]
    Archive {
        /// Where.
        place: Place,
        /// What is wrong, and where in the archive.
        source: nar::ReadError,
    },
    /// An archive has another length than is stated.
    #[error("cannot import {place}: its archive does not have the {stated} bytes that are stated")]
    Size {
        /// Where.
        place: Place,
        /// The length that is stated.
        stated: u64,
    },
    /// Something follows the end.
    #[error("the stream ends at byte {end}, and something follows; all that is before is imported")]
    More {
        /// Where the end is.
        end: u64,
    },
    /// An archive cannot be unpacked.
    #[error("cannot unpack {place}")]
    Unpack {
        /// Where.
        place: Place,
        /// What is wrong.
        source: Error,
    },
    /// What came is not what was stated.
    #[error("cannot import {place}: its archive has the hash `{computed}`, not `{stated}`")]
    Hash {
        /// Where.
        place: Place,
        /// The hash that is stated.
        stated: Box<Hash>,
        /// The hash of what came.
        computed: Box<Hash>,
    },
    /// Its content address is not that of what came, or not that of the path.
    #[error("cannot import {place}: its content address `{stated}` is not that of its contents and its path")]
    Address {
        /// Where.
        place: Place,
        /// The address that is stated.
        stated: Box<ContentAddress>,
    },
    /// Nothing in a store refers to what is not there.
    #[error(
        "cannot import {place}: it refers to `{reference}`, which is neither in this store nor before it in the stream"
    )]
    Reference {
        /// Where.
        place: Place,
        /// What is missing.
        reference: StorePath,
    },
    /// The other side has left it out, and it is not the same here.
    #[error("cannot go on: the stream leaves out {place}, and that is {here}")]
    Absent {
        /// Where.
        place: Place,
        /// What is here instead.
        here: &'static str,
    },
    /// A derivation is not right.
    #[error("cannot import the derivation {place}")]
    Derivation {
        /// Where.
        place: Place,
        /// What is wrong.
        source: Cause,
    },
    /// Nobody vouches for it.
    #[error("cannot import {place}")]
    Untrusted {
        /// Where.
        place: Place,
        /// What is missing.
        source: Cause,
    },
    /// The store could not do its part.
    #[error(transparent)]
    Store(#[from] Error),
}
