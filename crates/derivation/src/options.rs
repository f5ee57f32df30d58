//! What a derivation asks of whoever builds it, in variables or structured attributes of agreed names.

mod attributes;
mod error;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use store_path::{StoreDir, StorePath};

pub use error::OptionError;

use crate::{Derivation, OutputName};
use attributes::Attributes;

/// What a derivation asks of its builder.
///
/// A derivation with structured attributes asks with those only; its variables are then just variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The attributes themselves, which the builder gets as files.
    pub structured_attrs: Option<Map<String, Value>>,
    /// Variables that the program gets as files. There are none beside structured attributes.
    pub pass_as_file: BTreeSet<Vec<u8>>,
    /// Files about closures that the program gets.
    pub exports: Vec<GraphExport>,
    /// What must not be in an output's closure.
    pub disallowed_requisites: BTreeMap<OutputName, BTreeSet<Forbidden>>,
    /// Variables taken from outside, which only a derivation with a fixed output gets.
    pub impure_env_vars: Vec<Vec<u8>>,
    /// What the machine has to have.
    pub required_system_features: BTreeSet<Vec<u8>>,
    /// Whether it wants to be built outside of the sandbox.
    pub no_chroot: bool,
}

/// A description of the closure of some paths, wanted as a file, or in the file of the structured attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphExport {
    /// The file in the build directory, or the attribute.
    pub name: Vec<u8>,
    /// The paths.
    pub roots: BTreeSet<StorePath>,
}

/// What an output must not refer to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forbidden {
    /// A path.
    Path(StorePath),
    /// Another output of the same derivation, whose path may not be known yet.
    Output(OutputName),
}

impl Derivation {
    /// Reads what the derivation asks of its builder.
    pub fn options(&self, store_dir: &StoreDir) -> Result<Options, OptionError> {
        let attributes = Attributes::of(self)?;
        Ok(Options {
            pass_as_file: match &attributes {
                Attributes::Structured(_) => BTreeSet::new(),
                variables => variables.list("passAsFile")?.into_iter().collect(),
            },
            exports: attributes.exports(store_dir)?,
            disallowed_requisites: attributes.disallowed_requisites(self, store_dir)?,
            impure_env_vars: attributes.list("impureEnvVars")?,
            required_system_features: attributes.list("requiredSystemFeatures")?.into_iter().collect(),
            no_chroot: attributes.flag("__noChroot")?,
            structured_attrs: match attributes {
                Attributes::Structured(fields) => Some(fields),
                Attributes::Variables(_) => None,
            },
        })
    }
}
