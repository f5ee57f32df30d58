//! Comparing the store with its database.

use std::collections::BTreeSet;
use std::fs;

use store_path::{ContentAddress, Hash, HashAlgorithm, Method, PathInfo, StorePath};

use crate::add::hash_tree;
use crate::content::hash_content;
use crate::error::Error;
use crate::store::LocalStore;
use crate::threads::{on_each, processors};
use crate::until::Until;

/// What a verification found.
#[derive(Debug)]
pub struct Report {
    /// How many valid paths were looked at.
    pub checked: usize,
    /// Those that are not as the database says, in order.
    pub damaged: Vec<(StorePath, Damage)>,
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
}

impl LocalStore {
    /// Looks whether every valid path is on disk and, with `contents`, whether it is what was registered.
    pub fn verify(&self, contents: bool) -> Result<Report, Error> {
        let infos: Vec<PathInfo> = self.path_infos(&self.all_valid()?)?.into_values().collect();
        let found = on_each(&infos, processors(), |info| self.check(info, contents));
        let damaged = infos.iter().zip(found).filter_map(|(info, damage)| Some((info.path.clone(), damage?)));
        Ok(Report { checked: infos.len(), damaged: damaged.collect() })
    }

    fn check(&self, info: &PathInfo, contents: bool) -> Option<Damage> {
        let place = self.real_path(&info.path);
        let is_there = fs::symlink_metadata(&place).is_ok();
        if is_there && !contents {
            return None;
        }
        match hash_tree(&place) {
            // It may have been deleted since the database was read, which is no damage.
            _ if self.is_deleted(&info.path) => None,
            _ if !is_there => Some(Damage::Missing),
            Err(source) => Some(Damage::Unreadable { source }),
            Ok((computed, _)) => {
                let stated = info.nar_hash;
                match computed == stated {
                    false => Some(Damage::Changed { stated, computed }),
                    true => self.check_address(info),
                }
            }
        }
    }

    /// Whether the path of a content-addressed object follows from its contents.
    fn check_address(&self, info: &PathInfo) -> Option<Damage> {
        let stated = info.content_address?;
        let ContentAddress { method, hash } = stated;
        let mut others = info.references.clone();
        let refers_to_itself = others.remove(&info.path);
        let own = info.path.digest();
        // An archive without its own digest in it was hashed already.
        let holds = match (method, hash.algorithm()) {
            (Method::Nar, HashAlgorithm::Sha256) if !refers_to_itself => hash == info.nar_hash,
            (_, algorithm) => {
                match hash_content(&self.real_path(&info.path), method, algorithm, own, &[], Until::DONE) {
                    // Without offsets, as some releases of Nix have made it.
                    Ok(modulo) => hash == modulo.hash || hash == modulo.without_offsets,
                    Err(Error::NotFlat { .. } | Error::GitAlgorithm { .. }) => false,
                    Err(source) => return Some(Damage::Unreadable { source }),
                }
            }
        };
        let path = self.store_dir().addressed_path(info.path.name(), &stated, &others, refers_to_itself);
        (!holds || path.as_ref() != Some(&info.path))
            .then(|| Damage::Misaddressed { stated: Box::new(stated) })
    }

    fn is_deleted(&self, path: &StorePath) -> bool {
        self.valid_among(&BTreeSet::from([path.clone()])).is_ok_and(|valid| valid.is_empty())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use crate::store::tests::{placed, scratch_store, some_path};
    use std::os::unix::fs::PermissionsExt;

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
            Damage::Unreadable { .. } | Damage::Misaddressed { .. } => true,
        });
        assert!(thorough.is_empty(), "{thorough:?}");
        assert!(store.is_valid(&fine).unwrap());
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
        for hash in [modulo.hash, modulo.without_offsets] {
            let address = ContentAddress { method: Method::Nar, hash };
            let path = store.store_dir().addressed_path(&name, &address, &BTreeSet::new(), true).unwrap();
            fs::write(store.real_path(&path), text(&path).replace("-loop", "-before")).unwrap();
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
