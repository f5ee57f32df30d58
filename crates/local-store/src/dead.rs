//! What processes that have died had in hand: locks, trees that are not valid, files that were to be renamed.
//!
//! Whoever makes or deletes a path writes it into the file of its temporary roots first, which it keeps locked. So the
//! next start knows from the files that nobody locks any more where to look, and need not look at anything else. What
//! somebody alive names too is left to that one.
#![expect(clippy::disallowed_methods, reason = "removes what is left on disk")]

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::process::Pid;
use store_path::StorePath;

use crate::delete::remove_tree;
use crate::error::Error;
use crate::failpoint;
use crate::lock::remove_stale;
use crate::open_file::{open_lock_file, remove_file, try_lock};
use crate::store::LocalStore;
use crate::sweep::{Users, claim_file, list, owner_in};

/// The temporary roots of a process that has died. Nobody else has its lock.
struct Dead {
    path: PathBuf,
    file: File,
    process: Pid,
}

/// What others say in their temporary roots, or may say.
#[derive(Default)]
struct Living {
    named: BTreeSet<StorePath>,
    processes: HashSet<Pid>,
}

impl LocalStore {
    /// Removes what processes have left that have died, and their temporary roots.
    ///
    /// What cannot be removed now is in the way of nobody; their file stays, so that it is tried again.
    pub(crate) fn sweep_dead(&self, users: &mut Users) -> Result<(), Error> {
        let dead = self.dead()?;
        if dead.is_empty() {
            return Ok(());
        }
        // Nobody begins to make a path meanwhile. Whoever collects garbage now finds all of this, too.
        let path = self.location().state_dir.join("gc.lock");
        let collector = open_lock_file(&path)?;
        if !try_lock(&collector, &path, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(());
        }
        // What cannot be told to be nobody's is left alone.
        let Ok(living) = self.living(&dead) else { return Ok(()) };
        let entries = list(&self.location().real_store)?;
        for mut dead in dead {
            let named = self.named_in(&dead.path)?;
            locks_on(&named, &entries).for_each(|lock| remove_stale(lock));
            // Another process may have the number by now, here or in another container, and be one that makes something aside.
            let names = match users.may_have(dead.process) || living.processes.contains(&dead.process) {
                true => Ok(()),
                false => self.sweep_names_of(&dead.process.to_string(), &entries),
            };
            let swept = names.and_then(|()| self.sweep_paths(&named, &living.named));
            let swept = swept.and_then(|()| self.settle_linked(&named));
            if swept.is_ok() && fs::remove_file(&dead.path).is_ok() {
                // A new process with that number may be waiting for this file.
                let _ = dead.file.write_all(b"d");
            }
            failpoint::reach("dead.swept")?;
        }
        Ok(())
    }

    fn dead(&self) -> Result<Vec<Dead>, Error> {
        let mut dead = Vec::new();
        for path in list(&self.location().state_dir.join("temproots"))? {
            let Some(process) = owner_in(&path) else { continue };
            // Others may have the number by now, and other containers count processes otherwise: the lock decides.
            if let Some(file) = claim_file(&path) {
                dead.push(Dead { file, path, process });
            }
        }
        Ok(dead)
    }

    fn living(&self, dead: &[Dead]) -> Result<Living, Error> {
        let mut living = Living::default();
        for path in list(&self.location().state_dir.join("temproots"))? {
            if dead.iter().all(|one| one.path != path) {
                living.named.extend(self.named_in(&path)?);
                living.processes.extend(owner_in(&path));
            }
        }
        Ok(living)
    }

