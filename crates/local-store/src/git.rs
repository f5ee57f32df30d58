//! The names that git gives to files and trees.
#![expect(clippy::disallowed_methods, reason = "reads files of the store and of builds")]

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use store_path::{Hash, HashAlgorithm, HashSink};

use crate::error::Error;
use crate::until::Until;

/// An entry of a tree.
struct Entry {
    mode: &'static str,
    name: Vec<u8>,
    hash: Hash,
}

impl Entry {
    /// What entries are ordered by: a directory as if a slash followed.
    fn key(&self) -> Vec<u8> {
        let slash: &[u8] = if self.mode == TREE { b"/" } else { b"" };
        [&self.name, slash].concat()
    }
}

const TREE: &str = "40000";

/// A directory whose entries are being hashed.
struct Open {
    path: PathBuf,
    done: Vec<Entry>,
    /// Those that are left.
    left: Vec<PathBuf>,
}

impl Open {
    fn new(path: PathBuf) -> Result<Self, Error> {
        let list =
            || -> io::Result<Vec<PathBuf>> { fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect() };
        let left = list().map_err(Error::file("read", &path))?;
        Ok(Self { path, done: Vec::new(), left })
    }
}

/// Returns the name of the tree at `path`, or of the file, which must not be executable: what its mode is, the name
/// does not say.
pub(crate) fn hash(path: &Path, algorithm: HashAlgorithm, until: Until<'_>) -> Result<Hash, Error> {
    if !matches!(algorithm, HashAlgorithm::Sha1 | HashAlgorithm::Sha256) {
        return Err(Error::GitAlgorithm { path: path.to_owned(), algorithm });
    }
    let metadata = look_at(path)?;
    if metadata.is_dir() {
        return tree(path, algorithm, until);
    }
    if !metadata.is_file() || is_executable(&metadata) {
        return Err(Error::NotFlat { path: path.to_owned() });
    }
    blob(path, &metadata, algorithm, until)
}

/// No recursion: how deep it goes is the builder's choice.
fn tree(path: &Path, algorithm: HashAlgorithm, until: Until<'_>) -> Result<Hash, Error> {
    let mut open = vec![Open::new(path.to_owned())?];
    loop {
        let Some(directory) = open.last_mut() else { return Err(Error::Changed { path: path.to_owned() }) };
        let Some(next) = directory.left.pop() else {
            let Open { path: ended, mut done, .. } =
                open.pop().ok_or_else(|| Error::Changed { path: path.to_owned() })?;
            done.sort_by_key(Entry::key);
            let hash = tree_of(&done, algorithm);
            match open.last_mut() {
                None => return Ok(hash),
                Some(parent) => parent.done.push(Entry { mode: TREE, name: name_of(&ended), hash }),
            }
            continue;
        };
        until.check().map_err(Error::file("go on with", &next))?;
        let metadata = look_at(&next)?;
        if metadata.is_dir() {
            open.push(Open::new(next)?);
            continue;
        }
        let (mode, hash) = leaf(&next, &metadata, algorithm, until)?;
        directory.done.push(Entry { mode, name: name_of(&next), hash });
    }
}

fn leaf(
    path: &Path,
    metadata: &Metadata,
    algorithm: HashAlgorithm,
    until: Until<'_>,
) -> Result<(&'static str, Hash), Error> {
    if metadata.is_symlink() {
        let target = fs::read_link(path).map_err(Error::file("read", path))?;
        let target = target.as_os_str().as_bytes();
        let mut sink = object("blob", target.len() as u64, algorithm);
        sink.write_all(target).map_err(Error::file("hash", path))?;
        return Ok(("120000", sink.finish().0));
    }
    if !metadata.is_file() {
        return Err(Error::Kind { path: path.to_owned() });
    }
    let mode = if is_executable(metadata) { "100755" } else { "100644" };
    Ok((mode, blob(path, metadata, algorithm, until)?))
}

fn blob(path: &Path, metadata: &Metadata, algorithm: HashAlgorithm, until: Until<'_>) -> Result<Hash, Error> {
    let mut sink = object("blob", metadata.len(), algorithm);
    let mut file = File::open(path).map_err(Error::file("read", path))?;
    let copied = io::copy(&mut until.pass(&mut file), &mut sink).map_err(Error::file("read", path))?;
    match copied == metadata.len() {
        true => Ok(sink.finish().0),
        false => Err(Error::Changed { path: path.to_owned() }),
    }
}

