//! What a builder left behind becomes valid: canonical, hashed, scanned, checked, in place, registered.

#![expect(clippy::disallowed_methods, reason = "reads the outputs of builds")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use derivation::{Output, OutputName};
use local_store::{Inodes, LocalStore};
use store_path::{
    BuildRecord, ContentAddress, Hash, HashAlgorithm, HashSink, Method, PathInfo, RefScanner, StorePath,
};

use crate::checks;
use crate::failure::BuildFailure;
use crate::request::Request;

/// Where outputs were made.
pub(crate) struct Made<'a> {
    /// The directory that was the store directory for the builder.
    pub(crate) directory: PathBuf,
    /// The user outside that must own what is in it; `None` when it is the caller.
    pub(crate) owner: Option<RangeInclusive<u32>>,
    /// Where outputs are copied to first, if the builder could pass an open file of theirs to a process that
    /// outlives it, and which could then change what is valid.
    pub(crate) copies: Option<&'a Path>,
}

impl Made<'_> {
    fn path(&self, output: &StorePath) -> PathBuf {
        self.directory.join(output.to_string())
    }

    /// What becomes valid.
    fn kept(&self, output: &StorePath) -> PathBuf {
        self.copies.unwrap_or(&self.directory).join(output.to_string())
    }
}

/// The first output that is not there, and where it should be.
pub(crate) fn missing(request: &Request<'_>, made: &Made<'_>) -> Option<(OutputName, StorePath)> {
    let mut outputs = request.outputs.iter();
    outputs
        .find(|(_, path)| fs::symlink_metadata(made.path(path)).is_err())
        .map(|(name, path)| (name.clone(), path.clone()))
}

/// Registers every output that is not valid yet, built as `record` says.
pub(crate) fn keep(
    store: &LocalStore,
    request: &Request<'_>,
    made: &Made<'_>,
    inputs: &BTreeSet<StorePath>,
    valid: &BTreeSet<StorePath>,
    record: BuildRecord,
) -> Result<(), BuildFailure> {
    let failed = |source| BuildFailure::Store { drv: request.drv.clone(), source };
    let mut inodes = Inodes::default();
    let mut infos = BTreeMap::new();
    for (name, path) in &request.outputs {
        let (tree, kept) = (made.path(path), made.kept(path));
        refuse_writable(request, &tree)?;
        local_store::canonicalise(&tree, made.owner.clone(), &mut inodes).map_err(failed)?;
        if kept != tree {
            local_store::copy_tree(&tree, &kept).map_err(failed)?;
        }
        infos.insert(name.clone(), describe(request, name, path, &kept, inputs)?);
    }
    checks::check(store, request, &infos)?;
    let new: Vec<PathInfo> = infos.into_values().filter(|info| !valid.contains(&info.path)).collect();
    for info in &new {
        let tree = made.kept(&info.path);
        if tree != store.real_path(&info.path) {
            store.move_into_place(&tree, &info.path).map_err(failed)?;
        }
    }
    store.register_built(&new, Vec::new(), record).map_err(failed)
}

/// Refuses an output that others could have changed meanwhile, as Nix does.
fn refuse_writable(request: &Request<'_>, tree: &Path) -> Result<(), BuildFailure> {
    let metadata = fs::symlink_metadata(tree).map_err(|source| BuildFailure::File {
        action: "look at",
        path: tree.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 == 0 || metadata.is_symlink() {
        return Ok(());
    }
    Err(BuildFailure::Writable { drv: request.drv.clone(), output: tree.to_owned(), mode })
}

/// One pass over an output: its archive is hashed, counted and scanned for references.
fn describe(
    request: &Request<'_>,
    name: &OutputName,
    path: &StorePath,
    tree: &Path,
    inputs: &BTreeSet<StorePath>,
) -> Result<PathInfo, BuildFailure> {
    let is_scanned = !request.options.discards_references(name);
    let candidates = inputs.iter().chain(request.outputs.values()).filter(|_| is_scanned).cloned();
    let mut pass =
        Pass { hash: HashSink::new(HashAlgorithm::Sha256), references: RefScanner::new(candidates) };
    nar::dump(tree, &mut pass)
        .map_err(|source| BuildFailure::Store { drv: request.drv.clone(), source: source.into() })?;
    let (nar_hash, nar_size) = pass.hash.finish();
    let references = pass.references.finish();
    let content_address = match &request.derivation.outputs[name] {
        Output::Fixed { method, hash, .. } => {
            if let Some(reference) = references.first() {
                return Err(BuildFailure::FixedReference {
                    drv: request.drv.clone(),
                    reference: reference.clone(),
                });
            }
            check_fixed(request, tree, *method, hash, &nar_hash)?;
            Some(ContentAddress { method: *method, hash: *hash })
        }
        _ => None,
    };
    Ok(PathInfo {
        path: path.clone(),
        nar_hash,
        nar_size,
        references,
        deriver: Some(request.drv.clone()),
        registration_time: now(),
        ultimate: true,
        signatures: Vec::new(),
        content_address,
    })
}

/// Pushes every byte through the hash and the scanner.
struct Pass {
    hash: HashSink,
    references: RefScanner,
}

impl Write for Pass {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.write_all(bytes)?;
        self.references.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn check_fixed(
    request: &Request<'_>,
    tree: &Path,
    method: Method,
    specified: &Hash,
    nar_hash: &Hash,
) -> Result<(), BuildFailure> {
    let got = match method {
        Method::Flat => hash_file(request, tree, specified.algorithm())?,
        Method::Nar if specified.algorithm() == HashAlgorithm::Sha256 => *nar_hash,
        Method::Nar => hash_archive(request, tree, specified.algorithm())?,
        Method::Text | Method::Git => {
            let what = format!("a fixed output of the method `{}`", method.prefix().trim_end_matches(':'));
            return Err(BuildFailure::Unsupported { drv: request.drv.clone(), what });
        }
    };
    if got == *specified {
        return Ok(());
    }
    Err(BuildFailure::Hash { drv: request.drv.clone(), specified: *specified, got })
}

fn hash_file(request: &Request<'_>, file: &Path, algorithm: HashAlgorithm) -> Result<Hash, BuildFailure> {
    let failed = |source| BuildFailure::File { action: "read", path: file.to_owned(), source };
    let metadata = fs::symlink_metadata(file).map_err(failed)?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 != 0 {
        return Err(BuildFailure::NotFlat { drv: request.drv.clone() });
    }
    let mut sink = HashSink::new(algorithm);
    io::copy(&mut File::open(file).map_err(failed)?, &mut sink).map_err(failed)?;
    Ok(sink.finish().0)
}

fn hash_archive(request: &Request<'_>, tree: &Path, algorithm: HashAlgorithm) -> Result<Hash, BuildFailure> {
    let mut sink = HashSink::new(algorithm);
    nar::dump(tree, &mut sink)
        .map_err(|source| BuildFailure::Store { drv: request.drv.clone(), source: source.into() })?;
    Ok(sink.finish().0)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64)
}