    /// Returns the paths in a file of temporary roots. One that is gone meanwhile has none.
    fn named_in(&self, file: &Path) -> Result<BTreeSet<StorePath>, Error> {
        let text = match fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            result => result.map_err(Error::file("read", file))?,
        };
        Ok(text.split(|byte| *byte == 0).filter_map(|path| self.store_dir().parse(path).ok()).collect())
    }

    fn sweep_paths(&self, named: &BTreeSet<StorePath>, living: &BTreeSet<StorePath>) -> Result<(), Error> {
        let valid = self.valid_among(named)?;
        for path in named {
            let place = self.real_path(path);
            if valid.contains(path) || living.contains(path) || fs::symlink_metadata(&place).is_err() {
                continue;
            }
            // Somebody may be deleting it.
            if let Some(_lock) = self.try_lock(std::slice::from_ref(path))? {
                remove_tree(&place)?;
            }
        }
        Ok(())
    }

    /// Removes what a process had made aside, to rename it then.
    fn sweep_names_of(&self, process: &str, entries: &[PathBuf]) -> Result<(), Error> {
        let location = self.location();
        let prefixes = [".tmp-", ".tmp-link-"].map(|prefix| format!("{prefix}{process}-"));
        let suffix = aside_suffix(process);
        let is_aside = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            prefixes.iter().any(|prefix| name.starts_with(prefix)) || name.ends_with(&suffix)
        };
        let links = list(&location.gc_roots().join("auto"))?;
        let beside = links.iter().filter_map(|link| {
            let mut aside = fs::read_link(link).ok()?.into_os_string();
            aside.push(&suffix);
            fs::symlink_metadata(&aside).is_ok_and(|there| there.is_symlink()).then(|| PathBuf::from(aside))
        });
        let beside: Vec<PathBuf> = beside.collect();
        let relocated = list(&location.relocated_roots())?;
        let places = entries.iter().chain(&links).chain(&relocated).filter(|path| is_aside(path));
        beside.iter().chain(places).try_for_each(|path| remove_file(path))
    }
}

/// Returns the files of locks on paths that are named, or on outputs of derivations among them, whose paths nobody knew.
fn locks_on<'a>(
    named: &'a BTreeSet<StorePath>,
    entries: &'a [PathBuf],
) -> impl Iterator<Item = &'a PathBuf> + 'a {
    let is_named = |name: &str| name.parse().is_ok_and(|path| named.contains(&path));
    entries.iter().filter(move |entry| {
        let locked = entry.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(".lock"));
        locked.is_some_and(|locked| {
            is_named(locked) || locked.rsplit_once('.').is_some_and(|(drv, _)| is_named(drv))
        })
    })
}

