//! By which names the files of a store go: in a relocated store by two, a logical and a real one.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use store_path::StorePath;

use crate::location::Location;

/// The directories below which paths of a store are named.
pub(crate) struct Names {
    /// The logical one first.
    directories: Vec<Vec<u8>>,
    is_relocated: bool,
    /// Where the files are, without symlinks on the way.
    place: Option<PathBuf>,
}

/// A store path that a text names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) path: StorePath,
    /// Whether only the name says so that other stores on this machine use, too.
    pub(super) is_ambiguous: bool,
}

impl Names {
    pub(crate) fn of(location: &Location) -> Self {
        let logical = location.store_dir.as_str().as_bytes().to_vec();
        let mut directories = vec![logical, location.real_store.as_os_str().as_bytes().to_vec()];
        // What the kernel tells has no symlinks in it.
        let place = fs::canonicalize(&location.real_store).ok();
        directories.extend(place.iter().map(|path| path.as_os_str().as_bytes().to_vec()));
        directories.iter_mut().for_each(|directory| directory.push(b'/'));
        directories.dedup();
        Self { directories, is_relocated: location.is_relocated(), place }
    }

    /// Returns the store path that `file` is, or is in.
    pub(crate) fn path_at(&self, file: impl AsRef<[u8]>) -> Option<StorePath> {
        self.at(file.as_ref()).map(|named| named.path)
    }

    /// Returns the store path that `file`, from the root on, is or is in, by whatever way it leads to the files.
    ///
    /// A store may be reached through symlinks, and links into it may have been made by one way and be looked at by another.
    pub(super) fn path_by_any_way(&self, file: &Path) -> Option<StorePath> {
        self.path_at(file.as_os_str().as_bytes()).or_else(|| {
            file.ancestors().find_map(|inside| {
                let path = inside.file_name()?.to_str()?.parse().ok()?;
                let parent = fs::canonicalize(inside.parent()?).ok()?;
                (Some(parent) == self.place).then_some(path)
            })
        })
    }

    /// Returns the same, and how sure that is.
    pub(super) fn at(&self, file: &[u8]) -> Option<Named> {
        self.beginning(file, |byte| byte != b'/')
    }

    /// Returns every store path that is named anywhere in `text`.
    pub(super) fn all_in<'text>(&'text self, text: &'text [u8]) -> impl Iterator<Item = Named> + 'text {
        let starts = text.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(start, _)| start);
        starts.filter_map(|start| self.beginning(&text[start..], is_of_name))
    }

    /// Returns the store path whose name `text` begins with and that goes on as long as bytes belong to it.
    fn beginning(&self, text: &[u8], belongs: impl Fn(u8) -> bool) -> Option<Named> {
        self.directories.iter().enumerate().find_map(|(index, directory)| {
            let below = text.strip_prefix(directory.as_slice())?;
            let end = below.iter().position(|byte| !belongs(*byte)).unwrap_or(below.len());
            let path = std::str::from_utf8(&below[..end]).ok()?.parse().ok()?;
            Some(Named { path, is_ambiguous: index == 0 && self.is_relocated })
        })
    }
}

/// Whether a byte may be part of the name of a store path.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use test_support::Scratch;

    const BASE: &str = "q790zdjk75hm2cn42nh77pqw4gbv1b88-hello.txt";

    #[test]
    fn a_relocated_store_has_two_names() {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.join("real/nix/store")).unwrap();
        std::os::unix::fs::symlink("real", scratch.join("link")).unwrap();
        let names = Names::of(&Location::below(&scratch.join("link")));
        let real = |root: &str| scratch.join(root).join("nix/store").join(BASE).join("bin/x");
        let at = |path: &Path| names.at(path.as_os_str().as_bytes()).map(|named| named.is_ambiguous);
        assert_eq!(at(&real("link")), Some(false));
        assert_eq!(at(&real("real")), Some(false));
        assert_eq!(at(&Path::new("/nix/store").join(BASE)), Some(true));
        assert_eq!(at(&real("other")), None);
        assert_eq!(at(Path::new("/nix/store/.links")), None);
        let own = Names::of(&Location::system());
        assert!(!own.at(format!("/nix/store/{BASE}").as_bytes()).unwrap().is_ambiguous);
    }

    #[test]
    fn names_are_found_within_text() {
        let names = Names::of(&Location::system());
        let found = |text: &str| {
            names.all_in(text.as_bytes()).map(|named| named.path.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found(&format!("PATH=/bin:/nix/store/{BASE}/bin:/nix/store/{BASE},x")), [BASE, BASE]);
        assert_eq!(found(&format!("//nix/store/{BASE}\"")), [BASE]);
        assert_eq!(found("/nix/store/short-name /nix/store/ /nix/store"), [""; 0]);
    }
}