fn tree_of(entries: &[Entry], algorithm: HashAlgorithm) -> Hash {
    let mut bytes = Vec::new();
    for Entry { mode, name, hash } in entries {
        bytes.extend_from_slice(mode.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(hash.as_bytes());
    }
    let mut sink = object("tree", bytes.len() as u64, algorithm);
    sink.write_all(&bytes).expect("a hash takes any bytes");
    sink.finish().0
}

fn object(kind: &str, size: u64, algorithm: HashAlgorithm) -> HashSink {
    let mut sink = HashSink::new(algorithm);
    write!(sink, "{kind} {size}\0").expect("a hash takes any bytes");
    sink
}

fn look_at(path: &Path) -> Result<Metadata, Error> {
    fs::symlink_metadata(path).map_err(Error::file("look at", path))
}

fn is_executable(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o100 != 0
}

fn name_of(path: &Path) -> Vec<u8> {
    path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use test_support::Scratch;

    /// The objects of Nix's golden data (`libutil-tests/data/git` of 2.36), but for the symlink: no target has a zero.
    #[test]
    fn names_are_those_of_git() {
        let scratch = Scratch::new();
        let root = scratch.join("tree");
        fs::create_dir_all(root.join("baZ")).unwrap();
        let write = |name: &str, mode: u32| {
            fs::write(root.join(name), b"Hello \n\0\n\t World").unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        write("Foo", 0o444);
        write("bAr", 0o555);
        symlink("hello\n", root.join("quuX")).unwrap();
        let algorithms = [
            (
                HashAlgorithm::Sha1,
                "sha1:63ddb340119baf8492d2da53af47e8c7cfcd5eb2",
                "sha1:4b825dc642cb6eb9a060e54bf8d69288fbee4904",
                "tree 124\0",
            ),
            (
                HashAlgorithm::Sha256,
                "sha256:ce60f5ad78a08ac24872ef74d78b078f077be212e7a246893a1a5d957dfbc8b1",
                "sha256:6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
                "tree 172\0",
            ),
        ];
        for (algorithm, blob, empty, head) in algorithms {
            let name = |path: &Path| hash(path, algorithm, Until::DONE).unwrap();
            let [blob, empty] = [blob, empty].map(|text| Hash::parse(text, None).unwrap());
            assert_eq!((name(&root.join("Foo")), name(&root.join("baZ"))), (blob, empty));
            let target = Hash::of(algorithm, b"blob 6\0hello\n");
            let entries =
                [("100644 Foo", blob), ("100755 bAr", blob), ("40000 baZ", empty), ("120000 quuX", target)];
            let mut bytes = head.as_bytes().to_vec();
            for (entry, hash) in &entries {
                bytes.extend_from_slice(&[entry.as_bytes(), &[0], hash.as_bytes()].concat());
            }
            assert_eq!(name(&root), Hash::of(algorithm, &bytes));
        }
        for (path, algorithm) in
            [(root.join("bAr"), HashAlgorithm::Sha1), (root.join("quuX"), HashAlgorithm::Sha1)]
        {
            assert!(matches!(hash(&path, algorithm, Until::DONE), Err(Error::NotFlat { .. })), "{path:?}");
        }
        assert!(matches!(hash(&root, HashAlgorithm::Md5, Until::DONE), Err(Error::GitAlgorithm { .. })));
    }

    #[test]
    fn a_directory_is_ordered_as_if_a_slash_followed() {
        let scratch = Scratch::new();
        let root = scratch.join("tree");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a.b"), "").unwrap();
        fs::write(root.join("a0"), "").unwrap();
        let mut keys = Vec::new();
        for (mode, name) in [(TREE, "a"), ("100644", "a.b"), ("100644", "a0")] {
            let hash = Hash::of(HashAlgorithm::Sha1, b"");
            keys.push(Entry { mode, name: name.as_bytes().to_vec(), hash });
        }
        keys.sort_by_key(Entry::key);
        let names: Vec<_> = keys.iter().map(|entry| entry.name.clone()).collect();
        assert_eq!(names, [&b"a.b"[..], b"a", b"a0"]);
        hash(&root, HashAlgorithm::Sha256, Until::DONE).unwrap();
    }
}
