//! Registering what is on disk already, as somebody says who answers for it.

use std::collections::{BTreeMap, BTreeSet};

use binary_cache::registration::Registration;
use store_path::{PathInfo, StorePath};

use crate::add::{hash_tree, now};
use crate::canonical::{Inodes, canonicalise};
use crate::commit::OutputRows;
use crate::error::Error;
use crate::store::LocalStore;
use crate::threads::{on_each, processors};
use crate::until::Until;

impl LocalStore {
    /// Keeps `paths`, valid or not, from being collected while the store is open, and returns which are not on disk: the
    /// others stay there from now on.
    pub fn not_on_disk<'a>(&self, paths: &[&'a StorePath]) -> Result<Vec<&'a StorePath>, Error> {
        self.temp_roots(&paths.iter().map(|path| (*path).clone()).collect::<Vec<_>>())?;
        let is_absent = |path: &&StorePath| self.real_path(path).symlink_metadata().is_err();
        Ok(paths.iter().copied().filter(is_absent).collect())
    }

    /// Leaves out what has its files in the lower store only, and is valid there as it is said.
    pub fn leave_out_below(&self, registrations: &mut Vec<Registration>) -> Result<(), Error> {
        let Some(lower) = &self.lower else { return Ok(()) };
        let known = lower.path_infos(&registrations.iter().map(|one| one.path.clone()).collect())?;
        let is_so = |one: &Registration| {
            let below = known.get(&one.path);
            below.is_some_and(|info| one.archive.is_none_or(|(hash, _)| hash == info.nar_hash))
        };
        registrations.retain(|one| self.place_of(&one.path) == self.real_path(&one.path) || !is_so(one));
        Ok(())
    }

    /// Gives what is at the places of `registrations` the metadata of the store, and fills in the hashes and sizes that are
    /// not given; each under its lock. The caller has asked [`LocalStore::not_on_disk`].
    pub fn settle_in_place(&self, registrations: &mut [Registration]) -> Result<(), Error> {
        let settled = on_each(registrations, processors(), |one| {
            let _lock = self.lock(std::slice::from_ref(&one.path))?;
            let tree = self.real_path(&one.path);
            canonicalise(&tree, None, &mut Inodes::default(), Until::DONE)?;
            if one.archive.is_some() { Ok(one.archive) } else { hash_tree(&tree).map(Some) }
        });
        for (one, archive) in registrations.iter_mut().zip(settled) {
            one.archive = archive?;
        }
        Ok(())
    }

    /// Makes all of `registrations` valid, or none. Their files are on disk, as [`LocalStore::not_on_disk`] has said, and their
    /// hashes and sizes known.
    ///
    /// `outputs` are those of the derivations among them. What is registered already with the same hash keeps what such a text
    /// does not say: signatures, content address, and whether it was built here.
    pub fn register_as_said(
        &self,
        registrations: Vec<Registration>,
        outputs: BTreeMap<StorePath, BTreeMap<String, StorePath>>,
    ) -> Result<(), Error> {
        let paths: BTreeSet<StorePath> = registrations.iter().map(|one| one.path.clone()).collect();
        let mut present = self.path_infos(&paths)?;
        let infos = registrations.into_iter().filter_map(|one| {
            let (nar_hash, nar_size) = one.archive?;
            let known = present.remove(&one.path).filter(|info| info.nar_hash == nar_hash);
            Some(PathInfo {
                path: one.path,
                nar_hash,
                nar_size,
                references: one.references,
                deriver: one.deriver,
                registration_time: now(),
                ultimate: known.as_ref().is_some_and(|info| info.ultimate),
                content_address: known.as_ref().and_then(|info| info.content_address),
                signatures: known.map(|info| info.signatures).unwrap_or_default(),
            })
        });
        let rows: Vec<OutputRows> = outputs.into_iter().collect();
        self.register_with(infos.collect(), rows)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use crate::gc::tests::ALL;
    use crate::store::Options;
    use crate::store::tests::{scratch_store, some_path};

    #[test]
    fn what_is_to_be_registered_is_not_collected_in_between() {
        let (_scratch, store) = scratch_store();
        let [there, other, absent] = ["there", "other", "absent"].map(some_path);
        for path in [&there, &other] {
            std::fs::write(store.real_path(path), "x").unwrap();
        }
        assert_eq!(store.not_on_disk(&[&there, &absent]).unwrap(), [&absent]);
        let collector = LocalStore::open(store.location().clone(), Options::default()).unwrap();
        collector.collect(&ALL, &mut |_| {}).unwrap();
        assert!(!store.real_path(&other).exists());
        let mut said = [Registration {
            path: there.clone(),
            archive: None,
            deriver: None,
            references: BTreeSet::new(),
            line: 1,
        }];
        store.settle_in_place(&mut said).unwrap();
        store.register_as_said(said.into(), BTreeMap::new()).unwrap();
        assert!(store.is_valid(&there).unwrap());
    }
}
