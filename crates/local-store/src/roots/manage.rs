//! Roots that people make and give up by name.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use store_path::StorePath;

use super::kind::Root;
use super::links::Walk;
use super::root_key;
use crate::error::Error;
use crate::open_file::{create_dirs, remove_file};
use crate::store::LocalStore;

/// What is below `gcroots` for other purposes.
const TAKEN: [&str; 3] = ["auto", "relocated", "profiles"];

impl LocalStore {
    /// Makes `target` a root until somebody gives it up, by a symlink called `name` below `gcroots`, which is returned.
    ///
    /// A symlink into the store that is there already is replaced; anything else is not.
    ///
    /// # Errors
    /// [`Error::RootName`] if `name` leads out of there, or into what is below `gcroots` for other purposes.
    pub fn add_permanent_root(&self, name: &Path, target: &StorePath) -> Result<PathBuf, Error> {
        if !is_name(name) {
            return Err(Error::RootName { name: name.to_owned() });
        }
        let _held = self.keep_valid(target)?;
        let link = self.location().permanent_root(name);
        link.parent().map_or(Ok(()), create_dirs)?;
        self.refuse_in_the_way(&link)?;
        // The logical name, which Nix knows in a relocated store as well.
        self.replace_symlink(Path::new(&self.store_dir().print(target)), &link)?;
        self.sync_roots(link.parent().unwrap_or(&link))?;
        Ok(link)
    }

    /// Gives up the root `link`, an absolute path: removes the symlink, and what stands for it below `gcroots`.
    ///
    /// # Errors
    /// [`Error::CurrentGeneration`] if a profile would lose the generation that is in use, [`Error::NoRoot`] if it is none.
    pub fn remove_root(&self, link: &Path) -> Result<(), Error> {
        let roots = Walk::new(self.location()).all()?.roots;
        let is_meant = |root: &Root| root.link().is_some_and(|own| is_same(own, link));
        match roots.into_iter().find(|(_, root)| is_meant(root)) {
            Some((_, Root::Generation { link, profile, is_current: true, .. })) => {
                Err(Error::CurrentGeneration { link, profile })
            }
            Some((path, root)) => {
                self.note_used(&BTreeSet::from([path]));
                self.remove_link(root.link().unwrap_or(link))
            }
            None if self.has_entry(link) => self.remove_entries(link),
            None => Err(Error::NoRoot { path: link.to_owned() }),
        }
    }

    /// Removes a link, and what stands for it below `gcroots`.
    pub(super) fn remove_link(&self, link: &Path) -> Result<(), Error> {
        remove_file(link)?;
        self.remove_entries(link)
    }

    fn has_entry(&self, link: &Path) -> bool {
        // Of a link to something else nobody has asked to keep anything.
        let entry = self.location().gc_roots().join("auto").join(root_key(link));
        entry.symlink_metadata().is_ok() && link.symlink_metadata().is_err()
    }

    /// Removes what stands for an automatic root.
    fn remove_entries(&self, link: &Path) -> Result<(), Error> {
        let key = root_key(link);
        remove_file(&self.location().gc_roots().join("auto").join(&key))?;
        remove_file(&self.location().relocated_roots().join(key))
    }
}

fn is_name(name: &Path) -> bool {
    let mut components = name.components();
    let first = components.next();
    let is_free = |first: &std::ffi::OsStr| !TAKEN.iter().any(|taken| first == *taken);
    matches!(first, Some(Component::Normal(first)) if is_free(first))
        && components.all(|component| matches!(component, Component::Normal(_)))
}

/// Whether two paths name the same link, by whichever way to its directory.
fn is_same(one: &Path, other: &Path) -> bool {
    let canonical = |path: &Path| Some((path.parent()?.canonicalize().ok()?, path.file_name()?.to_owned()));
    one == other
        || (one.file_name() == other.file_name()
            && canonical(one).is_some_and(|one| canonical(other) == Some(one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{placed, scratch_store, some_path};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_permanent_root_has_a_name_of_its_own() {
        let (_scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        for name in ["auto/x", "relocated/x", "profiles", "../x", "/x", "", "a/../../b", "."] {
            let error = store.add_permanent_root(Path::new(name), &some_path("a")).unwrap_err();
            assert!(matches!(error, Error::RootName { .. }), "{name}: {error}");
        }
        let link = store.add_permanent_root(Path::new("mine/a"), &some_path("a")).unwrap();
        assert_eq!(store.lasting_roots().unwrap().roots, [(some_path("a"), Root::Permanent(link.clone()))]);
        store.remove_root(&link).unwrap();
        assert!(matches!(store.remove_root(&link).unwrap_err(), Error::NoRoot { .. }));
    }

    #[test]
    fn a_root_that_is_given_up_leaves_nothing() {
        let (scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        fs::create_dir(scratch.join("directory")).unwrap();
        symlink("directory", scratch.join("way")).unwrap();
        let add = |name: &str| store.add_root(&scratch.join(name), &some_path("a")).unwrap();
        ["one", "directory/two", "three"].into_iter().for_each(add);
        fs::remove_file(scratch.join("three")).unwrap();
        ["one", "way/two", "three"]
            .into_iter()
            .for_each(|name| store.remove_root(&scratch.join(name)).unwrap());
        assert!(!scratch.join("directory/two").is_symlink());
        for directory in ["auto", "relocated"] {
            let left = fs::read_dir(store.location().gc_roots().join(directory)).unwrap();
            assert_eq!(left.count(), 0, "{directory}");
        }
        symlink(store.real_path(&some_path("a")), scratch.join("no-root")).unwrap();
        assert!(matches!(store.remove_root(&scratch.join("no-root")).unwrap_err(), Error::NoRoot { .. }));
        assert!(scratch.join("no-root").is_symlink());
    }

    #[test]
    fn a_profile_keeps_the_generation_in_use() {
        let (_scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        let profiles = store.location().state_dir.join("profiles");
        for number in [1, 2] {
            let link = profiles.join(format!("p-{number}-link"));
            symlink(store.store_dir().print(&some_path("a")), link).unwrap();
        }
        symlink("p-2-link", profiles.join("p")).unwrap();
        let error = store.remove_root(&profiles.join("p-2-link")).unwrap_err();
        assert!(matches!(error, Error::CurrentGeneration { .. }), "{error}");
        store.remove_root(&profiles.join("p-1-link")).unwrap();
        assert_eq!(store.lasting_roots().unwrap().roots.len(), 1);
    }
}
