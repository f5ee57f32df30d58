//! What the path of a content-addressed object is computed from: hashes of what is on disk.
#![expect(clippy::disallowed_methods, reason = "reads files of the store and of builds")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use store_path::{Digest, HashAlgorithm, Method, Modulo, ModuloSink};

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
