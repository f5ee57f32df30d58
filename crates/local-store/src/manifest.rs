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

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use crate::store::tests::{scratch_store, some_path};
    use std::collections::BTreeSet;
    use std::fs;

    #[test]
    fn all_that_fits_is_added_and_all_else_is_named() {
        let (scratch, store) = scratch_store();
        let row = |number: usize| {
            let file = scratch.join(format!("f{number}"));
            fs::write(&file, vec![7; number * 1000]).unwrap();
            let (nar_hash, _) = hash_tree(&file).unwrap();
            let name = format!("f{number}").parse().unwrap();
            let path = store.store_dir().source_path(&name, &nar_hash, &BTreeSet::new(), false);
            ManifestRow { path, nar_hash, file }
        };
        let mut rows: Vec<ManifestRow> = (0..50).map(row).collect();
        rows[3].path = some_path("elsewhere");
        fs::write(&rows[7].file, "other contents").unwrap();
        fs::remove_file(&rows[9].file).unwrap();
        let problems = store.add_manifest(&rows, 4);
        let paths: Vec<_> = problems.iter().map(|problem| &problem.path).collect();
        assert_eq!(paths, [&rows[3].path, &rows[7].path, &rows[9].path]);
        assert!(matches!(problems[0].error, Error::Misplaced { .. }));
        assert!(matches!(problems[1].error, Error::Hash { .. }));
        assert!(matches!(problems[2].error, Error::Dump(_)));
        assert_eq!(store.all_valid().unwrap().len(), 47);
        assert!(store.verify(true).unwrap().damaged.is_empty());
        assert_eq!(store.add_manifest(&rows[10..], 2).len(), 0, "a second time nothing is to do");
    }
}
