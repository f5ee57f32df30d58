//! Roots: what is wanted, and so is everything it needs.
//!
//! A root is a symlink below `gcroots`, into the store or to a link elsewhere that points into the store. A
//! link a person uses points at the *real* file. In a relocated store that is no path that Nix knows, so
//! `gcroots/relocated` holds a second link, with the logical path, beside each of those in `gcroots/auto`.
#![expect(clippy::disallowed_methods, reason = "roots are symlinks")]

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use store_path::{Hash, HashAlgorithm, StoreDir, StorePath};

use crate::error::Error;
use crate::failpoint;
use crate::open_file::{create_dirs, lock, open_lock_file, remove_file, try_lock};
use crate::store::LocalStore;

/// What keeps a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// A symlink, or a file below `gcroots` that has the path's name.
    Link(PathBuf),
    /// A process that is about to use it; the file with its temporary roots.
    Process(PathBuf),
}

impl fmt::Display for Root {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(path) => write!(formatter, "the root `{}`", path.display()),
            Self::Process(path) => write!(formatter, "a running process (`{}`)", path.display()),
        }
    }
}

/// Keeps root writers out while it lives; those who come wait for the socket to be closed.
pub(crate) struct Collector {
    _lock: File,
    _socket: Option<UnixListener>,
}

impl LocalStore {
    /// Makes `link`, an absolute path, point at the files of `target`, and a root for as long as it does.
    ///
    /// A symlink into the store that is there already is replaced; anything else is not.
    pub fn add_root(&self, link: &Path, target: &StorePath) -> Result<(), Error> {
        self.temp_root(target)?;
        let lock_path = self.location().state_dir.join("gc.lock");
        let file = open_lock_file(&lock_path)?;
        lock(&file, &lock_path, FlockOperation::LockShared)?;
        failpoint::reach("root.locked")?;
        self.refuse_in_the_way(link)?;
        let key = root_key(link);
        if self.location().is_relocated() {
            let directory = self.location().relocated_roots();
            create_dirs(&directory)?;
            self.replace_symlink(Path::new(&self.store_dir().print(target)), &directory.join(&key))?;
            failpoint::reach("root.relocated")?;
        }
        self.replace_symlink(&self.real_path(target), link)?;
        failpoint::reach("root.link")?;
        self.replace_symlink(link, &self.location().gc_roots().join("auto").join(key))?;
        failpoint::reach("root.auto")
    }

    /// Returns the lasting roots: valid paths, each with what keeps it.
    pub fn roots(&self) -> Result<Vec<(StorePath, Root)>, Error> {
        let mut found = Vec::new();
        self.find_roots(&self.location().gc_roots(), &mut found)?;
        let valid = self.valid_among(&found.iter().map(|(path, _)| path.clone()).collect())?;
        found.retain(|(path, _)| valid.contains(path));
        found.sort();
        Ok(found)
    }

    /// Returns the lasting roots and those of running processes, whose paths need not be valid yet.
    pub(crate) fn all_roots(&self) -> Result<Vec<(StorePath, Root)>, Error> {
        let mut roots = self.roots()?;
        for file in list(&self.location().state_dir.join("temproots"))? {
            self.read_temp_roots(&file, &mut roots)?;
        }
        Ok(roots)
    }

    /// Waits for those who are writing roots, and keeps others from it. Drops what belongs to no link any more.
    pub(crate) fn lock_out_root_writers(&self) -> Result<Collector, Error> {
        let path = self.location().state_dir.join("gc.lock");
        let file = open_lock_file(&path)?;
        lock(&file, &path, FlockOperation::LockExclusive)?;
        // Nobody answers here. Who connects waits until it is closed, and tries again: soon enough.
        let socket = self.location().state_dir.join("gc-socket/socket");
        remove_file(&socket)?;
        let collector = Collector { _lock: file, _socket: UnixListener::bind(socket).ok() };
        for entry in list(&self.location().relocated_roots())? {
            if self.link_of_relocated(&entry).is_none() {
                remove_file(&entry)?;
            }
        }
        Ok(collector)
    }

