//! Adding what is not built: sources, texts, derivations.
#![expect(clippy::disallowed_methods, reason = "writes files of the store and reads the clock for them")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Mode;
use store_path::{ContentAddress, Digest, Hash, HashAlgorithm, HashSink, Method, Name, PathInfo, StorePath};

use crate::canonical::{Inodes, STORE_TIME, canonicalise};
use crate::dead::aside_suffix;
use crate::delete::remove_tree;
use crate::error::Error;
use crate::failpoint;
use crate::part::Part;
use crate::store::LocalStore;
use crate::threads;
use crate::until::Until;

/// A derivation on its way into the store.
#[derive(Clone, Debug)]
pub struct NewDerivation<'aterm> {
    /// The path that its text gives.
    pub path: StorePath,
    /// Its text.
    pub aterm: &'aterm [u8],
    /// What it refers to: its inputs.
    pub references: BTreeSet<StorePath>,
    /// Those of its outputs whose paths are known, by name.
    pub outputs: BTreeMap<String, StorePath>,
}

impl LocalStore {
    /// Adds a copy of the tree at `source`, by the SHA-256 of its archive.
    pub fn add_path(&self, name: &Name, source: &Path) -> Result<PathInfo, Error> {
        let (hash, _) = hash_tree(source)?;
        self.add_hashed(name, source, &hash)
    }

    /// Adds a copy of the tree at `source`, whose archive has the SHA-256 `hash`.
    pub(crate) fn add_hashed(&self, name: &Name, source: &Path, hash: &Hash) -> Result<PathInfo, Error> {
        self.add_part(name, source, &Part::whole(), hash)
    }

    /// Adds a copy of a part of the tree at `source`, where the archive of that has the SHA-256 `hash`.
    pub(crate) fn add_part(
        &self,
        name: &Name,
        source: &Path,
        part: &Part,
        hash: &Hash,
    ) -> Result<PathInfo, Error> {
        let path = self.store_dir().source_path(name, hash, &BTreeSet::new(), false);
        self.temp_root(&path)?;
        if let Some(info) = self.path_info(&path)? {
            return Ok(info);
        }
        let _lock = self.lock(std::slice::from_ref(&path))?;
        failpoint::reach("add.locked")?;
        // Whoever held the lock may have added it.
        if let Some(info) = self.path_info(&path)? {
            return Ok(info);
        }
        let info = self.copy_in(source, part, &path, hash)?;
        self.register(std::slice::from_ref(&info))?;
        Ok(info)
    }

