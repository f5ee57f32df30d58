//! Printing version 4, the format of Nix since 2.33.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::print::{Text, Wanted};
use super::read::ATTRIBUTES;
use super::{NotText, attributes};
use crate::{Derivation, Output};

/// The fields in the order in which they are printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mirror<'a> {
    args: Vec<&'a str>,
    builder: &'a str,
    env: BTreeMap<&'a str, &'a str>,
    inputs: MirrorInputs<'a>,
    name: &'a str,
    outputs: BTreeMap<&'a str, MirrorOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_attrs: Option<Value>,
    system: &'a str,
    version: u32,
}

#[derive(Serialize)]
struct MirrorInputs<'a> {
    drvs: BTreeMap<String, Wanted<'a>>,
    srcs: Vec<String>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct MirrorOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_algo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl<'a> Mirror<'a> {
    pub(super) const VERSION: u32 = 4;

    pub(super) fn new(derivation: &'a Derivation, text: Text<'_>) -> Result<Self, NotText> {
        let mut env = text.map(&derivation.env)?;
        let structured_attrs = structured_attrs(&env);
        if structured_attrs.is_some() {
            env.remove(ATTRIBUTES);
        }
        let drvs = derivation.input_drvs.iter();
        let outputs = derivation.outputs.iter();
        Ok(Self {
            args: text.list(&derivation.args)?,
            builder: text.of(&derivation.builder)?,
            env,
            inputs: MirrorInputs {
                drvs: drvs.map(|(path, wanted)| (path.to_string(), Wanted::full(wanted))).collect(),
                srcs: derivation.input_srcs.iter().map(ToString::to_string).collect(),
            },
            name: derivation.name.as_str(),
            outputs: outputs.map(|(name, output)| (name.as_str(), mirror_output(output))).collect(),
            structured_attrs,
            system: text.of(&derivation.system)?,
            version: Self::VERSION,
        })
    }
}

/// Returns the structured attributes if their text can be made again from their value. Others stay a variable:
/// Nix would read them back as another derivation.
fn structured_attrs(env: &BTreeMap<&str, &str>) -> Option<Value> {
    let text = env.get(ATTRIBUTES)?;
    let value: Value = serde_json::from_str(text).ok()?;
    (value.is_object() && attributes::print(&value) == *text).then_some(value)
}

fn mirror_output(output: &Output) -> MirrorOutput {
    match output {
        Output::InputAddressed(path) => MirrorOutput { path: Some(path.to_string()), ..Default::default() },
        Output::Fixed { method, hash, .. } => {
            MirrorOutput { hash: Some(hash.to_sri()), method: Some(method.to_string()), ..Default::default() }
        }
        Output::Floating { method, algorithm } | Output::Impure { method, algorithm } => MirrorOutput {
            hash_algo: Some(algorithm.to_string()),
            impure: matches!(output, Output::Impure { .. }).then_some(true),
            method: Some(method.to_string()),
            ..Default::default()
        },
        Output::Deferred => MirrorOutput::default(),
    }
}
