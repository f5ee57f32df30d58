//! The readable half of a store path.

use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;

/// The second half of a store path, such as `hello-2.12.1`.
///
/// Invariant: 1 to 211 characters out of letters, digits and `+-._?=`, and nothing a shell or a file system
/// could take for `.` or `..`. So a `Name` never contains `/`, and is safe as the name of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(SmolStr);

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no name at all.
    #[error("the name is empty")]
    Empty,
    /// With its digest the name would not fit into 255 bytes, with some room for suffixes.
    #[error("the name `{}…` is longer than {} characters", start(name), Name::MAX_LEN)]
    TooLong {
        /// The name refused.
        name: String,
    },
    /// Only letters, digits and `+-._?=` may be in a name.
    #[error("the name `{name}` contains the illegal character `{}`", character.escape_default())]
    Character {
        /// The name refused.
        name: String,
        /// The first character in it that is not allowed.
        character: char,
    },
    /// `.`, `..`, and names that begin with `.-` or `..-`.
    #[error("the name `{name}` could be taken for a directory itself or its parent")]
    Dots {
        /// The name refused.
        name: String,
    },
}

/// As much of a name that is too long as tells which it is: it may be as long as a file.
fn start(name: &str) -> &str {
    let end = name.char_indices().nth(40).map_or(name.len(), |(end, _)| end);
    &name[..end]
}

impl Name {
    const MAX_LEN: usize = 211;

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns what stands before the version in a name: before the first `-` and a digit.
pub fn without_version(name: &str) -> &str {
    let is_version =
        |&(place, _): &(usize, &str)| name[place + 1..].starts_with(|char: char| char.is_ascii_digit());
    name.match_indices('-').find(is_version).map_or(name, |(place, _)| &name[..place])
}

/// Takes a name apart into a package and its version, as Nix does where it compares closures. Either may be empty.
///
/// What is in small letters after the last `-` is taken for the name of an output, and left out. The version begins after
/// the first `-` that no letter follows.
pub fn package_and_version(name: &str) -> (&str, &str) {
    let is_output = |end: &str| {
        matches!(end, "lib32" | "lib64")
            || (!end.is_empty() && end.bytes().all(|byte| byte.is_ascii_lowercase()))
    };
    let name = name.rsplit_once('-').filter(|(_, end)| is_output(end)).map_or(name, |(rest, _)| rest);
    let begins =
        |&(place, _): &(usize, &str)| name[place + 1..].starts_with(|char: char| !char.is_ascii_alphabetic());
    name.match_indices('-').find(begins).map_or((name, ""), |(place, _)| (&name[..place], &name[place + 1..]))
}

/// For each byte, whether it may be in a name.
const ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < allowed.len() {
        let character = byte as u8;
        allowed[byte] =
            character.is_ascii_alphanumeric() || matches!(character, b'+' | b'-' | b'.' | b'_' | b'?' | b'=');
        byte += 1;
    }
    allowed
};

fn looks_like_dots(name: &str) -> bool {
    let rest = name.strip_prefix("..").or_else(|| name.strip_prefix('.'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > Self::MAX_LEN {
            return Err(NameError::TooLong { name: name.to_owned() });
        }
        if let Some(at) = name.bytes().position(|byte| !ALLOWED[usize::from(byte)]) {
            // Nothing before it is longer than a byte.
            let character = name[at..].chars().next().expect("there is a byte");
            return Err(NameError::Character { name: name.to_owned(), character });
        }
        if looks_like_dots(name) {
            return Err(NameError::Dots { name: name.to_owned() });
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_versions() {
        for (name, expected) in [
            ("hello-2.10", ("hello", "2.10")),
            ("hello-2.10-dev", ("hello", "2.10")),
            ("gcc-12.3-lib64", ("gcc", "12.3")),
            ("source", ("source", "")),
            ("nixos-system-41", ("nixos-system", "41")),
            ("a-b-c", ("a-b", "")),
            ("x-1-2-rc", ("x", "1-2")),
            ("x-1-rc2", ("x", "1-rc2")),
            ("x-", ("x-", "")),
            ("x-.5", ("x", ".5")),
        ] {
            assert_eq!(package_and_version(name), expected, "{name}");
        }
    }

    #[test]
    fn accepts_all_that_nix_accepts() {
        let longest = "n".repeat(211);
        for name in ["a", "hello-2.12.1", "+-._?=", ".hidden", "..a", "...", ".a-b", "-", "x.drv", &longest] {
            assert_eq!(name.parse::<Name>().map(|name| name.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn refuses_all_else() {
        let refused = |name: &str| name.parse::<Name>().expect_err(name).to_string();
        assert_eq!(refused(""), "the name is empty");
        assert!(refused(&"n".repeat(212)).ends_with("is longer than 211 characters"));
        assert_eq!(refused("a/b"), "the name `a/b` contains the illegal character `/`");
        assert_eq!(refused("a\nb"), "the name `a\nb` contains the illegal character `\\n`");
        assert_eq!(refused("ä"), "the name `ä` contains the illegal character `\\u{e4}`");
        for name in [".", "..", ".-x", "..-x", ".-", "..-"] {
            assert!(matches!(name.parse::<Name>(), Err(NameError::Dots { .. })), "{name}");
        }
    }

    #[test]
    fn a_version_begins_with_a_digit() {
        assert_eq!(without_version("openssl-1.1.1w"), "openssl");
        assert_eq!(without_version("gtk-doc"), "gtk-doc");
        assert_eq!(without_version("gtk-doc-2-3"), "gtk-doc");
        assert_eq!(without_version("ä-1"), "ä");
    }
}