    /// Adds a file with the given contents, which refer to `references`.
    pub fn add_text(
        &self,
        name: &Name,
        contents: &[u8],
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, Error> {
        let hash = Hash::of(HashAlgorithm::Sha256, contents);
        let path = self.store_dir().text_path(name, &hash, references);
        self.temp_root(&path)?;
        if !self.is_valid(&path)? {
            let info = self.place_text(&path, contents, hash, references)?;
            self.register(&[info])?;
        }
        Ok(path)
    }

    /// Adds many derivations with one sync and one transaction; they may refer to each other.
    pub fn add_derivations(&self, derivations: &[NewDerivation<'_>]) -> Result<(), Error> {
        let paths: BTreeSet<StorePath> =
            derivations.iter().map(|derivation| derivation.path.clone()).collect();
        // What they refer to must not be collected before they are valid, either.
        let references = derivations.iter().flat_map(|derivation| &derivation.references);
        let rooted: BTreeSet<&StorePath> = paths.iter().chain(references).collect();
        self.temp_roots(&rooted.into_iter().cloned().collect::<Vec<_>>())?;
        again_when_overtaken(&paths, || self.add_missing(derivations, &paths))
    }

    fn add_missing(
        &self,
        derivations: &[NewDerivation<'_>],
        paths: &BTreeSet<StorePath>,
    ) -> Result<(), Error> {
        let valid = self.valid_among(paths)?;
        let (mut infos, mut outputs) = (Vec::new(), Vec::new());
        for derivation in derivations.iter().filter(|derivation| !valid.contains(&derivation.path)) {
            infos.push(self.place_derivation(derivation)?);
            outputs.push((derivation.path.clone(), derivation.outputs.clone()));
        }
        if infos.is_empty() { Ok(()) } else { self.register_with(infos, outputs) }
    }

    /// Makes a tree valid that was made elsewhere on the same file system, and is canonical: moves it to its place first.
    ///
    /// The caller holds the lock of the path, and has seen that all else in `info` is right; when it became valid is
    /// filled in.
    pub fn take_in(&self, tree: &Path, info: PathInfo) -> Result<(), Error> {
        self.move_into_place(tree, &info.path)?;
        self.register(&[PathInfo { registration_time: now(), ..info }])
    }

    fn place_derivation(&self, derivation: &NewDerivation<'_>) -> Result<PathInfo, Error> {
        let hash = Hash::of(HashAlgorithm::Sha256, derivation.aterm);
        let stated = &derivation.path;
        let computed = self.store_dir().text_path(stated.name(), &hash, &derivation.references);
        if computed != *stated {
            return Err(Error::Misplaced { file: self.real_path(stated), stated: stated.clone(), computed });
        }
        self.place_text(stated, derivation.aterm, hash, &derivation.references)
    }

    fn place_text(
        &self,
        path: &StorePath,
        contents: &[u8],
        hash: Hash,
        references: &BTreeSet<StorePath>,
    ) -> Result<PathInfo, Error> {
        self.place_file(path, contents)?;
        failpoint::reach("text.written")?;
        let archive = hash_file(contents);
        let address = ContentAddress { method: Method::Text, hash };
        Ok(PathInfo { references: references.clone(), ..added(path, archive, address) })
    }

    /// Writes a file of the store without its lock, as nobody ever puts anything else at this path.
    ///
    /// Mostly the path is free. What is there otherwise may be half of it, from a killed process or one that
    /// is writing right now: then a whole file replaces it in one step.
    fn place_file(&self, path: &StorePath, contents: &[u8]) -> Result<(), Error> {
        let place = &self.real_path(path);
        match write_new(place, contents) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map_err(Error::file("write", place)),
        }
        if fs::symlink_metadata(place).is_ok_and(|metadata| metadata.is_dir()) {
            remove_tree(place)?;
        }
        let aside = |unique: &str| self.location().real_store.join(name_aside(path.digest(), unique));
        let aside =
            self.with_unique(aside, |path| write_new(path, contents)).map_err(Error::file("write", place))?.0;
        let renamed = failpoint::reach("text.aside")
            .and_then(|()| fs::rename(&aside, place).map_err(Error::file("write", place)));
        renamed.inspect_err(|_| drop(fs::remove_file(&aside)))
    }

    fn copy_in(&self, source: &Path, part: &Part, path: &StorePath, hash: &Hash) -> Result<PathInfo, Error> {
        let place = self.clear(path)?;
        let copied = threads::copy(source, part, &place, Until::DONE).and_then(|archive| {
            failpoint::reach("add.copied")?;
            canonicalise(&place, None, &mut Inodes::default(), Until::DONE)?;
            failpoint::reach("add.placed")?;
            if archive.0 == *hash { Ok(archive) } else { Err(Error::Changed { path: source.to_owned() }) }
        });
        let archive = copied.inspect_err(|_| {
            // A left-over is no harm, only in the way; the next one who adds it deletes it.
            let _ = remove_tree(&place);
        })?;
        let address = ContentAddress { method: Method::Nar, hash: *hash };
        Ok(added(path, archive, address))
    }
}

/// So often it is tried to add what a collector takes away meanwhile.
const TRIES: u32 = 100;

/// After so many milliseconds it is tried again.
const AGAIN_MILLIS: u32 = 10;

/// Adds `paths`, which are temporary roots, once more when a collector took some of them away meanwhile.
///
/// Nix's collector deletes a path together with all that refers to it; whoever makes one of them a root while it still
/// looks at the others is told that the path stays, and it goes nevertheless. It does so once.
fn again_when_overtaken(
    paths: &BTreeSet<StorePath>,
    mut add: impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    for _ in 1..TRIES {
        match add() {
            Err(error) if is_of_taken(&error, paths) => Until::DONE.is_over_within(AGAIN_MILLIS),
            result => return result,
        };
    }
    add()
}

/// Whether an error comes of one of `paths` not being there any more.
fn is_of_taken(error: &Error, paths: &BTreeSet<StorePath>) -> bool {
    match error {
        Error::Database(store_db::Error::InvalidReference { reference, .. }) => paths.contains(reference),
        Error::File { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Returns the SHA-256 of the archive of `tree`, and its size.
pub(crate) fn hash_tree(tree: &Path) -> Result<(Hash, u64), Error> {
    let mut sink = HashSink::new(HashAlgorithm::Sha256);
    nar::dump(tree, &mut sink)?;
    Ok(sink.finish())
}

/// Returns the same for a file with these contents.
fn hash_file(contents: &[u8]) -> (Hash, u64) {
    let mut sink = HashSink::new(HashAlgorithm::Sha256);
    let mut writer = nar::Writer::new(&mut sink);
    let size = contents.len() as u64;
    writer
        .regular(false, size, &mut io::Cursor::new(contents))
        .and_then(|()| writer.finish())
        .expect("neither the contents nor the hash can fail, and the size is theirs");
    sink.finish()
}

/// What is known about a path that was added, not built.
fn added(path: &StorePath, (nar_hash, nar_size): (Hash, u64), address: ContentAddress) -> PathInfo {
    PathInfo {
        path: path.clone(),
        nar_hash,
        nar_size,
        references: BTreeSet::new(),
        deriver: None,
        registration_time: now(),
        ultimate: false,
        signatures: Vec::new(),
        content_address: Some(address),
    }
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed()
}

/// A name with the digest of a temporary root: of any other, Nix's collector takes what is not valid at once.
fn name_aside(digest: &Digest, unique: &str) -> String {
    let process = std::process::id().to_string();
    format!("{digest}-{unique}{}", aside_suffix(&process))
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o444).open(path)?;
    file.write_all(contents)?;
    // The mode above went through the caller's umask.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o444))?;
    rustix::fs::futimens(&file, &STORE_TIME)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch_store;
    use std::os::unix::fs::MetadataExt;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn sources_get_the_path_that_nix_gives_them() {
        let (scratch, store) = scratch_store();
        fs::write(scratch.join("file"), "hello").unwrap();
        let info = store.add_path(&name("hello.txt"), &scratch.join("file")).unwrap();
        assert_eq!(info.path.to_string(), "xfp2hphvk98rkk9ywlqpp587rjdcgnc2-hello.txt");
        assert_eq!(info.nar_size, 120);
        assert_eq!(store.path_info(&info.path).unwrap().as_ref(), Some(&info));
        let metadata = fs::metadata(store.real_path(&info.path)).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o444, 1));
        assert_eq!(
            store.add_path(&name("hello.txt"), &scratch.join("file")).unwrap(),
            info,
            "once is enough"
        );
    }

    #[test]
    fn what_a_collector_takes_meanwhile_is_added_again() {
        let [path, reference, foreign] = ["x.drv", "y.drv", "z.drv"].map(crate::store::tests::some_path);
        let paths = [path.clone(), reference.clone()].into();
        let taken = |reference: &StorePath| {
            let (path, reference) = (path.clone(), reference.clone());
            Error::Database(store_db::Error::InvalidReference { path, reference })
        };
        let gone = || Error::file("sync", Path::new("x"))(io::Error::from(io::ErrorKind::NotFound));
        let mut errors = vec![gone(), taken(&reference)];
        again_when_overtaken(&paths, || errors.pop().map_or(Ok(()), Err)).unwrap();
        assert!(errors.is_empty());
        let mut errors = vec![gone(), taken(&foreign)];
        let error = again_when_overtaken(&paths, || errors.pop().map_or(Ok(()), Err)).unwrap_err();
        assert!(error.to_string().contains("z.drv") && errors.len() == 1, "{error}");
    }

    #[test]
    fn what_is_made_aside_is_kept_by_the_root_of_what_it_becomes() {
        let path = crate::store::tests::some_path("x.drv");
        let aside: StorePath = name_aside(path.digest(), "17-3").parse().unwrap();
        assert_eq!(aside.digest(), path.digest());
        assert!(aside.to_string().ends_with(&aside_suffix(&std::process::id().to_string())), "it is swept");
    }

    #[test]
    fn a_tree_replaces_what_a_killed_process_left() {
        let (scratch, store) = scratch_store();
        fs::create_dir_all(scratch.join("tree/empty")).unwrap();
        fs::write(scratch.join("tree/file"), vec![7; 1 << 20]).unwrap();
        let (hash, size) = hash_tree(&scratch.join("tree")).unwrap();
        let path = store.store_dir().source_path(&name("tree"), &hash, &BTreeSet::new(), false);
        fs::create_dir_all(store.real_path(&path).join("half")).unwrap();
        let info = store.add_path(&name("tree"), &scratch.join("tree")).unwrap();
        assert_eq!((info.path.clone(), info.nar_size), (path, size));
        assert_eq!(hash_tree(&store.real_path(&info.path)).unwrap(), (hash, size));
    }

    #[test]
    fn a_failed_copy_leaves_nothing_and_says_why() {
        let (scratch, store) = scratch_store();
        fs::create_dir(scratch.join("tree")).unwrap();
        fs::write(scratch.join("tree/file"), "hello").unwrap();
        let (hash, _) = hash_tree(&scratch.join("tree")).unwrap();
        fs::write(scratch.join("tree/file"), "hallo").unwrap();
        let error = store.add_hashed(&name("tree"), &scratch.join("tree"), &hash).unwrap_err();
        assert!(matches!(error, Error::Changed { .. }), "{error}");
        let missing = store.add_path(&name("x"), &scratch.join("absent")).unwrap_err();
        assert!(missing.to_string().contains("absent"), "{missing}");
        assert!(store.all_valid().unwrap().is_empty());
        let left: Vec<_> = fs::read_dir(&store.location().real_store).unwrap().collect();
        assert_eq!(left.len(), 1, "only `.links`: {left:?}");
    }

    #[test]
    fn texts_replace_half_written_ones() {
        let (_scratch, store) = scratch_store();
        let hash = Hash::of(HashAlgorithm::Sha256, b"hello");
        let path = store.store_dir().text_path(&name("hello.txt"), &hash, &BTreeSet::new());
        fs::write(store.real_path(&path), "hel").unwrap();
        assert_eq!(store.add_text(&name("hello.txt"), b"hello", &BTreeSet::new()).unwrap(), path);
        assert_eq!(fs::read(store.real_path(&path)).unwrap(), b"hello");
        assert!(store.verify(true).unwrap().damaged.is_empty());
        assert_eq!(fs::metadata(store.real_path(&path)).unwrap().mtime(), 1);
    }

    #[test]
    fn derivations_are_checked_and_keep_their_outputs() {
        let (_scratch, store) = scratch_store();
        let input = store.add_text(&name("input"), b"x", &BTreeSet::new()).unwrap();
        let references = BTreeSet::from([input]);
        let hash = Hash::of(HashAlgorithm::Sha256, b"Derive()");
        let path = store.store_dir().text_path(&name("x.drv"), &hash, &references);
        let output = crate::store::tests::some_path("x");
        let outputs = BTreeMap::from([("out".to_owned(), output.clone())]);
        let new =
            NewDerivation { path: path.clone(), aterm: b"Derive()", references, outputs: outputs.clone() };
        let wrong = NewDerivation { aterm: b"Derive", ..new.clone() };
        let error = store.add_derivations(&[new.clone(), wrong]).unwrap_err();
        assert!(matches!(error, Error::Misplaced { .. }));
        store.add_derivations(std::slice::from_ref(&new)).unwrap();
        store.add_derivations(std::slice::from_ref(&new)).unwrap();
        assert_eq!(store.outputs_of(&path).unwrap(), outputs);
        assert_eq!(store.derivers(&output).unwrap(), BTreeSet::from([path]));
    }
}
