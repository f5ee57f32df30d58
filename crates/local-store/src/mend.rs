//! What of a verification can be put right without any other source: all but contents.

use std::collections::{BTreeMap, BTreeSet};

use store_db::Reach;
use store_path::{PathInfo, StorePath};

use crate::canonical::{Inodes, canonicalise};
use crate::error::Error;
use crate::failpoint;
use crate::open_file::remove_file;
use crate::store::LocalStore;
use crate::until::Until;
use crate::verify::{BadLink, Damage, Report};

/// What was put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mend {
    /// Modes, times and owners of its files.
    Metadata,
    /// The size that the database has.
    Size,
    /// It was not on disk, and nothing valid referred to it: it is not valid any more.
    Forgotten,
}

/// What became of a report.
#[derive(Debug, Default)]
pub struct Mended {
    /// What was put right.
    pub paths: BTreeMap<StorePath, Mend>,
    /// The links that were removed: what they were linked to stands on its own now.
    pub links: Vec<BadLink>,
}

impl LocalStore {
    /// Puts right what can be, and takes it out of the report. What is left needs its contents from elsewhere.
    ///
    /// # Errors
    /// If something could not be put right that should have been; the rest is then as it was.
    pub fn mend(&self, report: &mut Report) -> Result<Mended, Error> {
        let mut mended = Mended::default();
        for link in std::mem::take(&mut report.links) {
            match link.computed {
                // A link only gives what equal files will be linked to. Those of a damaged file are found by their paths.
                Ok(_) => {
                    remove_file(&self.location().links().join(&link.name))?;
                    mended.links.push(link);
                }
                Err(_) => report.links.push(link),
            }
        }
        let missing = report.damaged.iter().filter(|(_, damage)| matches!(damage, Damage::Missing));
        let forgotten = self.forget_missing(missing.map(|(path, _)| path.clone()).collect())?;
        mended.paths.extend(forgotten.into_iter().map(|path| (path, Mend::Forgotten)));
        for (path, damage) in &report.damaged {
            let mend = match damage {
                Damage::Metadata { .. } => self.mend_metadata(path)?,
                Damage::Size { computed, .. } => self.mend_size(path, *computed)?,
                _ => continue,
            };
            mended.paths.insert(path.clone(), mend);
        }
        report.damaged.retain(|(path, _)| !mended.paths.contains_key(path));
        Ok(mended)
    }

    /// The contents are right, so nothing but what a file system keeps about them is changed.
    fn mend_metadata(&self, path: &StorePath) -> Result<Mend, Error> {
        // The next start knows of the lock then, if this process dies.
        self.temp_root(path)?;
        let _lock = self.lock(std::slice::from_ref(path))?;
        if self.is_valid(path)? {
            canonicalise(&self.real_path(path), None, &mut Inodes::default(), Until::DONE)?;
        }
        failpoint::reach("repair.metadata")?;
        Ok(Mend::Metadata)
    }

    fn mend_size(&self, path: &StorePath, nar_size: u64) -> Result<Mend, Error> {
        self.temp_root(path)?;
        let _lock = self.lock(std::slice::from_ref(path))?;
        if let Some(info) = self.path_info(path)? {
            let info = PathInfo { nar_size, ..info };
            self.with_database(|database| {
                database.transaction(|transaction| Ok::<_, Error>(transaction.register(&[info])?))
            })?;
        }
        Ok(Mend::Size)
    }

    /// Makes those of `missing` invalid that no valid path refers to which is there; returns them.
    fn forget_missing(&self, mut missing: BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
        let in_order: Vec<StorePath> = missing.iter().cloned().collect();
        self.temp_roots(&in_order)?;
        let _lock = self.lock(&in_order)?;
        missing.retain(|path| std::fs::symlink_metadata(self.real_path(path)).is_err());
        missing = self.valid_among(&missing)?;
        let graph = self.reference_graph(&missing, Reach::Referrers)?;
        // What is there needs all that it refers to, directly or not.
        let mut needed = vec![false; graph.paths().len()];
        for place in graph.references_first().into_iter().rev() {
            if needed[place] || !missing.contains(&graph.paths()[place]) {
                graph.of(place).iter().for_each(|other| needed[*other] = true);
            }
        }
        missing.retain(|path| graph.place(path).is_some_and(|place| !needed[place]));
        if !missing.is_empty() {
            self.with_database(|database| {
                database.transaction(|transaction| Ok::<_, Error>(transaction.invalidate(&missing)?))
            })?;
            failpoint::reach("repair.forgotten")?;
            self.collect_records(&missing);
        }
        Ok(missing)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use crate::store::tests::{scratch_store, some_path};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn add(store: &LocalStore, name: &str, references: &[&StorePath]) -> StorePath {
        let references = references.iter().map(|path| (*path).clone()).collect();
        store.add_text(&name.parse().unwrap(), b"hello", &references).unwrap()
    }

    #[test]
    fn what_nothing_needs_is_forgotten() {
        let (_scratch, store) = scratch_store();
        let base = add(&store, "base", &[]);
        let kept = add(&store, "kept", &[&base]);
        let low = add(&store, "low", &[]);
        let high = add(&store, "high", &[&low]);
        for path in [&base, &low, &high] {
            fs::remove_file(store.real_path(path)).unwrap();
        }
        let mut report = store.verify(false).unwrap();
        let mended = store.mend(&mut report).unwrap();
        let forgotten = BTreeMap::from([(low, Mend::Forgotten), (high, Mend::Forgotten)]);
        assert_eq!(mended.paths, forgotten);
        assert!(matches!(&report.damaged[..], [(path, Damage::Missing)] if *path == base));
        assert_eq!(store.all_valid().unwrap(), BTreeSet::from([base, kept]));
    }

    #[test]
    fn metadata_and_sizes_are_put_right() {
        let (_scratch, store) = scratch_store();
        let [mode, size] = ["mode", "size"].map(|name| add(&store, name, &[]));
        fs::set_permissions(store.real_path(&mode), fs::Permissions::from_mode(0o640)).unwrap();
        let info = PathInfo { nar_size: 7, ..store.path_info(&size).unwrap().unwrap() };
        store.register(&[info]).unwrap();
        let mut report = store.verify(true).unwrap();
        let mended = store.mend(&mut report).unwrap();
        assert_eq!(mended.paths, BTreeMap::from([(mode, Mend::Metadata), (size, Mend::Size)]));
        assert!(report.damaged.is_empty() && store.verify(true).unwrap().damaged.is_empty());
    }

    #[test]
    fn links_that_hold_something_else_go() {
        let (_scratch, store) = scratch_store();
        let link = store.location().links().join("0".repeat(52));
        fs::write(&link, "hello").unwrap();
        let mut report = store.verify(true).unwrap();
        assert_eq!(store.mend(&mut report).unwrap().links.len(), 1);
        assert!(!link.exists() && report.links.is_empty());
        assert!(!store.is_valid(&some_path("nothing")).unwrap());
    }
}