/// How the name of a symlink ends that a process has made to replace another one with.
pub(crate) fn aside_suffix(process: &str) -> String {
    format!(".tmp-{process}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::store::Options;
    use crate::store::tests::{placed, scratch_store, some_path};

    /// No process has this number: the kernel's limit is 2^22.
    const NOBODY: &str = "2147483647";

    fn dead(store: &LocalStore, name: &str, paths: &[&str]) -> PathBuf {
        let file = store.location().state_dir.join("temproots").join(name);
        let print = |path: &&str| format!("{}\0", store.store_dir().print(&some_path(path)));
        fs::write(&file, paths.iter().map(print).collect::<String>()).unwrap();
        file
    }

    fn open_again(store: &LocalStore) {
        drop(LocalStore::open(store.location().clone(), Options::default()).unwrap());
    }

    #[test]
    fn temporary_roots_of_the_dead_are_swept() {
        let (_scratch, store) = scratch_store();
        store.temp_root(&some_path("x")).unwrap();
        let [gone, held, other] = [NOBODY, "2147483646-1", "notes"].map(|name| dead(&store, name, &["x"]));
        let holder = File::open(&held).unwrap();
        assert!(try_lock(&holder, &held, FlockOperation::NonBlockingLockExclusive).unwrap());
        open_again(&store);
        let living = store.location().state_dir.join("temproots").join(std::process::id().to_string());
        assert!(living.exists() && held.exists() && other.exists() && !gone.exists());
    }

    #[test]
    fn what_the_dead_had_in_hand_goes_and_nothing_else() {
        let (_scratch, store) = scratch_store();
        store.register(&[placed(&store, "valid", &[])]).unwrap();
        let names = ["half", "valid", "shared", "foreign"];
        let place = |name: &str| store.real_path(&some_path(name));
        for name in ["half", "shared", "foreign"] {
            fs::create_dir_all(place(name).join("inside")).unwrap();
        }
        let file = |name: &str| store.location().real_store.join(name);
        let locks = ["", ".out"].map(|output| file(&format!("{}{output}.lock", some_path("half"))));
        let asides = [file(&format!(".tmp-{NOBODY}-3")), file(".tmp-2147483646-3")];
        asides.iter().chain(&locks).for_each(|path| fs::write(path, "").unwrap());
        let roots = dead(&store, NOBODY, &names[..3]);
        store.temp_root(&some_path("shared")).unwrap();
        open_again(&store);
        let there = names.map(|name| place(name).exists());
        assert_eq!(there, [false, true, true, true]);
        assert!(!roots.exists() && locks.iter().all(|lock| !lock.exists()));
        assert!(!asides[0].exists() && asides[1].exists());
    }

    #[test]
    fn what_the_dead_had_in_hand_goes_also_if_another_process_has_the_number() {
        let (_scratch, store) = scratch_store();
        let half = store.real_path(&some_path("half"));
        let build = store.location().builds().join(format!("nix-{}-7", std::process::id()));
        for directory in [&half, &build] {
            fs::create_dir(directory).unwrap();
        }
        // As in a container, where whoever is started has the number of the one before.
        let roots =
            [std::process::id().to_string(), "1".to_owned()].map(|name| dead(&store, &name, &["half"]));
        let aside = store.location().real_store.join(format!(".tmp-{}-9", std::process::id()));
        fs::write(&aside, "").unwrap();
        open_again(&store);
        assert!(!half.exists() && !build.exists() && !roots.iter().any(|file| file.exists()));
        assert!(aside.exists(), "it may be somebody's");
    }

    #[test]
    fn what_the_dead_had_made_aside_goes_once_their_number_is_somebody_elses() {
        let (_scratch, store) = scratch_store();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let number = child.id().to_string();
        let aside = store.location().real_store.join(format!(".tmp-{number}-0"));
        let leave = || {
            fs::write(&aside, "").unwrap();
            dead(&store, &number, &[]);
        };
        leave();
        // In another container, somebody with that number may be making something.
        let living = dead(&store, &format!("{number}-1"), &[]);
        let holder = File::open(&living).unwrap();
        assert!(try_lock(&holder, &living, FlockOperation::NonBlockingLockExclusive).unwrap());
        open_again(&store);
        assert!(aside.exists());
        drop(holder);
        leave();
        open_again(&store);
        assert!(!aside.exists() && !living.exists());
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_path_that_is_named_like_a_lock_of_the_dead_is_none() {
        let (_scratch, store) = scratch_store();
        let x = some_path("x");
        let files =
            [".lock", ".out.lock"].map(|ending| store.location().real_store.join(format!("{x}{ending}")));
        for file in &files {
            fs::write(file, "").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o444)).unwrap();
        }
        dead(&store, NOBODY, &["x"]);
        open_again(&store);
        assert!(files.iter().all(|file| file.exists()));
    }

    #[test]
    fn a_symlink_beside_the_one_it_was_to_replace_goes() {
        let (scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        store.add_root(&scratch.join("result"), &some_path("a")).unwrap();
        let aside = scratch.join(format!("result.tmp-{NOBODY}"));
        let others = scratch.join("result.tmp-17");
        [&aside, &others].into_iter().for_each(|link| symlink("x", link).unwrap());
        dead(&store, NOBODY, &[]);
        open_again(&store);
        assert!(fs::symlink_metadata(&aside).is_err() && fs::symlink_metadata(&others).is_ok());
    }

    #[test]
    fn nothing_is_swept_while_it_cannot_be_told_what_the_living_have_in_hand() {
        let (_scratch, store) = scratch_store();
        let half = store.real_path(&some_path("half"));
        fs::create_dir(&half).unwrap();
        let roots = dead(&store, NOBODY, &["half"]);
        // No file, so that root cannot read it either.
        let unreadable = store.location().state_dir.join("temproots/2147483646");
        fs::create_dir(&unreadable).unwrap();
        open_again(&store);
        assert!(half.exists() && roots.exists());
        fs::remove_dir(unreadable).unwrap();
        open_again(&store);
        assert!(!half.exists() && !roots.exists());
    }

    #[test]
    fn nothing_is_swept_while_somebody_collects() {
        let (_scratch, store) = scratch_store();
        let roots = dead(&store, NOBODY, &["x"]);
        let _collector = store.lock_out_root_writers().unwrap();
        open_again(&store);
        assert!(roots.exists());
    }
}
