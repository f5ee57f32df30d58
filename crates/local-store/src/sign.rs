//! Signatures over what a store knows of its paths.

use std::collections::{BTreeMap, BTreeSet};

use binary_cache::build_trace::Entry;
use binary_cache::{SecretKey, fingerprint};
use store_path::{PathInfo, Realisation, StorePath};

use crate::error::Error;
use crate::store::LocalStore;

impl LocalStore {
    /// Has everything that is built from now on signed with these keys, before it becomes valid.
    pub fn sign_builds_with(&mut self, keys: Vec<SecretKey>) {
        self.signers = keys;
    }

    /// Signs `paths`, all of them valid, in one transaction; returns the signatures that are new.
    pub fn sign(
        &self,
        paths: &BTreeSet<StorePath>,
        keys: &[SecretKey],
    ) -> Result<BTreeMap<StorePath, Vec<String>>, Error> {
        let infos = self.path_infos(paths)?;
        if let Some(path) = paths.iter().find(|path| !infos.contains_key(*path)) {
            return Err(Error::NotValid { path: path.clone() });
        }
        let mut added = BTreeMap::new();
        for (path, info) in infos {
            let text = fingerprint(&info, self.store_dir());
            let made = keys.iter().map(|key| key.sign(&text));
            let new: BTreeSet<String> = made.filter(|text| !info.signatures.contains(text)).collect();
            if !new.is_empty() {
                added.insert(path, Vec::from_iter(new));
            }
        }
        self.with_database(|database| {
            Ok(database.transaction(|transaction| {
                added.iter().try_for_each(|(path, new)| transaction.add_signatures(path, new))
            })?)
        })?;
        Ok(added)
    }

    /// Signs what was built here.
    pub(crate) fn sign_built(&self, infos: &mut [PathInfo], realisations: &mut [Realisation]) {
        for key in &self.signers {
            for info in infos.iter_mut().filter(|info| info.ultimate) {
                let signature = key.sign(&fingerprint(info, self.store_dir()));
                put(signature, &mut info.signatures);
            }
            for realisation in &mut *realisations {
                let signature = key.sign(&Entry::Current(realisation.clone()).fingerprint());
                put(signature, &mut realisation.signatures);
            }
        }
    }
}

/// Signatures are a set.
fn put(signature: String, signatures: &mut Vec<String>) {
    if let Err(place) = signatures.binary_search(&signature) {
        signatures.insert(place, signature);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{placed, scratch_store};

    #[test]
    fn a_path_is_signed_once_by_each_key() {
        let (_scratch, store) = scratch_store();
        let info = placed(&store, "a", &[]);
        store.register(std::slice::from_ref(&info)).unwrap();
        let keys = [b"1", b"2"].map(|seed| SecretKey::from_seed("k-1", &[seed[0]; 32]).unwrap());
        let paths = BTreeSet::from([info.path.clone()]);
        assert_eq!(store.sign(&paths, &keys[..1]).unwrap().len(), 1);
        assert_eq!(store.sign(&paths, &keys).unwrap()[&info.path].len(), 1);
        assert!(store.sign(&paths, &keys).unwrap().is_empty());
        let signed = store.path_info(&info.path).unwrap().unwrap();
        assert!(signed.signatures.is_sorted() && signed.signatures.len() == 2);
        let text = fingerprint(&info, store.store_dir());
        assert!(
            keys.iter().all(|key| signed.signatures.iter().any(|one| key.public().has_signed(&text, one)))
        );
        assert_eq!(PathInfo { signatures: Vec::new(), ..signed }, info, "nothing else changes");
    }
}