    fn refuse_in_the_way(&self, link: &Path) -> Result<(), Error> {
        match fs::read_link(link) {
            Ok(target) if self.path_at(&target).is_some() || leads_to_store_path(&target) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // What the system says of something that is no symlink.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                Err(Error::file("look at", link)(error))
            }
            _ => Err(Error::InTheWay { path: link.to_owned() }),
        }
    }

    /// Replaces the symlink at `link` in one step.
    fn replace_symlink(&self, target: &Path, link: &Path) -> Result<(), Error> {
        let aside = |unique: &str| {
            let mut aside = link.as_os_str().to_owned();
            aside.push(format!(".tmp-{unique}"));
            PathBuf::from(aside)
        };
        let (aside, ()) = self
            .with_unique(aside, |aside| symlink(target, aside))
            .map_err(Error::file("make the symlink", link))?;
        let renamed = failpoint::reach("root.aside")
            .and_then(|()| fs::rename(&aside, link).map_err(Error::file("make the symlink", link)));
        renamed.inspect_err(|_| drop(fs::remove_file(&aside)))
    }

    fn find_roots(&self, path: &Path, found: &mut Vec<(StorePath, Root)>) -> Result<(), Error> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(Error::file("look at", path))?,
        };
        // Those are for Nix; what they stand for is found through the links themselves.
        if path == self.location().relocated_roots() {
            return Ok(());
        }
        if metadata.is_dir() {
            return list(path)?.iter().try_for_each(|entry| self.find_roots(entry, found));
        }
        let root = if metadata.is_symlink() { self.root_of_link(path) } else { named_root(path) };
        found.extend(root);
        Ok(())
    }

    /// Returns what the symlink at `path`, below `gcroots`, keeps.
    fn root_of_link(&self, path: &Path) -> Option<(StorePath, Root)> {
        let target = fs::read_link(path).ok()?;
        if let Some(direct) = self.path_at(&target) {
            return Some((direct, Root::Link(path.to_owned())));
        }
        let link = path.parent()?.join(target);
        let indirect = self.path_at(&fs::read_link(&link).ok()?)?;
        Some((indirect, Root::Link(link)))
    }

    /// Returns the link for which `entry` of `gcroots/relocated` was made, as long as it still points there.
    fn link_of_relocated(&self, entry: &Path) -> Option<PathBuf> {
        let wanted = self.path_at(&fs::read_link(entry).ok()?)?;
        let link = fs::read_link(self.location().gc_roots().join("auto").join(entry.file_name()?)).ok()?;
        (self.path_at(&fs::read_link(&link).ok()?)? == wanted).then_some(link)
    }

    /// Returns the store path that `file` is, or is in, by its logical or its real name.
    fn path_at(&self, file: &Path) -> Option<StorePath> {
        let bytes = file.as_os_str().as_bytes();
        let real = || StoreDir::new(self.location().real_store.to_str()?).ok()?.split(bytes).ok();
        self.store_dir().split(bytes).ok().or_else(real).map(|(path, _)| path)
    }

    fn read_temp_roots(&self, file: &Path, roots: &mut Vec<(StorePath, Root)>) -> Result<(), Error> {
        let mut opened = open_lock_file(file)?;
        if try_lock(&opened, file, FlockOperation::NonBlockingLockShared)? {
            // Its process is gone. A new one with that number may be waiting for this file: Nix learns from
            // its size that it is not the one on disk any more.
            opened.write_all(b"d").map_err(Error::file("write", file))?;
            return remove_file(file);
        }
        let text = fs::read(file).map_err(Error::file("read", file))?;
        let paths = text.split(|byte| *byte == 0).filter_map(|path| self.store_dir().parse(path).ok());
        roots.extend(paths.map(|path| (path, Root::Process(file.to_owned()))));
        Ok(())
    }
}

