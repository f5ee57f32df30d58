//! What an observed build lacked, for people: grouped, the most telling first, and what to add.

mod group;
mod noise;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sandbox::{Observed, Scope, ScopePath};
use store_path::{StoreDir, StorePath};

/// What an observed build looked for in vain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The most telling first.
    pub findings: Vec<Finding>,
    /// Lookups that could not be read, or were too many to remember.
    pub lost: u64,
}

/// One thing that a build lacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// Its name: a path inside the sandbox, or an address.
    pub name: PathBuf,
    /// How many different paths or names stand behind it.
    pub count: usize,
    /// The names of some processes that asked; an empty one is the builder itself.
    pub by: Vec<String>,
    /// What would give it to the build.
    pub remedy: Remedy,
}

/// A kind of thing that a build can lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// A program that was to be run.
    Program,
    /// An interpreter or loader without which that program or script does not run.
    Interpreter {
        /// The program or script.
        of: PathBuf,
    },
    /// A header for a compiler.
    Header,
    /// A directory of those.
    Headers,
    /// A library.
    Library,
    /// A socket or pipe that was to be connected to.
    Socket,
    /// A device.
    Device,
    /// A directory, or several files of one.
    Directory,
    /// Any other file.
    File,
    /// A path of the store that is no input.
    StorePath,
    /// An address of a network.
    Address,
    /// The address of a host.
    HostName,
}

/// What gives a build what it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// An input that has it, or this entry of `build-chroot-dirs`.
    ChrootDir(PathBuf),
    /// This path as an input; it is valid in this store.
    Input(StorePath),
    /// This path as an input, or rather what makes it; it is not valid in this store.
    AbsentInput(StorePath),
    /// To be a fixed-output build.
    FixedOutput,
    /// Another value of `fod-network`.
    FodNetwork,
}

/// What a build is known to have, and what its store has.
pub(crate) struct Surroundings<'a> {
    pub(crate) store_dir: &'a StoreDir,
    /// The outputs of the build, which are not there yet, and its inputs: what is not in them is nowhere else.
    pub(crate) known: &'a BTreeSet<StorePath>,
    /// Which of the [`wanted_paths`] are valid.
    pub(crate) valid: &'a BTreeSet<StorePath>,
    pub(crate) is_fixed: bool,
    /// Whether it is on the network of the host.
    pub(crate) has_network: bool,
}

/// What is of interest in a build that has a build directory and files in memory of its own.
pub(crate) fn scope(store_dir: &StoreDir, build_dir: &Path) -> Scope {
    let path = |path: &Path| ScopePath(path.to_owned());
    Scope {
        backwards: false,
        always: vec![path(store_dir.as_str().as_ref())],
        never: [build_dir, "/tmp".as_ref(), "/proc".as_ref(), "/dev/shm".as_ref(), "/dev/pts".as_ref()]
            .map(path)
            .to_vec(),
    }
}

/// The store path that `path` is, or is in.
pub(crate) fn in_store(store_dir: &StoreDir, path: &Path) -> Option<StorePath> {
    let below = path.strip_prefix(store_dir.as_str()).ok()?;
    below.components().next()?.as_os_str().to_str()?.parse().ok()
}

/// The store paths that were asked for.
pub(crate) fn wanted_paths(store_dir: &StoreDir, observed: &Observed) -> BTreeSet<StorePath> {
    observed.absent.iter().filter_map(|absent| in_store(store_dir, &absent.path)).collect()
}

/// Says what a build lacked.
pub(crate) fn explain(observed: &Observed, surroundings: &Surroundings<'_>) -> Explanation {
    Explanation {
        findings: group::findings(observed, surroundings),
        lost: observed.unreadable + observed.forgotten,
    }
}
