//! Files and directories of the user's, on their way into the store without what does not belong there.
#![expect(clippy::disallowed_methods, reason = "looks at the user's files")]

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use store_path::{Hash, HashAlgorithm, HashSink, Name, StoreDir, StorePath};

use crate::error::Error;
use crate::ignore_rules::{Rules, Verdict};
use crate::part::Part;
use crate::store::LocalStore;

/// A file or directory to import.
#[derive(Clone, Copy, Debug)]
pub struct Import<'a> {
    /// What to call it in the store.
    pub name: &'a Name,
    /// Where it is. A symlink is followed, but none that is in it.
    pub tree: &'a Path,
    /// The directory above it from which on rules count that say what is left out; if it is not below that, those in it
    /// count only.
    pub rules_from: &'a Path,
}

impl LocalStore {
    /// Adds a copy of a file or directory, without what the rules in `.gitignore` and `.storeignore` leave out.
    ///
    /// Rules are git's. Those of a directory go before those of the ones above, and `.storeignore` goes before the
    /// `.gitignore` beside it. Without a rule, `.git` is left out, and so are the links that `store build` makes. A
    /// directory of which nothing is left is left out too, as git would not have it either.
    pub fn import(&self, import: &Import<'_>) -> Result<StorePath, Error> {
        let (tree, part, hash) = import.select(self.store_dir())?;
        Ok(self.add_part(import.name, &tree, &part, &hash)?.path)
    }
}

impl Import<'_> {
    /// Returns the path that [`LocalStore::import`] would give in a store at `store_dir`, which need not be there.
    pub fn store_path(&self, store_dir: &StoreDir) -> Result<StorePath, Error> {
        let (_, _, hash) = self.select(store_dir)?;
        Ok(store_dir.source_path(self.name, &hash, &BTreeSet::new(), false))
    }

    fn select(&self, store_dir: &StoreDir) -> Result<(PathBuf, Part, Hash), Error> {
        let real = |path: &Path| fs::canonicalize(path).map_err(Error::file("find", path));
        let tree = real(self.tree)?;
        let part = if tree.is_dir() {
            Part::without(left_out(&tree, &real(self.rules_from)?, store_dir)?)
        } else {
            Part::whole()
        };
        let mut sink = HashSink::new(HashAlgorithm::Sha256);
        part.dump(&tree, &mut sink)?;
        Ok((tree, part, sink.finish().0))
    }
}

/// Walks a tree and returns what is to be left out of it.
fn left_out(tree: &Path, rules_from: &Path, store_dir: &StoreDir) -> Result<HashSet<PathBuf>, Error> {
    let mut left_out = HashSet::new();
    let mut walked = Vec::new();
    let mut ahead = vec![(tree.to_owned(), Rules::above(tree, rules_from)?, None)];
    while let Some((directory, above, parent)) = ahead.pop() {
        let rules = Rules::in_directory(&directory, above)?;
        let mut counts = Counts { parent, kept: 0, left: 0, path: directory.clone() };
        let place = walked.len();
        for entry in fs::read_dir(&directory).map_err(Error::file("list", &directory))? {
            let entry = entry.map_err(Error::file("list", &directory))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(Error::file("look at", &path))?;
            let verdict = rules.judge(&path, kind.is_dir());
            if verdict == Verdict::Out || verdict == Verdict::None && is_usually_out(&entry, store_dir) {
                counts.left += 1;
                left_out.insert(path);
                continue;
            }
            counts.kept += 1;
            if kind.is_dir() {
                ahead.push((path, Some(Rc::clone(&rules)), Some(place)));
            }
        }
        walked.push(counts);
    }
    leave_out_emptied(&mut walked, &mut left_out);
    Ok(left_out)
}

/// What nobody wants in a source unless a rule says so: git's own, and links to what was built of it.
fn is_usually_out(entry: &fs::DirEntry, store_dir: &StoreDir) -> bool {
    let name = entry.file_name();
    if name == ".git" {
        return true;
    }
    // Into whichever store: what is imported must not depend on where that is.
    let store = store_dir.as_str().trim_start_matches('/');
    let is_stored = |path: &Path| {
        let base = path.file_name().and_then(OsStr::to_str);
        base.is_some_and(|base| base.parse::<StorePath>().is_ok())
            && path.parent().is_some_and(|parent| parent.ends_with(store))
    };
    let is_result = name == "result" || name.as_bytes().starts_with(b"result-");
    is_result && fs::read_link(entry.path()).is_ok_and(|target| target.ancestors().any(is_stored))
}

/// What was found in a directory.
struct Counts {
    /// Where the one above is in the list.
    parent: Option<usize>,
    path: PathBuf,
    kept: usize,
    left: usize,
}

/// Leaves out the directories of which nothing was kept, but not those that were empty, from the innermost on.
fn leave_out_emptied(walked: &mut [Counts], left_out: &mut HashSet<PathBuf>) {
    for place in (0..walked.len()).rev() {
        let Counts { parent: Some(parent), kept: 0, left: 1.., path } = &walked[place] else { continue };
        let parent = *parent;
        left_out.insert(path.clone());
        walked[parent].kept -= 1;
        walked[parent].left += 1;
    }
}
