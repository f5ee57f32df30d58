//! What a builder left behind becomes valid: canonical, hashed, scanned, checked, in place, registered.

#![expect(clippy::disallowed_methods, reason = "reads the outputs of builds")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use derivation::{Output, OutputName};
use local_store::{Inodes, LocalStore};
use sandbox::Exit;
use store_path::{
    BuildRecord, ContentAddress, Digest, Hash, HashAlgorithm, HashSink, Method, Modulo, PathInfo,
    Realisation, RefScanner, StorePath,
};

use crate::checks;
use crate::control;
use crate::failure::BuildFailure;
use crate::observe::Teller;
use crate::prepare::Prepared;
use crate::request::{Kind, Request};
use crate::work::Work;

mod floating;

/// Where outputs were made.
pub(crate) struct Made<'a> {
    /// The directory that was the store directory for the builder.
    pub(crate) directory: PathBuf,
    /// The user outside that must own what is in it; `None` when it is the caller.
    pub(crate) owner: Option<RangeInclusive<u32>>,
    /// A directory on the same file system that no builder can enter, or the store directory.
    pub(crate) aside: PathBuf,
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

/// What becomes valid, and its files.
pub(crate) struct Kept {
    pub(crate) info: PathInfo,
    pub(crate) tree: PathBuf,
}

/// What a builder that has ended well has left behind. Nothing of it is valid yet.
pub(crate) struct Finished {
    pub(crate) exit: Exit,
    /// How it was built.
    pub(crate) record: BuildRecord,
    pub(crate) outputs: BTreeMap<OutputName, Kept>,
    /// The directories that all this is in.
    pub(crate) prepared: Prepared,
}

impl Finished {
    /// Registers every output that is not valid yet, and returns the paths of all.
    pub(crate) fn keep(
        self,
        work: &Work<'_>,
        tell: &mut Teller<'_>,
    ) -> Result<BTreeMap<OutputName, StorePath>, BuildFailure> {
        let store = work.context.store;
        work.request.refuse_given_up()?;
        let paths = register(store, work.request, self.outputs, self.record, tell)?;
        work.request.reach("build.registered")?;
        if let Some(scratch) = self.prepared.scratch.filter(|_| work.shares) {
            store.give_back(scratch, &work.inputs);
        }
        work.request.reach("build.kept")?;
        Ok(paths)
    }
}

/// Gives what was made the metadata and the contents that it will have; `valid` are outputs that are valid already.
///
/// That may take long, and ends with [`BuildFailure::GivenUp`] if it is the caller's wish meanwhile.
pub(crate) fn finish(
    store: &LocalStore,
    request: &Request<'_>,
    made: &Made<'_>,
    inputs: &BTreeSet<StorePath>,
    valid: &BTreeMap<OutputName, StorePath>,
) -> Result<BTreeMap<OutputName, Kept>, BuildFailure> {
    let finished = finish_wanted(store, request, made, inputs, valid);
    // Whatever it was that could not be done then.
    request.refuse_given_up()?;
    finished
}

fn finish_wanted(
    store: &LocalStore,
    request: &Request<'_>,
    made: &Made<'_>,
    inputs: &BTreeSet<StorePath>,
    valid: &BTreeMap<OutputName, StorePath>,
) -> Result<BTreeMap<OutputName, Kept>, BuildFailure> {
    let failed = |source| BuildFailure::Store { drv: request.drv.clone(), source };
    let mut inodes = Inodes::default();
    for path in request.outputs.values() {
        let tree = made.path(path);
        refuse_writable(request, &tree)?;
        local_store::canonicalise(&tree, made.owner.clone(), &mut inodes, request.until()).map_err(failed)?;
    }
    request.reach("build.canonical")?;
    let outputs = match request.kind {
        Kind::Known => known(request, made, inputs)?,
        Kind::Floating | Kind::Impure => floating::finish(store, request, made, inputs, valid)?,
    };
    request.reach("build.hashed")?;
    let infos: BTreeMap<OutputName, PathInfo> =
        outputs.iter().map(|(name, kept)| (name.clone(), kept.info.clone())).collect();
    checks::check(store, request, &infos)?;
    request.reach("build.checked")?;
    Ok(outputs)
}

/// Registers every output that is not valid yet, built as `record` says, and returns the paths of all.
fn register(
    store: &LocalStore,
    request: &Request<'_>,
    outputs: BTreeMap<OutputName, Kept>,
    record: BuildRecord,
    tell: &mut Teller<'_>,
) -> Result<BTreeMap<OutputName, StorePath>, BuildFailure> {
    let failed = |source| BuildFailure::Store { drv: request.drv.clone(), source };
    let paths: BTreeMap<OutputName, StorePath> =
        outputs.iter().map(|(name, kept)| (name.clone(), kept.info.path.clone())).collect();
    let all: BTreeSet<StorePath> = paths.values().cloned().collect();
    let in_order: Vec<&StorePath> = all.iter().collect();
    // The locks of paths that were known are held already.
    let _locks = match request.kind {
        Kind::Known => None,
        Kind::Floating | Kind::Impure => {
            store.temp_roots(&all.iter().cloned().collect::<Vec<_>>()).map_err(failed)?;
            Some(control::lock_made(store, request, &in_order, tell)?)
        }
    };
    let mut present = store.valid_among(&all).map_err(failed)?;
    let mut new = Vec::new();
    for Kept { info, tree } in outputs.into_values() {
        // Two outputs with the same contents are one path.
        if !present.insert(info.path.clone()) {
            if request.kind != Kind::Known {
                local_store::remove_tree(&tree).map_err(failed)?;
            }
            continue;
        }
        if tree != store.real_path(&info.path) {
            store.move_into_place(&tree, &info.path).map_err(failed)?;
        }
        new.push(info);
    }
    request.reach("build.placed")?;
    let realisations = realisations(request, &paths);
    store.register_built(&new, realisations, record).map_err(failed)?;
    Ok(paths)
}