/// Returns whether `target` is named like a path of some store: what a build into another one left.
fn leads_to_store_path(target: &Path) -> bool {
    let name = || target.file_name()?.to_str()?.parse::<StorePath>().ok();
    target.parent().is_some_and(|parent| parent.ends_with("nix/store")) && name().is_some()
}

/// Returns what a regular file below `gcroots` keeps: the path it is named like.
fn named_root(path: &Path) -> Option<(StorePath, Root)> {
    let name = path.file_name()?.to_str()?.parse().ok()?;
    Some((name, Root::Link(path.to_owned())))
}

/// Returns the name below `gcroots/auto` that Nix gives the root `link`.
fn root_key(link: &Path) -> String {
    Hash::of(HashAlgorithm::Sha1, link.as_os_str().as_bytes()).to_nix32()
}

/// Lists a directory that may not be there, in order.
fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(Error::file("list", directory))?,
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(Error::file("list", directory))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Location;
    use crate::store::Options;
    use crate::store::tests::{placed, scratch_store, some_path};
    use test_support::Scratch;

    #[test]
    fn a_link_is_a_root_while_it_points_there() {
        let (scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[]), placed(&store, "b", &[])]).unwrap();
        let (link, [a, b]) = (scratch.join("result"), ["a", "b"].map(some_path));
        store.add_root(&link, &a).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), store.real_path(&a));
        let has_link = |wanted: &StorePath| {
            store
                .roots()
                .unwrap()
                .iter()
                .any(|(path, root)| path == wanted && *root == Root::Link(link.clone()))
        };
        assert!(has_link(&a));
        store.add_root(&link, &b).unwrap();
        assert!(has_link(&b) && !has_link(&a));
        fs::remove_file(&link).unwrap();
        assert!(store.roots().unwrap().is_empty());
        drop(store.lock_out_root_writers().unwrap());
        assert_eq!(list(&store.location().gc_roots().join("relocated")).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_link_of_another_store_is_replaced() {
        let ((scratch, store), (_other_scratch, other)) = (scratch_store(), scratch_store());
        for store in [&store, &other] {
            store.register(&[placed(store, "a", &[])]).unwrap();
            store.add_root(&scratch.join("result"), &some_path("a")).unwrap();
        }
        assert_eq!(fs::read_link(scratch.join("result")).unwrap(), other.real_path(&some_path("a")));
    }

    #[test]
    fn nothing_else_is_replaced_by_a_root() {
        let (scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        let (file, link) = (scratch.join("file"), scratch.join("link"));
        fs::write(&file, "precious").unwrap();
        symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let error = store.add_root(path, &some_path("a")).unwrap_err();
            assert!(matches!(error, Error::InTheWay { .. }), "{error}");
        }
        let error = store.add_root(&scratch.join("absent/link"), &some_path("a")).unwrap_err();
        assert!(error.to_string().contains("absent/link"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }

    #[test]
    fn every_kind_that_nix_knows_is_found() {
        let scratch = Scratch::new();
        let store = LocalStore::open(Location::below(scratch.path()), Options::default()).unwrap();
        store
            .register(&[placed(&store, "a", &[]), placed(&store, "b", &[]), placed(&store, "c", &[])])
            .unwrap();
        let [a, b, c] = ["a", "b", "c"].map(some_path);
        let roots = store.location().gc_roots();
        symlink(format!("/nix/store/{a}/bin/x"), roots.join("direct")).unwrap();
        fs::write(roots.join(b.to_string()), "").unwrap();
        let profile = store.location().state_dir.join("profiles/default");
        symlink(format!("/nix/store/{c}"), &profile).unwrap();
        symlink(format!("/nix/store/{}", some_path("invalid")), roots.join("invalid")).unwrap();
        symlink("/nowhere", roots.join("dangling")).unwrap();
        symlink(&profile, roots.join("auto/indirect")).unwrap();
        let expected = [
            (a, Root::Link(roots.join("direct"))),
            (b.clone(), Root::Link(roots.join(b.to_string()))),
            (c, Root::Link(profile)),
        ];
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(store.roots().unwrap(), expected);
    }
}
