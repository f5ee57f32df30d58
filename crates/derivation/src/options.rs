//! What a derivation asks of whoever builds it, in variables or structured attributes of agreed names.

mod attributes;
mod checks;
mod error;
mod exports;
mod print;
mod references;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use store_path::{StoreDir, StorePath};

pub use checks::{OutputCheck, OutputChecks};
pub use error::OptionError;

use crate::{Derivation, Link, OutputName};
use attributes::Attributes;
use references::References;

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
    /// What outputs may refer to, and how large they may be.
    pub output_checks: OutputChecks,
    /// Outputs whose references are not looked for if it says so. They need not be there.
    pub unsafe_discard_references: BTreeMap<String, bool>,
    /// Variables taken from outside, which only a derivation that may use the network gets.
    pub impure_env_vars: BTreeSet<Vec<u8>>,
    /// Files of the host that it wants to see.
    pub impure_host_deps: BTreeSet<Vec<u8>>,
    /// What the machine has to have.
    pub required_system_features: BTreeSet<Vec<u8>>,
    /// Whether it wants to be built outside of the sandbox.
    pub no_chroot: bool,
    /// More rules for a sandbox of macOS.
    pub sandbox_profile: Vec<u8>,
    /// Whether it wants to use the loopback of macOS.
    pub allow_local_networking: bool,
    /// Whether it is best built on the machine that asks for it.
    pub prefer_local_build: bool,
    /// Whether its outputs may be fetched instead of built.
    pub allow_substitutes: bool,
    /// Sentences about attributes that have no effect.
    pub warnings: Vec<String>,
}

/// A description of the closure of some objects, wanted as a file, or in the file of the structured attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphExport {
    /// The file in the build directory, or the attribute.
    pub name: Vec<u8>,
    /// The objects.
    pub roots: BTreeSet<Object>,
}

/// Something in the store that a derivation names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// By its path.
    Path(StorePath),
    /// By a placeholder: an output of an input, whose path was not known.
    Output(Link),
}

/// What a rule about references names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// An output of the derivation itself, whose path may not be known yet.
    Own(OutputName),
    /// Anything else.
    Other(Object),
}

impl Options {
    /// Whether the references of an output are not looked for.
    pub fn discards_references(&self, output: &OutputName) -> bool {
        self.unsafe_discard_references.get(output.as_str()).copied().unwrap_or(false)
    }
}

impl Derivation {
    /// Reads what the derivation asks of its builder.
    pub fn options(&self, store_dir: &StoreDir) -> Result<Options, OptionError> {
        let attributes = Attributes::of(self)?;
        let references = References::of(self, store_dir);
        Ok(Options {
            pass_as_file: match &attributes {
                Attributes::Structured(_) => BTreeSet::new(),
                variables => variables.set("passAsFile")?,
            },
            exports: exports::read(&attributes, &references)?,
            output_checks: checks::read(&attributes, &references)?,
            unsafe_discard_references: attributes.flags("unsafeDiscardReferences")?,
            impure_env_vars: attributes.set("impureEnvVars")?,
            impure_host_deps: attributes.set("__impureHostDeps")?,
            required_system_features: attributes.set("requiredSystemFeatures")?,
            no_chroot: attributes.flag("__noChroot", false)?,
            sandbox_profile: attributes.text("__sandboxProfile")?,
            allow_local_networking: attributes.flag("__darwinAllowLocalNetworking", false)?,
            prefer_local_build: attributes.flag("preferLocalBuild", false)?,
            allow_substitutes: attributes.flag("allowSubstitutes", true)?,
            warnings: attributes.ineffective(self),
            structured_attrs: match attributes {
                Attributes::Structured(fields) => Some(fields),
                Attributes::Variables(_) => None,
            },
        })
    }
}
