//! The ways to write a hash: base 16, 32 and 64, with or without the algorithm in front.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::{Hash, HashAlgorithm, base32};

/// Why a text or some bytes are not a [`Hash`](struct@crate::Hash).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// No algorithm has this name.
    #[error("there is no hash algorithm `{name}`")]
    Algorithm {
        /// The name asked for.
        name: String,
    },
    /// The text does not say which algorithm made it, and nothing else does.
    #[error("the hash `{text}` does not say its algorithm")]
    NoAlgorithm {
        /// The text refused.
        text: String,
    },
    /// The text names one algorithm, but another is wanted.
    #[error("the hash `{text}` should be of the algorithm `{wanted}`")]
    OtherAlgorithm {
        /// The text refused.
        text: String,
        /// The algorithm that was wanted.
        wanted: HashAlgorithm,
    },
    /// No encoding gives the text its length.
    #[error("the hash `{text}` has the wrong length for `{algorithm}`")]
    Length {
        /// The text refused.
        text: String,
        /// The algorithm whose hash it should be.
        algorithm: HashAlgorithm,
    },
    /// The text has the length of one encoding, but is not in it.
    #[error("the hash `{text}` is not valid {encoding}")]
    Encoding {
        /// The text refused.
        text: String,
        /// The encoding its length points to.
        encoding: &'static str,
    },
}

impl FromStr for HashAlgorithm {
    type Err = HashError;

    fn from_str(name: &str) -> Result<Self, HashError> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name);
        found.ok_or_else(|| HashError::Algorithm { name: name.to_owned() })
    }
}

impl Hash {
    /// Reads a hash in any spelling that Nix takes.
    ///
    /// That is `sha256-<base 64>`, `sha256:<digits>`, or only digits in base 16, Nix's base 32 or base 64, told
    /// apart by their number. Digits alone need `wanted`; with both, the two have to agree.
    pub fn parse(text: &str, wanted: Option<HashAlgorithm>) -> Result<Self, HashError> {
        // Neither separator is a digit of any encoding.
        let Some((name, digits)) = text.split_once([':', '-']) else {
            let algorithm = wanted.ok_or_else(|| HashError::NoAlgorithm { text: text.to_owned() })?;
            return Self::parse_digits(algorithm, text);
        };
        let algorithm: HashAlgorithm = name.parse()?;
        if wanted.is_some_and(|wanted| wanted != algorithm) {
            return Err(HashError::OtherAlgorithm {
                text: text.to_owned(),
                wanted: wanted.unwrap_or(algorithm),
            });
        }
        let is_sri = text[name.len()..].starts_with('-');
        if is_sri && digits.len() != base64_len(algorithm) {
            return Err(HashError::Length { text: text.to_owned(), algorithm });
        }
        Self::parse_digits(algorithm, digits)
    }

    pub(crate) fn parse_digits(algorithm: HashAlgorithm, digits: &str) -> Result<Self, HashError> {
        let mut bytes = vec![0; algorithm.digest_len()];
        let (encoding, bytes) = if digits.len() == 2 * algorithm.digest_len() {
            ("base 16", HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok())
        } else if digits.len() == base32::encoded_len(algorithm.digest_len()) {
            ("base 32", base32::decode_into(digits.as_bytes(), &mut bytes).map(|()| bytes))
        } else if digits.len() == base64_len(algorithm) {
            ("base 64", BASE64.decode(digits.as_bytes()).ok())
        } else {
            return Err(HashError::Length { text: digits.to_owned(), algorithm });
        };
        bytes
            // With another padding, as many characters of base 64 hold a byte more or less.
            .filter(|bytes| bytes.len() == algorithm.digest_len())
            .map(|bytes| Self::from_bytes(algorithm, &bytes))
            .ok_or_else(|| HashError::Encoding { text: digits.to_owned(), encoding })
    }

    /// Returns the digits in lower-case base 16.
    pub fn to_base16(&self) -> String {
        HEXLOWER.encode(self.as_bytes())
    }

    /// Returns the digits in Nix's base 32.
    pub fn to_nix32(&self) -> String {
        base32::encode(self.as_bytes())
    }

    /// Returns the digits in base 64.
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.as_bytes())
    }

    /// Returns the spelling of web standards: `sha256-<base 64>`.
    pub fn to_sri(&self) -> String {
        format!("{}-{}", self.algorithm(), self.to_base64())
    }

    /// Returns `sha256:<base 16>`.
    pub fn prefixed_base16(&self) -> String {
        [self.algorithm().as_str(), ":", &self.to_base16()].concat()
    }

    /// Returns `sha256:<base 32 of Nix>`, which is also what `Display` prints.
    pub fn prefixed_nix32(&self) -> String {
        [self.algorithm().as_str(), ":", &self.to_nix32()].concat()
    }
}

