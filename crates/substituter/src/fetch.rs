//! One path, fetched by the program that has it.

use local_store::{Inodes, Scratch, Until, canonicalise, hash_content};
use sandbox::ExitStatus;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use store_path::{ContentAddress, Hash, HashAlgorithm, HashSink, PathInfo, StorePath};

use crate::ask::Substituters;
use crate::error::Error;
use crate::reply::Offer;

/// Longer than the hash that it prints, in any encoding.
const LONGEST_HASH: usize = 200;

/// A path that is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The path.
    pub path: StorePath,
    /// What its substituter says of it.
    pub offer: Offer,
    /// What its contents have to be, where its derivation says that.
    pub promised: Option<ContentAddress>,
}

/// What a program has made, as it should be.
struct Unpacked {
    tree: PathBuf,
    nar_hash: Hash,
    nar_size: u64,
    /// Where the tree is, for as long as it lives.
    scratch: Scratch,
}

impl Substituters<'_> {
    /// Returns which program would fetch something.
    pub fn who(&self, fetch: &Fetch) -> &Path {
        self.program(fetch.offer.program)
    }

    /// Fetches a path and makes it valid. The caller holds its lock, and all that it refers to is valid; `hear` gets what
    /// the program says to people.
    ///
    /// The program unpacks in a place of its own, from which the tree is moved when it is what it should be.
    /// The program is ended, and nothing becomes valid, once it is not wanted any more.
    pub fn fetch(&self, fetch: &Fetch, until: Until<'_>, hear: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        let Unpacked { tree, nar_hash, nar_size, scratch: _scratch } = self.obtain(fetch, until, hear)?;
        let info = PathInfo {
            path: fetch.path.clone(),
            nar_hash,
            nar_size,
            references: fetch.offer.references.clone(),
            deriver: fetch.offer.deriver.clone(),
            registration_time: 0,
            ultimate: false,
            signatures: Vec::new(),
            content_address: fetch.promised,
        };
        Ok(self.store.take_in(&tree, info)?)
    }

    /// Fetches a path that is valid and damaged, and puts what it should be in its place. The caller holds its lock.
    ///
    /// # Errors
    /// [`Error::Other`] if the program has something else than `nar_hash`; whatever it is, the path is as it was.
    pub fn fetch_again(
        &self,
        fetch: &Fetch,
        nar_hash: &Hash,
        until: Until<'_>,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        let unpacked = self.obtain(fetch, until, hear)?;
        if unpacked.nar_hash != *nar_hash {
            let (program, path) = (self.who(fetch).to_owned(), fetch.path.clone());
            let (valid, got) = (Box::new(*nar_hash), Box::new(unpacked.nar_hash));
            return Err(Error::Other { program, path, valid, got });
        }
        Ok(self.store.replace(&fetch.path, &unpacked.tree)?)
    }

    /// Has a path unpacked, and makes sure that it is what was said and promised.
    fn obtain(
        &self,
        fetch: &Fetch,
        until: Until<'_>,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<Unpacked, Error> {
        let (path, program) = (&fetch.path, self.who(fetch));
        let refused = |source| Error::Tree { program: program.to_owned(), path: path.clone(), source };
        let scratch = self.store.take_scratch(path, None)?;
        let tree = scratch.store().join(path.to_string());
        let stated = self.unpack(fetch, &tree, until, hear)?;
        canonicalise(&tree, None, &mut Inodes::default(), until).map_err(refused)?;
        let mut sink = HashSink::new(HashAlgorithm::Sha256);
        nar::dump(&tree, &mut until.pass(&mut sink)).map_err(|source| refused(source.into()))?;
        let (nar_hash, nar_size) = sink.finish();
        if nar_hash != stated {
            let (stated, got) = (Box::new(stated), Box::new(nar_hash));
            return Err(Error::Hash { program: program.to_owned(), path: path.clone(), stated, got });
        }
        self.check_content(fetch, &tree, until)?;
        Ok(Unpacked { tree, nar_hash, nar_size, scratch })
    }

    /// Has the program make the tree, and returns what it says the hash of that is.
    fn unpack(
        &self,
        fetch: &Fetch,
        tree: &Path,
        until: Until<'_>,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<Hash, Error> {
        let full = self.store.store_dir().print(&fetch.path);
        let arguments: [&[u8]; 3] = [b"--substitute", full.as_bytes(), tree.as_os_str().as_bytes()];
        let ended = self.run(fetch.offer.program, &arguments, b"", until, hear)?;
        let (program, path) = (self.who(fetch).to_owned(), fetch.path.clone());
        if ended.status != ExitStatus::Code(0) {
            return Err(Error::Failed { program, path, status: ended.status, said: ended.said });
        }
        let printed = &ended.printed[..ended.printed.len().min(LONGEST_HASH)];
        let line = String::from_utf8_lossy(printed.split(|byte| *byte == b'\n').next().unwrap_or_default());
        let hash = Hash::parse(&line, None).ok().filter(|hash| hash.algorithm() == HashAlgorithm::Sha256);
        hash.ok_or_else(|| Error::NoHash { program, path, printed: line.into_owned() })
    }

    /// Refuses what does not fulfil the promise of its derivation.
    fn check_content(&self, fetch: &Fetch, tree: &Path, until: Until<'_>) -> Result<(), Error> {
        let Some(promised) = fetch.promised else { return Ok(()) };
        let (program, path) = (self.who(fetch).to_owned(), fetch.path.clone());
        let got = hash_content(tree, promised.method, promised.hash.algorithm(), path.digest(), &[], until);
        match got {
            Err(source) => Err(Error::Tree { program, path, source }),
            Ok(got) if got.hash == promised.hash => Ok(()),
            Ok(got) => {
                let (promised, got) = (Box::new(promised), Box::new(got.hash));
                Err(Error::Content { program, path, promised, got })
            }
        }
    }
}
