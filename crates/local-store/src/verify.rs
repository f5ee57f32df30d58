//! Comparing the store with its database.

use std::collections::BTreeSet;
use std::fs;

use store_path::{Hash, PathInfo, StorePath};

use crate::add::hash_tree;
use crate::error::Error;
use crate::store::LocalStore;
use crate::threads::{on_each, processors};

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
                (computed != stated).then_some(Damage::Changed { stated, computed })
            }
        }
    }

    fn is_deleted(&self, path: &StorePath) -> bool {
        self.valid_among(&BTreeSet::from([path.clone()])).is_ok_and(|valid| valid.is_empty())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use crate::store::tests::scratch_store;
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
            Damage::Unreadable { .. } => true,
        });
        assert!(thorough.is_empty(), "{thorough:?}");
        assert!(store.is_valid(&fine).unwrap());
    }
}
