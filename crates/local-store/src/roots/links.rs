//! Roots that are symlinks, or files with the name of a path: below `gcroots`, and where links there lead to.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use store_path::StorePath;

use super::kind::Root;
use super::list;
use super::names::Names;
use crate::error::Error;
use crate::location::Location;
use crate::open_file::remove_file;

/// The roots that are links, and the links of which nobody knows what they keep.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) roots: Vec<(StorePath, Root)>,
    /// Each link that cannot be read, and where it is registered.
    pub(super) unreadable: Vec<(PathBuf, PathBuf)>,
}

/// What became of the symlink that an entry below `gcroots` leads to.
enum Target {
    Path(StorePath),
    /// It is no root (any more).
    Nothing,
    /// It is not there.
    Gone,
    Unreadable,
}

/// A walk over `gcroots` and the profiles.
pub(super) struct Walk<'store> {
    location: &'store Location,
    names: Names,
    found: Links,
}

impl<'store> Walk<'store> {
    pub(super) fn new(location: &'store Location) -> Self {
        Self { location, names: Names::of(location), found: Links::default() }
    }

    /// Finds every root that is a link or a file; whether what it keeps is valid is not looked at.
    pub(super) fn all(mut self) -> Result<Links, Error> {
        self.visit(&self.location.gc_roots())?;
        // The link to it below `gcroots` is one to a directory, which is not followed.
        self.visit(&self.location.state_dir.join("profiles"))?;
        Ok(self.found)
    }

    /// Removes the entries of automatic roots whose links are gone, and what stands for those in relocated stores.
    ///
    /// Nobody may make automatic roots meanwhile.
    pub(super) fn drop_stale(&self) -> Result<(), Error> {
        for entry in list(&self.location.gc_roots().join("auto"))? {
            if let Ok(link) = fs::read_link(&entry)
                && matches!(self.at_link(&link), Target::Gone)
            {
                remove_file(&entry)?;
            }
        }
        for entry in list(&self.location.relocated_roots())? {
            if !self.stands_for_link(&entry) {
                remove_file(&entry)?;
            }
        }
        Ok(())
    }

    fn visit(&mut self, path: &Path) -> Result<(), Error> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if is_gone(&error) => return Ok(()),
            result => result.map_err(Error::file("look at", path))?,
        };
        // Those are for Nix; what they stand for is found through the links themselves.
        if path == self.location.relocated_roots() {
            return Ok(());
        }
        if metadata.is_dir() {
            return list(path)?.iter().try_for_each(|entry| self.visit(entry));
        }
        if metadata.is_symlink() {
            return self.visit_link(path);
        }
        let named = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        self.found.roots.extend(named.map(|named| (named, Root::Permanent(path.to_owned()))));
        Ok(())
    }

    /// Notes what the symlink at `entry` keeps: by itself, or by the symlink that it leads to.
    fn visit_link(&mut self, entry: &Path) -> Result<(), Error> {
        let target = match fs::read_link(entry) {
            Err(error) if is_gone(&error) => return Ok(()),
            result => result.map_err(Error::file("read the link", entry))?,
        };
        if let Some(direct) = self.names.path_by_any_way(&beside(entry, &target)) {
            self.note(direct, entry);
            return Ok(());
        }
        let link = beside(entry, &target);
        match self.at_link(&link) {
            Target::Path(path) => self.note(path, &link),
            Target::Unreadable => match self.logical_twin(entry) {
                Some(path) => self.note(path, &link),
                None => self.found.unreadable.push((link, entry.to_owned())),
            },
            Target::Nothing | Target::Gone => {}
        }
        Ok(())
    }

    fn note(&mut self, path: StorePath, link: &Path) {
        let is_permanent = link.starts_with(self.location.gc_roots());
        self.found.roots.push((path, Root::of_link(link.to_owned(), is_permanent)));
    }

    fn at_link(&self, link: &Path) -> Target {
        match fs::read_link(link) {
            Ok(target) => {
                let path = self.names.path_by_any_way(&beside(link, &target));
                path.map_or(Target::Nothing, Target::Path)
            }
            Err(error) if is_gone(&error) => Target::Gone,
            // What the system says of something that is no symlink.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Target::Nothing,
            Err(_) => Target::Unreadable,
        }
    }

    /// Returns what `gcroots/relocated` says that an automatic root keeps.
    fn logical_twin(&self, entry: &Path) -> Option<StorePath> {
        let twin = self.location.relocated_roots().join(entry.file_name()?);
        self.names.path_at(fs::read_link(twin).ok()?.as_os_str().as_bytes())
    }

    /// Whether the link for which `entry` of `gcroots/relocated` was made still points where that does.
    fn stands_for_link(&self, entry: &Path) -> bool {
        let auto = entry.file_name().map(|name| self.location.gc_roots().join("auto").join(name));
        let Some(link) = auto.and_then(|auto| fs::read_link(auto).ok()) else { return false };
        match self.at_link(&link) {
            Target::Path(path) => self.logical_twin(entry) == Some(path),
            Target::Nothing | Target::Gone => false,
            Target::Unreadable => true,
        }
    }
}

/// Returns where a symlink leads that may be relative.
fn beside(link: &Path, target: &Path) -> PathBuf {
    link.parent().unwrap_or(Path::new("/")).join(target)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
