//! Printing the format of Nix 2.4 to 2.14, byte for byte as `nix show-derivation` of 2.8 does.

use std::collections::BTreeMap;

use serde::Serialize;
use store_path::StoreDir;

use super::NotText;
use super::print::{Text, Wanted};
use crate::{Derivation, Output};

/// The fields in the order in which they are printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mirror<'a> {
    outputs: BTreeMap<&'a str, MirrorOutput>,
    input_srcs: Vec<String>,
    input_drvs: BTreeMap<String, Wanted<'a>>,
    system: &'a str,
    builder: &'a str,
    args: Vec<&'a str>,
    env: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct MirrorOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_algo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impure: Option<bool>,
}

impl<'a> Mirror<'a> {
    pub(super) fn new(
        store_dir: &StoreDir,
        derivation: &'a Derivation,
        text: Text<'_>,
    ) -> Result<Self, NotText> {
        let outputs = derivation.outputs.iter();
        let input_drvs = derivation.input_drvs.iter();
        Ok(Self {
            outputs: outputs
                .map(|(name, output)| (name.as_str(), mirror_output(store_dir, output)))
                .collect(),
            input_srcs: derivation.input_srcs.iter().map(|path| store_dir.print(path)).collect(),
            input_drvs: input_drvs
                .map(|(path, wanted)| (store_dir.print(path), Wanted::shortest(wanted)))
                .collect(),
            system: text.of(&derivation.system)?,
            builder: text.of(&derivation.builder)?,
            args: text.list(&derivation.args)?,
            env: text.map(&derivation.env)?,
        })
    }
}

fn mirror_output(store_dir: &StoreDir, output: &Output) -> MirrorOutput {
    let path = output.path().map(|path| store_dir.print(path));
    let (how, hash, impure) = match output {
        Output::InputAddressed(_) | Output::Deferred => (None, None, None),
        Output::Fixed { method, hash, .. } => {
            (Some((method, hash.algorithm())), Some(hash.to_base16()), None)
        }
        Output::Floating { method, algorithm } => (Some((method, *algorithm)), None, None),
        Output::Impure { method, algorithm } => (Some((method, *algorithm)), None, Some(true)),
    };
    let hash_algo = how.map(|(method, algorithm)| format!("{}{algorithm}", method.prefix()));
    MirrorOutput { path, hash_algo, hash, impure }
}
