//! Hashes of contents, and the algorithms that make them.

use std::fmt;
use std::io::Write;

use crate::HashSink;

/// A hash function that Nix knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// Broken; still names old fixed outputs.
    Md5,
    /// Broken; still names old fixed outputs.
    Sha1,
    /// What the store itself uses everywhere.
    Sha256,
    /// Longer than anyone needs.
    Sha512,
    /// Experimental in Nix.
    Blake3,
}

impl HashAlgorithm {
    pub(crate) const ALL: [Self; 5] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512, Self::Blake3];

    /// Returns how many bytes a hash of this algorithm has.
    pub(crate) const fn digest_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Blake3 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The name in every format: `sha256`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The hash of some bytes, with the algorithm that made it.
///
/// Invariant: there are exactly as many bytes as the algorithm makes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash {
    algorithm: HashAlgorithm,
    /// Zero beyond the algorithm's length, so that the derived traits compare only what counts.
    bytes: [u8; MAX_LEN],
}

const MAX_LEN: usize = HashAlgorithm::Sha512.digest_len();

impl Hash {
    /// Returns the hash of `bytes`; see [`HashSink`] for more than fits in memory.
    pub fn of(algorithm: HashAlgorithm, bytes: &[u8]) -> Self {
        let mut sink = HashSink::new(algorithm);
        sink.write_all(bytes).expect("a hash takes any bytes");
        sink.finish().0
    }

    /// Takes what the algorithm made; there have to be as many bytes as it makes.
    pub(crate) fn from_bytes(algorithm: HashAlgorithm, digest: &[u8]) -> Self {
        let mut bytes = [0; MAX_LEN];
        bytes[..algorithm.digest_len()].copy_from_slice(digest);
        Self { algorithm, bytes }
    }

    /// Returns which function made this hash.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// Returns the hash itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_len()]
    }
}
