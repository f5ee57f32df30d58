//! The directory whose children store paths are.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::{StorePath, StorePathError};

/// The directory that holds every store path, as derivations and database rows spell it.
///
/// It takes part in every digest: the same contents have other names below another directory. Where the files
/// of a relocated store really are is `local-store`'s to know.
///
/// Invariant: absolute, in canonical form, and not `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreDir(Arc<str>);

/// Why a text is not a [`StoreDir`], or not the full path of something below one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreDirError {
    /// Not absolute, not canonical, or the root itself.
    #[error("`{text}` is not an absolute path in canonical form, below `/`")]
    Directory {
        /// The text refused.
        text: String,
    },
    /// The path does not begin with the store directory.
    #[error("`{path}` is not below the store directory `{store_dir}`")]
    Elsewhere {
        /// The path refused.
        path: String,
        /// The store directory it was held against.
        store_dir: StoreDir,
    },
    /// The path goes on behind the store path.
    #[error("`{path}` is below a store path, not a store path itself")]
    Deeper {
        /// The path refused.
        path: String,
    },
    /// The first component below the store directory is not the name of a store path.
    #[error("cannot read the path `{path}`")]
    StorePath {
        /// The path refused.
        path: String,
        /// What is wrong with its first component.
        source: StorePathError,
    },
}

impl StoreDir {
    /// Takes a directory, which has to be absolute and canonical.
    pub fn new(text: &str) -> Result<Self, StoreDirError> {
        let is_proper = |component: &str| !matches!(component, "" | "." | "..") && !component.contains('\0');
        match text.strip_prefix('/') {
            Some(rest) if rest.split('/').all(is_proper) => Ok(Self(text.into())),
            _ => Err(StoreDirError::Directory { text: text.to_owned() }),
        }
    }

    /// Returns the directory as text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the full path of `path`.
    pub fn print(&self, path: &StorePath) -> String {
        let mut text = String::new();
        self.print_to(path, &mut text);
        text
    }

    /// Puts the full path of `path` at the end of `text`; quicker than formatting, as derivations are full of paths.
    pub(crate) fn print_to(&self, path: &StorePath, text: &mut String) {
        let digest = path.digest().text();
        let digest = std::str::from_utf8(&digest).expect("the alphabet is ASCII");
        let parts = [self.as_str(), "/", digest, "-", path.name().as_str()];
        text.reserve(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| text.push_str(part));
    }

    /// Reads the full path of a direct child.
    pub fn parse(&self, full: impl AsRef<[u8]>) -> Result<StorePath, StoreDirError> {
        let full = full.as_ref();
        match self.split(full)? {
            (path, b"") => Ok(path),
            _ => Err(StoreDirError::Deeper { path: lossy(full) }),
        }
    }

    /// Reads the full path of a direct child or of anything below it.
    ///
    /// What follows the child is handed back as it is: empty, or beginning with `/`.
    pub fn split<'path>(&self, path: &'path [u8]) -> Result<(StorePath, &'path [u8]), StoreDirError> {
        let below = path
            .strip_prefix(self.as_str().as_bytes())
            .and_then(|rest| rest.strip_prefix(b"/"))
            .ok_or_else(|| StoreDirError::Elsewhere { path: lossy(path), store_dir: self.clone() })?;
        let end = below.iter().position(|byte| *byte == b'/').unwrap_or(below.len());
        let (base, rest) = below.split_at(end);
        // Bytes that are no text become characters that no name may contain.
        let text = str::from_utf8(base).map_or_else(|_| String::from_utf8_lossy(base), Cow::Borrowed);
        let store_path =
            text.parse().map_err(|source| StoreDirError::StorePath { path: lossy(path), source })?;
        Ok((store_path, rest))
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

impl Default for StoreDir {
    /// `/nix/store`, where Nix has it.
    fn default() -> Self {
        Self("/nix/store".into())
    }
}

impl fmt::Display for StoreDir {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "q790zdjk75hm2cn42nh77pqw4gbv1b88-hello.txt";

    #[test]
    fn takes_canonical_directories_only() {
        for text in ["/nix/store", "/s", "/home/a b/.store"] {
            assert_eq!(StoreDir::new(text).map(|dir| dir.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["", "/", "nix/store", "/nix/store/", "//nix/store", "/nix/./store", "/nix/../store", "/a\0"]
        {
            assert!(matches!(StoreDir::new(text), Err(StoreDirError::Directory { .. })), "{text}");
        }
    }

    #[test]
    fn reads_what_it_prints() {
        let store_dir = StoreDir::new("/other/store").unwrap();
        let path: StorePath = BASE.parse().unwrap();
        assert_eq!(store_dir.print(&path), format!("/other/store/{BASE}"));
        assert_eq!(store_dir.parse(store_dir.print(&path)), Ok(path));
    }

    #[test]
    fn tells_children_from_what_is_below_them() {
        let store_dir = StoreDir::default();
        let path: StorePath = BASE.parse().unwrap();
        for rest in ["", "/", "/bin/../x"] {
            let full = format!("/nix/store/{BASE}{rest}");
            assert_eq!(store_dir.split(full.as_bytes()), Ok((path.clone(), rest.as_bytes())));
        }
        let deeper = store_dir.parse(format!("/nix/store/{BASE}/bin"));
        assert!(matches!(deeper, Err(StoreDirError::Deeper { .. })));
        for elsewhere in ["/nix/store", "/nix/storeage/x", "/other/store/x", "", BASE] {
            assert!(
                matches!(store_dir.parse(elsewhere), Err(StoreDirError::Elsewhere { .. })),
                "{elsewhere}"
            );
        }
        for wrong in ["/nix/store/", "/nix/store//x", "/nix/store/.links/x"] {
            assert!(matches!(store_dir.parse(wrong), Err(StoreDirError::StorePath { .. })), "{wrong}");
        }
        let not_text = [format!("/nix/store/{BASE}").as_bytes(), b"\xff"].concat();
        assert!(matches!(store_dir.parse(not_text), Err(StoreDirError::StorePath { .. })));
    }
}
