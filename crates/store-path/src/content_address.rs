//! Objects whose name says what is in them.

use std::fmt;
use std::str::FromStr;

use crate::{Hash, HashAlgorithm, HashError};

/// How the contents of an object become bytes to hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// The bytes of one file that is not executable.
    Flat,
    /// The archive of a tree.
    Nar,
    /// The bytes of one file which may refer to other paths, such as a derivation.
    Text,
    /// A tree as git hashes it.
    Git,
}

impl Method {
    const ALL: [Self; 4] = [Self::Flat, Self::Nar, Self::Text, Self::Git];

    /// Returns what stands before the algorithm in derivations and names: `r:` in `r:sha256`.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Flat => "",
            Self::Nar => "r:",
            Self::Text => "text:",
            Self::Git => "git:",
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Nar => "nar",
            Self::Text => "text",
            Self::Git => "git",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Method {
    type Err = ContentAddressError;

    fn from_str(name: &str) -> Result<Self, ContentAddressError> {
        let found = Self::ALL.into_iter().find(|method| method.as_str() == name);
        found.ok_or_else(|| ContentAddressError::Method { name: name.to_owned() })
    }
}

/// What an object's path was computed from, if not from a derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentAddress {
    /// What was hashed.
    pub method: Method,
    /// The hash of it.
    pub hash: Hash,
}

/// Why a text is not a [`ContentAddress`] or a [`Method`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentAddressError {
    /// No method has this name.
    #[error("there is no content-addressing method `{name}`")]
    Method {
        /// The name asked for.
        name: String,
    },
    /// Neither `text:` nor `fixed:` stands in front, or no algorithm follows.
    #[error("`{text}` does not have the form of a content address")]
    Form {
        /// The text refused.
        text: String,
    },
    /// The hash in it is wrong.
    #[error("cannot read the content address `{text}`")]
    Hash {
        /// The text refused.
        text: String,
        /// What is wrong with the hash.
        source: HashError,
    },
}

impl FromStr for ContentAddress {
    type Err = ContentAddressError;

    fn from_str(text: &str) -> Result<Self, ContentAddressError> {
        let (method, hash) =
            split_method(text).ok_or_else(|| ContentAddressError::Form { text: text.to_owned() })?;
        let hash = parse_hash(method, hash)
            .map_err(|source| ContentAddressError::Hash { text: text.to_owned(), source })?;
        Ok(Self { method, hash })
    }
}

/// Splits off what says the method; what is left is `<algorithm>:<digits>`.
fn split_method(text: &str) -> Option<(Method, (&str, &str))> {
    let (method, hash) = if let Some(hash) = text.strip_prefix("text:") {
        (Method::Text, hash)
    } else {
        let fixed = text.strip_prefix("fixed:")?;
        let with_prefix = [Method::Nar, Method::Git]
            .into_iter()
            .find_map(|method| Some((method, fixed.strip_prefix(method.prefix())?)));
        with_prefix.unwrap_or((Method::Flat, fixed))
    };
    Some((method, hash.split_once(':')?))
}

fn parse_hash(method: Method, (algorithm, digits): (&str, &str)) -> Result<Hash, HashError> {
    let hash = Hash::parse_digits(algorithm.parse()?, digits)?;
    if method == Method::Text && hash.algorithm() != HashAlgorithm::Sha256 {
        return Err(HashError::OtherAlgorithm { text: hash.to_string(), wanted: HashAlgorithm::Sha256 });
    }
    Ok(hash)
}

impl fmt::Display for ContentAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fixed = if self.method == Method::Text { "" } else { "fixed:" };
        write!(formatter, "{fixed}{}{}", self.method.prefix(), self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> ContentAddressError {
        text.parse::<ContentAddress>().expect_err(text)
    }

    #[test]
    fn prints_what_nix_prints_and_reads_it() {
        let hash = Hash::of(HashAlgorithm::Sha256, b"abc");
        let cases = [
            (Method::Flat, "fixed:"),
            (Method::Nar, "fixed:r:"),
            (Method::Text, "text:"),
            (Method::Git, "fixed:git:"),
        ];
        for (method, before) in cases {
            let address = ContentAddress { method, hash };
            assert_eq!(address.to_string(), format!("{before}{}", hash.prefixed_nix32()));
            assert_eq!(address.to_string().parse(), Ok(address));
            assert_eq!(format!("{before}{}", hash.prefixed_base16()).parse(), Ok(address));
            assert_eq!(method.to_string().parse(), Ok(method));
        }
    }

    #[test]
    fn refuses_with_the_reason() {
        let digits = Hash::of(HashAlgorithm::Sha1, b"abc").to_nix32();
        for text in ["", "fixed", "fixed:", "fixed:r", "text:", "sha256:abc", &digits] {
            assert!(matches!(refused(text), ContentAddressError::Form { .. }), "{text}");
        }
        for text in ["fixed:sha257:00", "fixed:r:sha1:00", &format!("fixed:sha1:sha1:{digits}")] {
            assert!(matches!(refused(text), ContentAddressError::Hash { .. }), "{text}");
        }
        // A text has no other hash than the store's own.
        let sha1 = refused(&format!("text:sha1:{digits}"));
        assert!(matches!(sha1, ContentAddressError::Hash { source: HashError::OtherAlgorithm { .. }, .. }));
        assert_eq!(
            "tar".parse::<Method>().expect_err("tar").to_string(),
            "there is no content-addressing method `tar`"
        );
    }
}
