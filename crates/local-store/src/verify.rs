//! Comparing the store with its database.
//!
//! ```text
//! databases ─► the paths that can be read ─► batches, the largest first ─► threads ─► what is damaged
//!                                                                             │
//!                                             looked at once more, under its lock, before it is called damaged
//! ```
//!
//! Others go on meanwhile: what is collected, built again or linked to equal files in between is no damage. In memory is
//! what is known of one batch, and the names of the paths.

mod links;
mod metadata;

use std::collections::BTreeSet;
use std::fs;
use std::io;

use store_path::{ContentAddress, Hash, HashAlgorithm, HashSink, PathInfo, StorePath};

use crate::content::is_addressed;
use crate::error::Error;
use crate::meter::{Meter, Progress};
use crate::store::LocalStore;
use crate::threads::{on_each, processors};
use crate::until::Until;

pub use links::BadLink;
pub use metadata::Irregularity;

/// So much is known at once: enough that all threads have something to do, and its largest paths come first.
const BATCH: usize = 4096;

/// What is to be compared.
#[derive(Clone, Copy)]
pub struct Verification<'a> {
    /// Whether every file is read, and not only looked for.
    pub contents: bool,
    /// These paths only, all valid; else all of them, and the databases and `.links`.
    pub paths: Option<&'a BTreeSet<StorePath>>,
    /// How long.
    pub until: Until<'a>,
    /// Hears how far it is, from any thread.
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

impl From<bool> for Verification<'_> {
    /// All of the store, with or without contents.
    fn from(contents: bool) -> Self {
        Self { contents, paths: None, until: Until::DONE, progress: &|_| {} }
    }
}

/// What a verification found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many valid paths were looked at.
    pub checked: usize,
    /// How many bytes of the archives of paths were hashed.
    pub bytes: u64,
    /// How many of the paths lie in the lower store, so that their contents were left out.
    pub below: usize,
    /// Those that are not as the database says, in order.
    pub damaged: Vec<(StorePath, Damage)>,
    /// The links of equal files that are not what their names say.
    pub links: Vec<BadLink>,
    /// What is wrong with the databases, a sentence each.
    pub problems: Vec<String>,
    /// Whether it was given up before all was looked at.
    pub stopped: bool,
}

/// What is wrong with a path that should be valid.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// There are no files.
    #[error("it is not on disk")]
    Missing,

    /// The files cannot be read.
    #[error("it cannot be read")]
    Unreadable {
        /// What could not be read.
        source: Error,
    },

    /// The files have been changed.
    #[error("its hash is `{computed}`, not `{stated}`")]
    Changed {
        /// The hash in the database.
        stated: Hash,
        /// The hash of what is on disk.
        computed: Hash,
    },

    /// The contents are as they were registered, but their content address is not that of this path.
    #[error(
        "its content address is stated as `{stated}`, and that is not what its contents and its path say"
    )]
    Misaddressed {
        /// The address in the database.
        stated: Box<ContentAddress>,
    },

    /// The contents are as they were registered, but not the size in the database.
    #[error("its archive has {computed} bytes, not {stated}")]
    Size {
        /// The size in the database.
        stated: u64,
        /// The size of what is on disk.
        computed: u64,
    },

    /// The contents are as they were registered, but not all else about the files.
    #[error("{}", metadata::tell(first, what, *others))]
    Metadata {
        /// The first file that is not as it should be, from the path on; empty for the path itself.
        first: std::path::PathBuf,
        /// What is wrong with it.
        what: Irregularity,
        /// How many others there are.
        others: usize,
    },
}

