//! How much of the disk store paths take.

use std::collections::{HashMap, HashSet};

use store_path::StorePath;

use crate::error::Error;
use crate::gc::links::Links;
use crate::store::LocalStore;
use crate::threads::{on_each, processors};
use crate::tree::walk;
use crate::weight::{FileId, Link, Weight};

/// How much of the disk some paths take, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// What each has alone, in the order of the paths.
    pub own: Vec<u64>,
    /// Files with several names: each is there once.
    pub shared: Vec<SharedFile>,
}

/// A file with several names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedFile {
    /// How much of the disk it takes.
    pub bytes: u64,
    /// Which of the paths have it, by their numbers, in order.
    pub paths: Vec<usize>,
    /// Whether it has names elsewhere: in other paths, or outside of the store.
    pub elsewhere: bool,
}

/// What was found of a file with several names.
struct Names {
    bytes: u64,
    links: u64,
    found: u64,
    paths: Vec<usize>,
}

impl LocalStore {
    /// Looks how much of the disk the files of `paths` take. A file with several names is there once; the name that
    /// `.links` has for it does not count, since it goes with the others.
    pub fn disk_use(&self, paths: &[&StorePath]) -> Result<DiskUse, Error> {
        let weights = on_each(paths, processors(), |path| {
            let mut weight = Weight::default();
            walk(&self.place_of(path), &mut weight).map(|()| weight)
        });
        let mut disk_use = DiskUse::default();
        let mut files: HashMap<FileId, Names> = HashMap::new();
        for (path, weight) in weights.into_iter().enumerate() {
            let Weight { own_bytes, shared, .. } = weight?;
            disk_use.own.push(own_bytes);
            for Link { id, links, bytes } in shared {
                let names = files.entry(id).or_insert(Names { bytes, links, found: 0, paths: Vec::new() });
                names.found += 1;
                if names.paths.last() != Some(&path) {
                    names.paths.push(path);
                }
            }
        }
        let linked = if files.is_empty() { HashSet::new() } else { Links::read(self.location())?.inodes() };
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort_unstable_by_key(|(id, _)| *id);
        for ((_, inode), names) in files {
            let known = names.found + u64::from(linked.contains(&inode));
            let elsewhere = names.links > known;
            match names.paths[..] {
                [path] if !elsewhere => disk_use.own[path] += names.bytes,
                _ => disk_use.shared.push(SharedFile { bytes: names.bytes, paths: names.paths, elsewhere }),
            }
        }
        Ok(disk_use)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::tests::{scratch_store, some_path};

    #[test]
    fn a_file_with_several_names_is_there_once() {
        let (scratch, store) = scratch_store();
        let [a, b] = ["a", "b"].map(some_path);
        for path in [&a, &b] {
            fs::create_dir(store.real_path(path)).unwrap();
        }
        let file = |path: &StorePath, name: &str| store.real_path(path).join(name);
        for name in ["both", "linked", "outside"] {
            fs::write(file(&a, name), [b'x'; 10_000]).unwrap();
        }
        fs::write(file(&b, "alone"), [b'x'; 10_000]).unwrap();
        let links = store.location().links();
        fs::hard_link(file(&a, "both"), file(&b, "both")).unwrap();
        fs::hard_link(file(&a, "both"), links.join("both")).unwrap();
        fs::hard_link(file(&a, "linked"), links.join("linked")).unwrap();
        fs::hard_link(file(&a, "outside"), scratch.join("outside")).unwrap();
        let found = store.disk_use(&[&a, &b]).unwrap();
        let mut shared: Vec<_> =
            found.shared.iter().map(|file| (file.paths.clone(), file.elsewhere)).collect();
        shared.sort();
        assert_eq!(shared, [(vec![0], true), (vec![0, 1], false)]);
        let one = found.shared[0].bytes;
        assert!(one >= 10_000 || one == 0, "{found:?}");
        let alone = store.disk_use(&[&b]).unwrap();
        assert_eq!(alone.shared.len(), 1);
        assert!(alone.shared[0].elsewhere, "the other path has it, too");
        assert_eq!(alone.own[0], found.own[1]);
    }
}
