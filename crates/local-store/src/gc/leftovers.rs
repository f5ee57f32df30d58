//! What is in the store directory and is not valid: what somebody makes right now, and what was left half-made.
//!
//! ```text
//! <digest>-<name>                          a path that never became valid
//! <digest>-<name>.lock                     the lock of one; also <digest>-<name>.drv.<output>.lock
//! <digest>-<name>.drv.chroot               where a build puts its outputs, here and in Nix
//! <digest>-<name>.check, .drv, …           what else begins like a path
//! .tmp-<process>-<n>, .tmp-link-<process>-<n>, tmp-…, add-…, nix-…      what a process makes aside
//! ```
//!
//! What looks like none of these is not of a store, and stays.
#![expect(clippy::disallowed_methods, reason = "looks at left-overs on disk")]

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use store_db::Graph;
use store_path::{Digest, StorePath};

use crate::error::Error;
use crate::open_file::try_lock;
use crate::sweep::{Users, remove_scratch, remove_unheld};

/// Something in the store directory that is not valid, and is nobody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leftover {
    pub(super) name: String,
    /// What its name begins with; none for what was made aside.
    pub(super) digest: Option<Digest>,
}

/// What processes put before their number, here and in any Nix.
const ASIDE: &[&str] = &[".tmp-link-", ".tmp-", "tmp-", "add-", "nix-"];

/// Returns the names in the store directory that are text, sorted.
pub(super) fn names(real_store: &Path) -> Result<Vec<String>, Error> {
    let listed = || -> io::Result<Vec<String>> {
        let entries = fs::read_dir(real_store)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        entries.filter_map(Result::transpose).collect()
    };
    let mut names = listed().map_err(Error::file("list", real_store))?;
    names.sort_unstable();
    Ok(names)
}

/// Returns which digests somebody has locked a path of.
pub(super) fn locked(real_store: &Path, names: &[String]) -> Vec<Digest> {
    let locks = names.iter().filter(|name| name.ends_with(".lock"));
    let held = locks.filter(|name| !is_free(&real_store.join(name)));
    held.filter_map(|name| Some(*name.parse::<StorePath>().ok()?.digest())).collect()
}

/// Returns those of `names` that are not valid in `graph`, and are nobody's.
pub(super) fn left(
    real_store: &Path,
    names: Vec<String>,
    graph: &Graph,
    wanted: &HashSet<Digest>,
    users: &mut Users,
) -> Vec<Leftover> {
    let leftovers = names.into_iter().filter_map(|name| classify(name, graph, users));
    leftovers
        .filter(|one| !one.digest.is_some_and(|digest| wanted.contains(&digest)))
        .filter(|one| !one.may_be_locked() || is_free(&real_store.join(&one.name)))
        .collect()
}

fn classify(name: String, graph: &Graph, users: &mut Users) -> Option<Leftover> {
    match name.parse::<StorePath>() {
        Ok(path) if graph.find(&path).is_some() => None,
        Ok(path) => Some(Leftover { digest: Some(*path.digest()), name }),
        Err(_) => maker(&name)
            .is_some_and(|maker| users.is_nobody(maker))
            .then_some(Leftover { name, digest: None }),
    }
}

/// Returns the number of the process that makes something aside.
fn maker(name: &str) -> Option<u32> {
    let rest = ASIDE.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    rest.split_once('-')?.0.parse().ok()
}

/// Whether nobody holds a lock on it. What cannot be looked at may be somebody's.
fn is_free(path: &Path) -> bool {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    match opened.map_err(|error| Errno::from_io_error(&error)) {
        // It is gone, a symlink or a socket, or what this user may not even read: no lock of anybody's.
        Err(Some(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ACCESS)) => true,
        Err(_) => false,
        Ok(file) => try_lock(&file, path, FlockOperation::NonBlockingLockShared).unwrap_or(false),
    }
}

impl Leftover {
    fn is_lock(&self) -> bool {
        self.name.ends_with(".lock")
    }

    fn is_scratch(&self) -> bool {
        self.name.ends_with(".chroot")
    }

    fn may_be_locked(&self) -> bool {
        self.is_lock() || self.is_scratch() || self.digest.is_none()
    }

    /// Removes it if it has a way of its own to be removed. `None`: it is a tree like any other.
    pub(super) fn remove_in_its_way(&self, path: &Path) -> Option<Result<(), Error>> {
        if self.is_lock() && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            remove_unheld(path);
            return Some(Ok(()));
        }
        (self.is_scratch() && path.is_dir()).then(|| remove_scratch(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch_store;

    #[test]
    fn only_what_a_store_has_made_is_left_over() {
        let (_scratch, store) = scratch_store();
        let graph = store.with_database(|database| Ok(database.graph(store_db::Keep::default())?)).unwrap();
        let mut users = Users::of(store.location());
        let mut is_left = |name: &str| classify(name.to_owned(), &graph, &mut users).is_some();
        let digest = "q790zdjk75hm2cn42nh77pqw4gbv1b88";
        let living = std::process::id();
        for name in ["-x", "-x.lock", "-x.drv.out.lock", "-12-3.chroot", "-x.check"] {
            assert!(is_left(&format!("{digest}{name}")), "{name}");
        }
        // No process has this number: the kernel's limit is 2^22.
        for name in [".tmp-2147483647-1", ".tmp-link-2147483647-77", "add-2147483647-0"] {
            assert!(is_left(name), "{name}");
        }
        for name in [".links", "lost+found", "notes", ".tmp-x", "README", &format!(".tmp-{living}-0")] {
            assert!(!is_left(name), "{name}");
        }
    }
}
