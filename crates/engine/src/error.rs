//! Why nothing is built at all. What one build runs into is a [`crate::Failure`] in the report.

use std::collections::BTreeSet;

use derivation::{Link, OutputName};
use store_path::StorePath;

use crate::made::MadeError;

/// Why a plan could not be made. Then nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not even one build can be followed.
    #[error("cannot start a thread to build in")]
    Threads {
        /// What the system said.
        source: std::io::Error,
    },
    /// Things that no derivation makes are not in the store.
    #[error("{}", told(missing))]
    Missing {
        /// All of them, in order.
        missing: Vec<Missing>,
    },
    /// Outputs are wanted of something whose name is not that of a derivation.
    #[error("`{path}` is not a derivation")]
    NotADerivation {
        /// The path.
        path: StorePath,
    },
    /// What is to be built again was not built yet.
    #[error("{}", told_unbuilt(drvs))]
    NotBuilt {
        /// The derivations, as they stand on a command line.
        drvs: Vec<StorePath>,
    },
    /// What is to be built again is not known to come from a derivation.
    #[error(
        "cannot check `{path}`: it is a path, which says nothing of how it is made; name the derivation that makes it"
    )]
    NothingMakes {
        /// The path.
        path: StorePath,
    },
    /// A derivation's file is in the store, and cannot be read.
    #[error("cannot read the derivation `{drv}`")]
    Read {
        /// The derivation.
        drv: StorePath,
        /// What was in the way.
        source: std::io::Error,
    },
    /// A derivation's file does not hold a derivation.
    #[error("cannot understand the derivation `{drv}`")]
    Parse {
        /// The derivation.
        drv: StorePath,
        /// Where it goes wrong.
        source: Box<derivation::aterm::ParseError>,
    },
    /// A derivation needs itself: its file was changed after it was named.
    #[error("the derivation `{drv}` needs its own outputs")]
    Cycle {
        /// The derivation.
        drv: StorePath,
    },
    /// A derivation does not have an output that is wanted.
    #[error("the derivation `{drv}` has no output `{output}`")]
    NoSuchOutput {
        /// The derivation.
        drv: StorePath,
        /// The output.
        output: OutputName,
    },
    /// A derivation would be another one each time, and does not say so.
    #[error(
        "the derivation `{drv}` takes in the impure `{input}`, which is made anew each time; only impure derivations and \
         those with a fixed output may"
    )]
    ImpureInput {
        /// The derivation.
        drv: StorePath,
        /// The impure one.
        input: StorePath,
    },
    /// A derivation cannot be resolved.
    #[error("cannot resolve the derivation `{drv}`")]
    Resolve {
        /// The derivation.
        drv: StorePath,
        /// What is in the way.
        source: derivation::ResolveError,
    },
    /// It is not known where an input of a derivation is.
    #[error(
        "the path of `{input}`, which `{drv}` takes in, is known once that is built; `store build` it first"
    )]
    Unknown {
        /// The derivation.
        drv: StorePath,
        /// The input, as it stands on a command line.
        input: String,
    },
    /// What a build made is not the derivation that it should be.
    #[error("cannot use `{path}`, which is `{file}`, as a derivation")]
    Made {
        /// The output that should be a derivation.
        file: Box<Link>,
        /// Where it is.
        path: StorePath,
        /// What is wrong with it.
        source: MadeError,
    },
    /// The host cannot give what the settings promise to builds.
    #[error(transparent)]
    Host(#[from] builder::HostError),
    /// The caller had it stopped before anything was built.
    #[error("stopped before anything was built")]
    Stopped,
    /// There would be no way to stop the builds.
    #[error("cannot wait for the word to stop")]
    Stop {
        /// What the system said.
        source: std::io::Error,
    },
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] local_store::Error),
}

/// A path that is needed and cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The path.
    pub path: StorePath,
    /// The derivations that want it; none when the caller does.
    pub wanted_by: BTreeSet<StorePath>,
}

impl Missing {
    /// Refuses to go on if anything is missing.
    pub(crate) fn refuse(missing: impl IntoIterator<Item = Self>) -> Result<(), Error> {
        let missing: Vec<Self> = missing.into_iter().collect();
        if missing.is_empty() { Ok(()) } else { Err(Error::Missing { missing }) }
    }
}

fn told(missing: &[Missing]) -> String {
    let are = if missing.len() == 1 { "path is" } else { "paths are" };
    let lines = missing.iter().map(|missing| {
        let wanting: Vec<String> = missing.wanted_by.iter().map(|drv| format!("`{drv}`")).collect();
        let wanted =
            if wanting.is_empty() { String::new() } else { format!(", wanted by {}", wanting.join(", ")) };
        format!("\n  `{}`{wanted}", missing.path)
    });
    format!(
        "{} {are} needed that nothing makes and that the store does not have:{}",
        missing.len(),
        lines.collect::<String>()
    )
}

fn told_unbuilt(drvs: &[StorePath]) -> String {
    let names: Vec<String> = drvs.iter().map(|drv| format!("`{drv}`")).collect();
    let (what, them) = if drvs.len() == 1 { ("an output", "it") } else { ("outputs", "them") };
    format!(
        "cannot check {}: {what} wanted of {them} is not valid, so that there is nothing to compare with; build {them} \
         first, without `--check`",
        names.join(", ")
    )
}
