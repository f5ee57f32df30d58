//! The hash of what refers to itself.
//!
//! The path of a content-addressed object follows from its contents, and these may hold the path. So what is
//! hashed has zeros in place of the object's own digest; and where these stood, as `|<offset>` for each, or else
//! zeros in the object itself could pass for a reference. Nix 2.17 to 2.34 left the offsets out.

use std::io::{self, Write};

use crate::{Digest, Hash, HashAlgorithm, HashSink, Rewriter};

/// Hashes what is written to it as if one digest, its own, were not known, and others were replaced already.
#[derive(Debug)]
pub struct ModuloSink(Rewriter<HashSink>);

/// What a [`ModuloSink`] has met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modulo {
    /// The hash, the same whatever the own digest is.
    pub hash: Hash,
    /// The same without offsets, as Nix 2.17 to 2.34 computed it.
    pub without_offsets: Hash,
    /// Whether the own digest occurred.
    pub refers_to_itself: bool,
    /// Whether any other digest was replaced.
    pub replaced: bool,
}

impl ModuloSink {
    /// Starts with nothing written; the first of each pair of `rewrites` is hashed as the second.
    pub fn new(
        algorithm: HashAlgorithm,
        own: &Digest,
        rewrites: impl IntoIterator<Item = (Digest, Digest)>,
    ) -> Self {
        Self(Rewriter::with_blank(HashSink::new(algorithm), rewrites, Some(*own)))
    }

    /// Returns the hash of all that was written.
    pub fn finish(self) -> Modulo {
        let (mut sink, replaced) = self.0.end().expect("a hash takes any bytes");
        let without_offsets = sink.clone().finish().0;
        for offset in &replaced.blanks {
            write!(sink, "|{offset}").expect("a hash takes any bytes");
        }
        Modulo {
            hash: sink.finish().0,
            without_offsets,
            refers_to_itself: !replaced.blanks.is_empty(),
            replaced: replaced.any,
        }
    }
}

impl Write for ModuloSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modulo(own: &str, bytes: &[u8]) -> Modulo {
        let mut sink = ModuloSink::new(HashAlgorithm::Sha256, &own.parse().unwrap(), []);
        sink.write_all(bytes).unwrap();
        sink.finish()
    }

    #[test]
    fn zeros_and_offsets_stand_for_the_own_digest() {
        let own = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q";
        let met = modulo(own, format!("a{own}bc{own}").as_bytes());
        let zeros = "\0".repeat(32);
        let sha256 = |text: String| Hash::of(HashAlgorithm::Sha256, text.as_bytes());
        assert_eq!(met.hash, sha256(format!("a{zeros}bc{zeros}|1|35")));
        assert_eq!(met.without_offsets, sha256(format!("a{zeros}bc{zeros}")));
        assert!(met.refers_to_itself && !met.replaced);
        // The same whatever its own digest is, and another one than that of zeros.
        let other = "i00sflxqsj37lfmf95m8mn0grv615hpj";
        assert_eq!(modulo(other, format!("a{other}bc{other}").as_bytes()), met);
        let plain = modulo(own, format!("a{zeros}bc{zeros}").as_bytes());
        assert_ne!(plain.hash, met.hash);
        assert_eq!((plain.hash, plain.refers_to_itself), (met.without_offsets, false));
    }
}