const fn base64_len(algorithm: HashAlgorithm) -> usize {
    algorithm.digest_len().div_ceil(3) * 4
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.prefixed_nix32())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "f0e4c2f76c58916ec258f246851bea091d14d4247a2fc3e18694461b1816e13b";
    const NIX32: &str = "1f2n2rd8dz4mivgcrv7r8wjhlx0a2y8clk7qb8hwi45fdhv4s0i0";

    fn of_letters(algorithm: HashAlgorithm) -> Hash {
        Hash::of(algorithm, b"abc")
    }

    #[test]
    fn makes_the_hashes_that_the_standards_print() {
        let md5 = of_letters(HashAlgorithm::Md5);
        assert_eq!(md5.prefixed_base16(), "md5:900150983cd24fb0d6963f7d28e17f72");
        let sha1 = of_letters(HashAlgorithm::Sha1);
        assert_eq!(sha1.prefixed_base16(), "sha1:a9993e364706816aba3e25717850c26c9cd0d89d");
        let sha256 = of_letters(HashAlgorithm::Sha256);
        assert_eq!(sha256.to_sri(), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!(sha256.to_string(), "sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s");
        let sha512 = of_letters(HashAlgorithm::Sha512);
        assert!(sha512.prefixed_base16().starts_with("sha512:ddaf35a193617abacc417349ae204131"));
        let blake3 = of_letters(HashAlgorithm::Blake3);
        assert!(blake3.prefixed_base16().starts_with("blake3:6437b3ac38465133ffb63b75273a8db5"));
    }

    #[test]
    fn reads_every_spelling() {
        let wanted = Some(HashAlgorithm::Sha256);
        let hash = Hash::parse(HEX, wanted).unwrap();
        assert_eq!(hash.to_base16(), HEX);
        let base64 = hash.to_base64();
        for digits in [HEX, &HEX.to_uppercase(), &hash.to_nix32(), &base64] {
            assert_eq!(Hash::parse(digits, wanted), Ok(hash), "{digits}");
            assert_eq!(Hash::parse(&format!("sha256:{digits}"), None), Ok(hash), "{digits}");
            assert!(matches!(Hash::parse(digits, None), Err(HashError::NoAlgorithm { .. })));
        }
        assert_eq!(Hash::parse(&hash.to_sri(), None), Ok(hash));
        assert_eq!(Hash::parse(&hash.to_sri(), wanted), Ok(hash));
    }

    #[test]
    fn refuses_with_the_reason() {
        let refused = |text: &str, wanted| Hash::parse(text, wanted).expect_err(text).to_string();
        let sha256 = Some(HashAlgorithm::Sha256);
        assert_eq!(refused("sha3:00", None), "there is no hash algorithm `sha3`");
        assert_eq!(refused("sha256:00", None), "the hash `00` has the wrong length for `sha256`");
        assert_eq!(refused("", sha256), "the hash `` has the wrong length for `sha256`");
        let other = refused("sha1-qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", sha256);
        assert_eq!(other, "the hash `sha1-qZk+NkcGgWq6PiVxeFDCbJzQ2J0=` should be of the algorithm `sha256`");
        assert!(refused(&HEX.replace('0', "g"), sha256).ends_with("is not valid base 16"));
        assert!(refused(&NIX32.replace('0', "e"), sha256).ends_with("is not valid base 32"));
        for base64 in ["=".repeat(44), "A".repeat(44), format!("{}==", "A".repeat(42))] {
            assert!(refused(&base64, sha256).ends_with("is not valid base 64"), "{base64}");
        }
        // The form of web standards has base 64 only.
        assert!(refused(&format!("sha256-{HEX}"), None).contains("wrong length"));
    }

    proptest! {
        #[test]
        fn reads_what_it_prints(contents: Vec<u8>, which in 0..HashAlgorithm::ALL.len()) {
            let algorithm = HashAlgorithm::ALL[which];
            let hash = Hash::of(algorithm, &contents);
            prop_assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
            for text in [hash.to_sri(), hash.prefixed_base16(), hash.prefixed_nix32()] {
                prop_assert_eq!(Hash::parse(&text, None), Ok(hash));
            }
            for digits in [hash.to_base16(), hash.to_nix32(), hash.to_base64()] {
                prop_assert_eq!(Hash::parse(&digits, Some(algorithm)), Ok(hash));
            }
        }

        #[test]
        fn never_panics(text: String) {
            let _ = Hash::parse(&text, Some(HashAlgorithm::Sha256));
        }
    }
}