impl LocalStore {
    /// Looks whether valid paths are on disk and, with contents, whether they are what was registered.
    ///
    /// # Errors
    /// If a database cannot be read. All else is in the report.
    pub fn verify<'a>(&self, what: impl Into<Verification<'a>>) -> Result<Report, Error> {
        let what = what.into();
        let mut report = Report::default();
        let all = match what.paths {
            Some(_) => None,
            None => Some(self.verify_databases(what.contents, &mut report)?),
        };
        let paths = all.as_ref().or(what.paths).into_iter().flatten().cloned();
        let paths: Vec<StorePath> = paths.collect();
        let meter = Meter::new(paths.len(), what.progress);
        for batch in paths.chunks(BATCH) {
            let mut infos: Vec<PathInfo> =
                self.path_infos(&batch.iter().cloned().collect())?.into_values().collect();
            infos.sort_by_key(|info| std::cmp::Reverse(info.nar_size));
            let found = on_each(&infos, processors(), |info| self.check(info, &what, &meter));
            let damaged =
                infos.into_iter().zip(found).filter_map(|(info, damage)| Some((info.path, damage?)));
            report.damaged.extend(damaged);
        }
        report.damaged.sort_by(|(one, _), (other, _)| one.cmp(other));
        let Progress { paths: checked, bytes, .. } = meter.now();
        if what.contents && what.paths.is_none() {
            report.links = self.verify_links(what.until, &meter)?;
        }
        if what.contents {
            report.below = self.lying_below(&paths.into_iter().collect()).len();
        }
        Ok(Report { checked, bytes, stopped: what.until.is_over(), ..report })
    }

    /// Returns the paths whose rows can be read.
    fn verify_databases(&self, thorough: bool, report: &mut Report) -> Result<BTreeSet<StorePath>, Error> {
        let checked = self.with_database(|database| Ok(database.check(thorough)?))?;
        report.problems = checked.problems;
        match self.records_problems(thorough) {
            Ok(problems) => report.problems.extend(problems),
            Err(Error::Records { source }) => report.problems.push(source.to_string()),
            Err(other) => return Err(other),
        }
        Ok(checked.paths)
    }

    fn check(&self, info: &PathInfo, what: &Verification<'_>, meter: &Meter<'_>) -> Option<Damage> {
        if what.until.is_over() {
            return None;
        }
        let first = self.examine(info, what, meter);
        meter.path_done();
        first.and_then(|_| self.check_again(info, what, meter))
    }

    /// Looks once more at what was found damaged, while nobody makes, deletes or repairs it.
    fn check_again(&self, info: &PathInfo, what: &Verification<'_>, meter: &Meter<'_>) -> Option<Damage> {
        // Without the lock, as in a store that may not be written to, nobody changes it anyway.
        let _lock = self.try_lock(std::slice::from_ref(&info.path)).ok().flatten();
        let now = match self.path_info(&info.path) {
            Ok(Some(now)) => now,
            // It may have been deleted since the database was read, which is no damage.
            Ok(None) => return None,
            Err(source) => return Some(Damage::Unreadable { source }),
        };
        let damage = self.examine(&now, what, meter);
        damage.filter(|_| !what.until.is_over())
    }

    /// Compares a path with what is known of it.
    fn examine(&self, info: &PathInfo, what: &Verification<'_>, meter: &Meter<'_>) -> Option<Damage> {
        let place = self.place_of(&info.path);
        match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Damage::Missing),
            Err(error) => return Some(Damage::Unreadable { source: Error::file("look at", &place)(error) }),
            Ok(_) if !what.contents => return None,
            // The lower store is looked after by whoever may write to it.
            Ok(_) if place != self.real_path(&info.path) => return None,
            Ok(_) => {}
        }
        let mut sink = what.until.pass(meter.count(HashSink::new(HashAlgorithm::Sha256)));
        if let Err(source) = nar::dump(&place, &mut sink) {
            return Some(Damage::Unreadable { source: source.into() });
        }
        let (computed, size) = sink.into_inner().into_inner().finish();
        let PathInfo { nar_hash: stated, nar_size, .. } = *info;
        if computed != stated {
            return Some(Damage::Changed { stated, computed });
        }
        // Old stores do not know the sizes of all.
        let size =
            (nar_size != 0 && nar_size != size).then_some(Damage::Size { stated: nar_size, computed: size });
        self.check_address(info, what.until).or(size).or_else(|| self.check_metadata(&place, what.until))
    }

    /// Whether the path of a content-addressed object follows from its contents.
    fn check_address(&self, info: &PathInfo, until: Until<'_>) -> Option<Damage> {
        let stated = info.content_address?;
        let tree = self.real_path(&info.path);
        match is_addressed(self.store_dir(), info, &info.nar_hash, &tree, until) {
            Ok(true) => None,
            Ok(false) => Some(Damage::Misaddressed { stated: Box::new(stated) }),
            Err(source) => Some(Damage::Unreadable { source }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use crate::add::hash_tree;
    use crate::canonical::{Inodes, canonicalise};
    use crate::content::hash_content;
    use crate::store::tests::{placed, scratch_store, some_path};
    use std::os::unix::fs::PermissionsExt;
    use store_path::Method;

    #[test]
    fn every_kind_of_damage_is_told() {
        let (_scratch, store) = scratch_store();
        let add = |name: &str| store.add_text(&name.parse().unwrap(), b"hello", &BTreeSet::new()).unwrap();
        let [fine, gone, changed] = ["fine", "gone", "changed"].map(add);
        fs::remove_file(store.real_path(&gone)).unwrap();
        fs::set_permissions(store.real_path(&changed), fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(store.real_path(&changed), "hallo").unwrap();
        let quick = store.verify(false).unwrap();
        assert_eq!(quick.checked, 3);
        assert!(matches!(&quick.damaged[..], [(path, Damage::Missing)] if *path == gone));
        let mut thorough = store.verify(true).unwrap().damaged;
        thorough.retain(|(path, damage)| match damage {
            Damage::Changed { .. } => *path != changed,
            Damage::Missing => *path != gone,
            _ => true,
        });
        assert!(thorough.is_empty(), "{thorough:?}");
        assert!(store.is_valid(&fine).unwrap());
    }

    #[test]
    fn only_what_is_asked_for_is_looked_at() {
        let (_scratch, store) = scratch_store();
        let add = |name: &str| store.add_text(&name.parse().unwrap(), b"hello", &BTreeSet::new()).unwrap();
        let [fine, gone] = ["fine", "gone"].map(add);
        fs::remove_file(store.real_path(&gone)).unwrap();
        let only = |path: &StorePath| {
            let paths = BTreeSet::from([path.clone()]);
            store.verify(Verification { paths: Some(&paths), ..true.into() }).unwrap()
        };
        assert_eq!((only(&fine).damaged.len(), only(&gone).damaged.len()), (0, 1));
        assert_eq!((only(&fine).checked, only(&fine).bytes), (1, 120));
    }

    #[test]
    fn metadata_of_each_file_is_looked_at() {
        let (scratch, store) = scratch_store();
        fs::create_dir(scratch.join("tree")).unwrap();
        fs::write(scratch.join("tree/file"), "hello").unwrap();
        let path = store.add_path(&"tree".parse().unwrap(), &scratch.join("tree")).unwrap().path;
        let file = store.real_path(&path).join("file");
        assert!(store.verify(true).unwrap().damaged.is_empty());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(store.verify(false).unwrap().damaged.is_empty());
        let told = || store.verify(true).unwrap().damaged[0].1.to_string();
        assert_eq!(told(), "`file` in it has the mode 0644, not 0444");
        fs::set_permissions(store.real_path(&path), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(told(), "it has the mode 0755, not 0555, and another file is not as it should be");
        fs::set_permissions(store.real_path(&path), fs::Permissions::from_mode(0o555)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        fs::File::open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(told(), "`file` in it was modified at second 0, not at 1");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "somebody else is at it meanwhile")]
    fn a_directory_in_which_files_are_being_linked_is_waited_for() {
        let (scratch, store) = scratch_store();
        fs::create_dir(scratch.join("tree")).unwrap();
        let path = store.add_path(&"tree".parse().unwrap(), &scratch.join("tree")).unwrap().path;
        let place = store.real_path(&path);
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(100));
                fs::set_permissions(&place, fs::Permissions::from_mode(0o555)).unwrap();
            });
            assert!(store.verify(true).unwrap().damaged.is_empty());
        });
    }

    #[test]
    fn a_link_is_named_by_what_it_holds() {
        let (_scratch, store) = scratch_store();
        let links = store.location().links();
        fs::write(links.join("0".repeat(52)), "hello").unwrap();
        let right = crate::add::hash_tree(&links.join("0".repeat(52))).unwrap().0.to_nix32();
        fs::copy(links.join("0".repeat(52)), links.join(&right)).unwrap();
        let bad = store.verify(true).unwrap().links;
        assert_eq!(bad.len(), 1);
        assert_eq!(
            (bad[0].name.clone(), bad[0].computed.as_ref().unwrap().to_nix32()),
            ("0".repeat(52), right)
        );
        assert!(store.verify(false).unwrap().links.is_empty());
    }

    #[test]
    fn what_is_told_to_stop_says_so() {
        let (_scratch, store) = scratch_store();
        store.add_text(&"gone".parse().unwrap(), b"hello", &BTreeSet::new()).unwrap();
        let (word, mut speaker) = io::pipe().unwrap();
        let until = Until::readable(Some(std::os::fd::AsFd::as_fd(&word)));
        let run = || store.verify(Verification { until, ..true.into() }).unwrap();
        assert!(!run().stopped);
        io::Write::write_all(&mut speaker, b"!").unwrap();
        let report = run();
        assert!(report.stopped && report.damaged.is_empty() && report.checked == 0);
    }

    #[test]
    fn a_content_address_has_to_be_that_of_the_path() {
        let (_scratch, store) = scratch_store();
        // Made as a build makes it: hashed modulo its own digest, which is rewritten then.
        let before = some_path("before");
        let text = |path: &StorePath| format!("\n{path}, {path}\n");
        let draft = store.location().real_store.join("draft");
        fs::write(&draft, text(&before)).unwrap();
        let algorithm = HashAlgorithm::Sha256;
        let modulo = hash_content(&draft, Method::Nar, algorithm, before.digest(), &[], Until::DONE).unwrap();
        fs::remove_file(&draft).unwrap();
        let name = "loop".parse().unwrap();
        let canonical = |path: &StorePath| {
            canonicalise(&store.real_path(path), None, &mut Inodes::default(), Until::DONE).unwrap();
        };
        for hash in [modulo.hash, modulo.without_offsets] {
            let address = ContentAddress { method: Method::Nar, hash };
            let path = store.store_dir().addressed_path(&name, &address, &BTreeSet::new(), true).unwrap();
            fs::write(store.real_path(&path), text(&path).replace("-loop", "-before")).unwrap();
            canonical(&path);
            let (nar_hash, nar_size) = hash_tree(&store.real_path(&path)).unwrap();
            let info = PathInfo {
                references: BTreeSet::from([path.clone()]),
                content_address: Some(address),
                nar_hash,
                nar_size,
                path,
                ..placed(&store, "other", &[])
            };
            store.register(&[info]).unwrap();
        }
        assert!(store.verify(true).unwrap().damaged.is_empty());
        let info = PathInfo {
            content_address: Some(ContentAddress { method: Method::Nar, hash: modulo.hash }),
            ..placed(&store, "wrong", &[])
        };
        store.register(&[info]).unwrap();
        assert!(store.verify(false).unwrap().damaged.is_empty());
        let damaged = store.verify(true).unwrap().damaged;
        assert!(matches!(&damaged[..], [(path, Damage::Misaddressed { .. })] if *path == some_path("wrong")));
    }
}
