//! Numbers and strings, and where they stand.

use std::io::{self, Read};

use store_path::{ContentAddressError, HashError, StoreDirError, StorePathError};

/// A stream cannot be read on.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the stream at byte {offset}")]
pub struct StreamError {
    /// How many bytes were read before.
    pub offset: u64,
    /// What is wrong there.
    #[source]
    pub wrong: Wrong,
}

/// What is wrong at one place of a stream.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// The bytes could not be had.
    #[error("cannot read its bytes")]
    Source {
        /// Why not.
        source: io::Error,
    },
    /// The bytes end before the stream does.
    #[error("it ends too early")]
    Truncated,
    /// A number stands where only certain others may.
    #[error("expected {expected}, found the number {found:#x}")]
    Number {
        /// What may stand here.
        expected: &'static str,
        /// What does.
        found: u64,
    },
    /// A part of the format that is known, and not understood here.
    #[error("{what} cannot be read; let the other side export without it")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// A string or a list is longer than anything that may stand here.
    #[error("{what} cannot be {length} long")]
    Length {
        /// What it is, in words.
        what: &'static str,
        /// How long it says it is.
        length: u64,
    },
    /// The bytes that fill up a string are not zero.
    #[error("the padding of {what} is not zero")]
    Padding {
        /// What the string is.
        what: &'static str,
    },
    /// All strings around archives are text.
    #[error("{what} is not UTF-8")]
    NotText {
        /// What the string is.
        what: &'static str,
    },
    /// A signature with a blank in it would be two in the database.
    #[error("`{}` is not a signature", text.escape_debug())]
    Signature {
        /// The text refused.
        text: String,
    },
    /// Not a full path in this store.
    #[error(transparent)]
    Path(#[from] StoreDirError),
    /// Not the last component of a path in a store.
    #[error(transparent)]
    BasePath(#[from] StorePathError),
    /// Not a hash.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// Not a content address.
    #[error(transparent)]
    ContentAddress(#[from] ContentAddressError),
}

impl From<io::Error> for Wrong {
    fn from(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Source { source },
        }
    }
}

/// Bytes, and how many there were before.
#[derive(Debug)]
pub(super) struct Wire<R> {
    pub(super) source: R,
    pub(super) offset: u64,
}

impl<R: Read> Wire<R> {
    pub(super) fn number(&mut self) -> Result<u64, Wrong> {
        let mut bytes = [0; 8];
        self.exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads a string of at most `limit` bytes.
    pub(super) fn string(&mut self, what: &'static str, limit: u64) -> Result<String, Wrong> {
        let length = self.number()?;
        if length > limit {
            return Err(Wrong::Length { what, length });
        }
        let mut bytes = vec![0; length as usize];
        self.exact(&mut bytes)?;
        let mut zeros = [0; 8];
        self.exact(&mut zeros[..(length.wrapping_neg() % 8) as usize])?;
        if zeros != [0; 8] {
            return Err(Wrong::Padding { what });
        }
        String::from_utf8(bytes).map_err(|_| Wrong::NotText { what })
    }

    /// Reads a list of at most `limit` strings, each by `read`. Nothing is set aside for what a number promises.
    pub(super) fn list<T, C: Default + Extend<T>>(
        &mut self,
        what: &'static str,
        limit: u64,
        mut read: impl FnMut(&mut Self) -> Result<T, Wrong>,
    ) -> Result<C, Wrong> {
        let length = self.number()?;
        if length > limit {
            return Err(Wrong::Length { what, length });
        }
        let mut list = C::default();
        for _ in 0..length {
            list.extend([read(self)?]);
        }
        Ok(list)
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), Wrong> {
        self.source.read_exact(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

impl<R: Read> Read for Wire<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(bytes)?;
        self.offset += count as u64;
        Ok(count)
    }
}
