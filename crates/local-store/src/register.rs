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
    /// Returns which of `paths` are not on disk.
    pub fn not_on_disk<'a>(&self, paths: impl IntoIterator<Item = &'a StorePath>) -> Vec<&'a StorePath> {
        paths.into_iter().filter(|path| self.real_path(path).symlink_metadata().is_err()).collect()
    }

    /// Gives what is at the places of `paths` the metadata of the store, and returns its hashes and sizes; each under its
    /// lock.
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

    /// Makes all of `registrations` valid, or none. Their files are on disk, and their hashes and sizes known.
    ///
    /// `outputs` are those of the derivations among them. What is registered already with the same hash keeps what such a text
    /// does not say: signatures, content address, and whether it was built here.
    pub fn register_as_said(
        &self,
        registrations: Vec<Registration>,
        outputs: BTreeMap<StorePath, BTreeMap<String, StorePath>>,
    ) -> Result<(), Error> {
        let paths: BTreeSet<StorePath> = registrations.iter().map(|one| one.path.clone()).collect();
        self.temp_roots(&paths.iter().cloned().collect::<Vec<_>>())?;
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