/// What is entered in the build trace: nothing of what is known without, or is built each time.
fn realisations(request: &Request<'_>, paths: &BTreeMap<OutputName, StorePath>) -> Vec<Realisation> {
    let outputs = paths.iter().filter(|_| request.kind == Kind::Floating);
    let realise = |(name, path): (&OutputName, &StorePath)| Realisation {
        drv: request.drv.clone(),
        output: name.to_string(),
        path: path.clone(),
        signatures: Vec::new(),
    };
    outputs.map(realise).collect()
}

/// Outputs whose paths were known before.
fn known(
    request: &Request<'_>,
    made: &Made<'_>,
    inputs: &BTreeSet<StorePath>,
) -> Result<BTreeMap<OutputName, Kept>, BuildFailure> {
    let failed = |source| BuildFailure::Store { drv: request.drv.clone(), source };
    let mut outputs = BTreeMap::new();
    for (name, path) in &request.outputs {
        let (tree, kept) = (made.path(path), made.kept(path));
        if kept != tree {
            local_store::copy_tree(&tree, &kept, request.until()).map_err(failed)?;
        }
        let info = describe(request, name, path, &kept, inputs)?;
        outputs.insert(name.clone(), Kept { info, tree: kept });
    }
    Ok(outputs)
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
    let Scanned { nar_hash, nar_size, references } = scan(request, name, tree, inputs)?;
    let content_address = match &request.derivation.outputs[name] {
        Output::Fixed { method, hash, .. } => {
            if let Some(reference) = references.first() {
                return Err(BuildFailure::FixedReference {
                    drv: request.drv.clone(),
                    reference: reference.clone(),
                });
            }
            check_fixed(request, path, tree, *method, hash, &nar_hash)?;
            Some(ContentAddress { method: *method, hash: *hash })
        }
        _ => None,
    };
    Ok(info(request, path, (nar_hash, nar_size), references, content_address))
}

fn info(
    request: &Request<'_>,
    path: &StorePath,
    (nar_hash, nar_size): (Hash, u64),
    references: BTreeSet<StorePath>,
    content_address: Option<ContentAddress>,
) -> PathInfo {
    PathInfo {
        path: path.clone(),
        nar_hash,
        nar_size,
        references,
        deriver: Some(request.drv.clone()),
        registration_time: now(),
        ultimate: true,
        signatures: Vec::new(),
        content_address,
    }
}

/// What one pass over an archive tells.
struct Scanned {
    nar_hash: Hash,
    nar_size: u64,
    /// Inputs, and outputs where the builder has made them.
    references: BTreeSet<StorePath>,
}

fn scan(
    request: &Request<'_>,
    name: &OutputName,
    tree: &Path,
    inputs: &BTreeSet<StorePath>,
) -> Result<Scanned, BuildFailure> {
    let is_scanned = !request.options.discards_references(name);
    let candidates = inputs.iter().chain(request.outputs.values()).filter(|_| is_scanned).cloned();
    let mut pass = request
        .until()
        .pass(Pass { hash: HashSink::new(HashAlgorithm::Sha256), references: RefScanner::new(candidates) });
    nar::dump(tree, &mut pass)
        .map_err(|source| BuildFailure::Store { drv: request.drv.clone(), source: source.into() })?;
    let Pass { hash, references } = pass.into_inner();
    let (nar_hash, nar_size) = hash.finish();
    Ok(Scanned { nar_hash, nar_size, references: references.finish() })
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
    path: &StorePath,
    tree: &Path,
    method: Method,
    specified: &Hash,
    nar_hash: &Hash,
) -> Result<(), BuildFailure> {
    let got = match (method, specified.algorithm()) {
        (Method::Nar, HashAlgorithm::Sha256) => *nar_hash,
        // It does not refer to itself, which was looked for.
        (method, algorithm) => content(request, tree, method, algorithm, path, &[])?.hash,
    };
    if got == *specified {
        return Ok(());
    }
    Err(BuildFailure::Hash { drv: request.drv.clone(), specified: *specified, got })
}

/// The hash that an output at `path` is named by; see [`local_store::hash_content`].
fn content(
    request: &Request<'_>,
    tree: &Path,
    method: Method,
    algorithm: HashAlgorithm,
    path: &StorePath,
    rewrites: &[(Digest, Digest)],
) -> Result<Modulo, BuildFailure> {
    let drv = || request.drv.clone();
    local_store::hash_content(tree, method, algorithm, path.digest(), rewrites, request.until()).map_err(
        |error| match error {
            local_store::Error::NotFlat { .. } => BuildFailure::NotFlat { drv: drv() },
            source => BuildFailure::Store { drv: drv(), source },
        },
    )
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64)
}
