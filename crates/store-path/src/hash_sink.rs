//! Hashing what passes by.

use std::io;

use sha2::Digest as _;

use crate::{Hash, HashAlgorithm};

/// Hashes and counts every byte written to it; writing never fails.
#[derive(Clone, Debug)]
pub struct HashSink {
    hasher: Hasher,
    bytes_written: u64,
}

#[derive(Clone, Debug)]
enum Hasher {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    // Its state alone is larger than all others.
    Blake3(Box<blake3::Hasher>),
}

impl HashSink {
    /// Starts with nothing written.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        let hasher = match algorithm {
            HashAlgorithm::Md5 => Hasher::Md5(Default::default()),
            HashAlgorithm::Sha1 => Hasher::Sha1(Default::default()),
            HashAlgorithm::Sha256 => Hasher::Sha256(Default::default()),
            HashAlgorithm::Sha512 => Hasher::Sha512(Default::default()),
            HashAlgorithm::Blake3 => Hasher::Blake3(Default::default()),
        };
        Self { hasher, bytes_written: 0 }
    }

    /// Returns the hash of all that was written, and how much it was.
    pub fn finish(self) -> (Hash, u64) {
        let hash = match self.hasher {
            Hasher::Md5(hasher) => Hash::from_bytes(HashAlgorithm::Md5, &hasher.finalize()),
            Hasher::Sha1(hasher) => Hash::from_bytes(HashAlgorithm::Sha1, &hasher.finalize()),
            Hasher::Sha256(hasher) => Hash::from_bytes(HashAlgorithm::Sha256, &hasher.finalize()),
            Hasher::Sha512(hasher) => Hash::from_bytes(HashAlgorithm::Sha512, &hasher.finalize()),
            Hasher::Blake3(hasher) => Hash::from_bytes(HashAlgorithm::Blake3, hasher.finalize().as_bytes()),
        };
        (hash, self.bytes_written)
    }
}

impl io::Write for HashSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.hasher {
            Hasher::Md5(hasher) => hasher.update(bytes),
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
            Hasher::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
        self.bytes_written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
