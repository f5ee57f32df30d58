//! Adding many sources at once, whose paths are known beforehand.

use std::path::PathBuf;

use store_path::{Hash, StorePath};

use crate::add::hash_tree;
use crate::error::Error;
use crate::store::LocalStore;
use crate::threads::on_each;

/// A source, and where it has to come out.
#[derive(Clone, Debug)]
pub struct ManifestRow {
    /// The path it has to get.
    pub path: StorePath,
    /// The SHA-256 of its archive.
    pub nar_hash: Hash,
    /// The file or directory to add.
    pub file: PathBuf,
}

/// A row that was not added.
#[derive(Debug)]
pub struct Problem {
    /// The path it should have got.
    pub path: StorePath,
    /// Why it did not.
    pub error: Error,
}

impl LocalStore {
    /// Adds all of `rows`, up to `jobs` at a time; returns those that could not be added, in their order.
    ///
    /// A file is hashed before it is copied: what has not the stated hash, or would not get the stated path,
    /// never enters the store.
    pub fn add_manifest(&self, rows: &[ManifestRow], jobs: usize) -> Vec<Problem> {
        let added = on_each(rows, jobs, |row| self.add_row(row));
        let problem = |(row, result): (&ManifestRow, Result<(), Error>)| {
            result.err().map(|error| Problem { path: row.path.clone(), error })
        };
        rows.iter().zip(added).filter_map(problem).collect()
    }

    fn add_row(&self, row: &ManifestRow) -> Result<(), Error> {
        let name = row.path.name();
        let computed =
            self.store_dir().source_path(name, &row.nar_hash, &std::collections::BTreeSet::new(), false);
        if computed != row.path {
            return Err(Error::Misplaced { file: row.file.clone(), stated: row.path.clone(), computed });
        }
        self.temp_root(&row.path)?;
        if self.is_valid(&row.path)? {
            return Ok(());
        }
        let (hash, _) = hash_tree(&row.file)?;
        if hash != row.nar_hash {
            let (stated, computed) = (Box::new(row.nar_hash), Box::new(hash));
            return Err(Error::Hash { file: row.file.clone(), stated, computed });
        }
        self.add_hashed(name, &row.file, &hash).map(|_| ())
    }
}
