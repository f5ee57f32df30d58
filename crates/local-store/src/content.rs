//! What the path of a content-addressed object is computed from: hashes of what is on disk.
#![expect(clippy::disallowed_methods, reason = "reads files of the store and of builds")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use store_path::{
    ContentAddress, Digest, Hash, HashAlgorithm, Method, Modulo, ModuloSink, PathInfo, StoreDir,
};

use crate::error::Error;
use crate::git;
use crate::until::Until;

/// Hashes the tree at `path` by `method`, as if its own digest were not known and others were replaced already.
///
/// The first of each pair of `rewrites` is hashed as the second. Git's objects know nothing of digests, so there they
/// are hashed as they are.
///
/// # Errors
/// [`Error::NotFlat`] if the method is about one file, and there is another thing.
pub fn hash_content(
    path: &Path,
    method: Method,
    algorithm: HashAlgorithm,
    own: &Digest,
    rewrites: &[(Digest, Digest)],
    until: Until<'_>,
) -> Result<Modulo, Error> {
    if method == Method::Git {
        let hash = git::hash(path, algorithm, until)?;
        return Ok(Modulo { hash, without_offsets: hash, refers_to_itself: false, replaced: false });
    }
    let mut sink = until.pass(ModuloSink::new(algorithm, own, rewrites.iter().copied()));
    match method {
        Method::Nar => drop(nar::dump(path, &mut sink)?),
        _ => {
            let metadata = fs::symlink_metadata(path).map_err(Error::file("look at", path))?;
            if !metadata.is_file() || metadata.permissions().mode() & 0o111 != 0 {
                return Err(Error::NotFlat { path: path.to_owned() });
            }
            let mut file = File::open(path).map_err(Error::file("read", path))?;
            io::copy(&mut file, &mut sink).map_err(Error::file("read", path))?;
        }
    }
    Ok(sink.into_inner().finish())
}

/// Whether the content address that is stated of a path is that of the tree at `tree`, whose archive has the hash `archive`,
/// and gives the path. It is if none is stated.
pub(crate) fn is_addressed(
    store_dir: &StoreDir,
    info: &PathInfo,
    archive: &Hash,
    tree: &Path,
    until: Until<'_>,
) -> Result<bool, Error> {
    let Some(stated) = info.content_address else { return Ok(true) };
    let ContentAddress { method, hash } = stated;
    let mut others = info.references.clone();
    let refers_to_itself = others.remove(&info.path);
    let path = store_dir.addressed_path(info.path.name(), &stated, &others, refers_to_itself);
    if path.as_ref() != Some(&info.path) {
        return Ok(false);
    }
    // An archive without its own digest in it was hashed already.
    if method == Method::Nar && hash.algorithm() == HashAlgorithm::Sha256 && !refers_to_itself {
        return Ok(hash == *archive);
    }
    match hash_content(tree, method, hash.algorithm(), info.path.digest(), &[], until) {
        // Without offsets, as some releases of Nix have made it.
        Ok(modulo) => Ok(hash == modulo.hash || hash == modulo.without_offsets),
        Err(Error::NotFlat { .. } | Error::GitAlgorithm { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
