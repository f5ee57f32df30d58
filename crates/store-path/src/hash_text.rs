//! The ways to write a hash: base 16, 32 and 64, with or without the algorithm in front.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::{Hash, HashAlgorithm, base32};

/// Why a text or some bytes are not a [`Hash`].
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
    /// Another number of bytes than the algorithm makes.
    #[error("{found} bytes are not a hash of `{algorithm}`")]
    Bytes {
        /// The algorithm whose hash it should be.
        algorithm: HashAlgorithm,
        /// How many bytes there are.
        found: usize,
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
        let bytes = bytes.ok_or_else(|| HashError::Encoding { text: digits.to_owned(), encoding })?;
        Self::from_bytes(algorithm, &bytes)
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
        format!("{}:{}", self.algorithm(), self.to_base16())
    }

    /// Returns `sha256:<base 32 of Nix>`, which is also what `Display` prints.
    pub fn prefixed_nix32(&self) -> String {
        format!("{}:{}", self.algorithm(), self.to_nix32())
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
