//! What is changed on purpose where a build is run once more to be compared.

use std::collections::BTreeSet;
use std::fmt;

use crate::error::ValueError;

/// Something that ought not to matter to a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variation {
    /// The name of the host.
    HostName,
    /// How many processors it may use.
    Cores,
    /// When it is built.
    Time,
    /// The order of the entries of directories.
    Order,
    /// The user and the group that it is.
    Uid,
    /// Where its build directory is.
    BuildPath,
    /// Language, character set and time zone.
    Locale,
    /// The version that the kernel tells of itself.
    Kernel,
}

/// Some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variations(BTreeSet<Variation>);

impl Variation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::HostName,
        Self::Cores,
        Self::Time,
        Self::Order,
        Self::Uid,
        Self::BuildPath,
        Self::Locale,
        Self::Kernel,
    ];

    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::HostName => "hostname",
            Self::Cores => "cores",
            Self::Time => "time",
            Self::Order => "order",
            Self::Uid => "uid",
            Self::BuildPath => "build-path",
            Self::Locale => "locale",
            Self::Kernel => "kernel",
        }
    }
}

impl Variations {
    /// Just that one.
    pub fn only(variation: Variation) -> Self {
        Self(BTreeSet::from([variation]))
    }

    /// Whether it is among them.
    pub fn has(&self, variation: Variation) -> bool {
        self.0.contains(&variation)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns them in their order.
    pub fn iter(&self) -> impl Iterator<Item = Variation> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        let words = text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
        let mut variations = BTreeSet::new();
        for word in words {
            match Variation::ALL.into_iter().find(|variation| variation.word() == word) {
                Some(variation) => drop(variations.insert(variation)),
                None if word == "all" => variations.extend(Variation::ALL),
                None => {
                    return Err(ValueError::NotAChoice {
                        expected: "`all`, or some of `hostname`, `cores`, `time`, `order`, `uid`, `build-path`, \
                                   `locale` and `kernel`",
                    });
                }
            }
        }
        Ok(Self(variations))
    }
}

impl FromIterator<Variation> for Variations {
    fn from_iter<T: IntoIterator<Item = Variation>>(variations: T) -> Self {
        Self(variations.into_iter().collect())
    }
}

impl fmt::Display for Variations {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Variation::word).collect();
        out.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again() {
        let some = Variations::read("kernel,hostname  order").unwrap();
        assert_eq!(some.to_string(), "hostname order kernel");
        assert_eq!(Variations::read(&some.to_string()), Ok(some));
        assert_eq!(Variations::read("all").unwrap().iter().collect::<Vec<_>>(), Variation::ALL);
        assert!(Variations::read("").unwrap().is_empty());
        assert!(Variations::read("hostnames").is_err());
    }
}
