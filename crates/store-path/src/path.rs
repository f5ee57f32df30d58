//! One path in the store, wherever the store is.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, DigestError, Name, NameError};

/// A direct child of the store directory, without the directory; see [`crate::StoreDir`] for the full path.
///
/// Invariant: both halves were parsed, so a `StorePath` never contains `/`. The order is that of the printed
/// text, byte by byte, which the formats of Nix rely on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath {
    digest: Digest,
    name: Name,
}

/// Why a text is not a [`StorePath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorePathError {
    /// There is no `-` where the digest ends.
    #[error("`{text}` does not have the form of `<digest>-<name>`")]
    Form {
        /// The text refused.
        text: String,
    },
    /// What stands before the `-` is not a digest.
    #[error("cannot read the store path `{text}`")]
    Digest {
        /// The text refused.
        text: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
    /// What stands after the `-` is not a name.
    #[error("cannot read the store path `{text}`")]
    Name {
        /// The text refused.
        text: String,
        /// What is wrong with the name.
        source: NameError,
    },
}

impl StorePath {
    /// Puts the two halves together.
    pub fn from_parts(digest: Digest, name: Name) -> Self {
        Self { digest, name }
    }

    /// Returns the first half.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the second half.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether this is the name of a derivation's own file.
    pub fn is_derivation(&self) -> bool {
        self.name.as_str().ends_with(".drv")
    }
}

impl FromStr for StorePath {
    type Err = StorePathError;

    fn from_str(base: &str) -> Result<Self, StorePathError> {
        let text = || base.to_owned();
        let (digest, name) = base
            .split_at_checked(Digest::TEXT_LEN)
            .and_then(|(digest, rest)| Some((digest, rest.strip_prefix('-')?)))
            .ok_or_else(|| StorePathError::Form { text: text() })?;
        let digest = digest.parse().map_err(|source| StorePathError::Digest { text: text(), source })?;
        let name = name.parse().map_err(|source| StorePathError::Name { text: text(), source })?;
        Ok(Self { digest, name })
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.digest, self.name)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StorePath({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    /// Anybody can write a file that names thousands of those.
    #[test]
    fn paths_of_one_digest_do_not_all_have_one_hash() {
        let hash = |name: &str| {
            let path: StorePath = format!("{}-{name}", "0".repeat(32)).parse().unwrap();
            BuildHasherDefault::<DefaultHasher>::default().hash_one(path)
        };
        assert_ne!(hash("a"), hash("b"));
    }

    #[test]
    fn refuses_with_the_whole_text() {
        let refused = |text: &str| text.parse::<StorePath>().expect_err(text);
        let form = refused("hello");
        assert_eq!(form.to_string(), "`hello` does not have the form of `<digest>-<name>`");
        for text in ["", "-", "q790zdjk75hm2cn42nh77pqw4gbv1b88", "q790zdjk75hm2cn42nh77pqw4gbv1b8-x"] {
            assert!(matches!(refused(text), StorePathError::Form { .. }), "{text}");
        }
        let digest = refused("e790zdjk75hm2cn42nh77pqw4gbv1b88-x");
        assert!(matches!(digest, StorePathError::Digest { .. }));
        let name = refused("q790zdjk75hm2cn42nh77pqw4gbv1b88-");
        assert!(matches!(name, StorePathError::Name { source: NameError::Empty, .. }));
        let name = refused("q790zdjk75hm2cn42nh77pqw4gbv1b88-a/b");
        assert!(matches!(name, StorePathError::Name { source: NameError::Character { .. }, .. }));
        // A character of several bytes across the place where the digest ends.
        refused("q790zdjk75hm2cn42nh77pqw4gbv1b8ä-x");
    }

    #[test]
    fn knows_derivations() {
        let is_derivation = |name: &str| {
            format!("q790zdjk75hm2cn42nh77pqw4gbv1b88-{name}").parse::<StorePath>().unwrap().is_derivation()
        };
        assert!(is_derivation("hello.drv"));
        assert!(!is_derivation("hello.drv.chroot"));
        assert!(!is_derivation("hello"));
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_text(
            left in "[0-9a-df-np-sv-z]{2}[0-9]{30}-[a-c+._?=-]{1,3}",
            right in "[0-9a-df-np-sv-z]{2}[0-9]{30}-[a-c+._?=-]{1,3}",
        ) {
            if let (Ok(first), Ok(second)) = (left.parse::<StorePath>(), right.parse::<StorePath>()) {
                prop_assert_eq!(first.cmp(&second), left.cmp(&right));
                prop_assert_eq!(first.to_string(), left);
            }
        }
    }
}
