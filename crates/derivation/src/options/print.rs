//! Options as JSON, in the form that Nix calls `derivation-options-v1`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{Object, OptionError, Options, OutputCheck, OutputChecks, Reference};
use crate::Link;

impl Options {
    /// Returns the options as JSON, in the form that Nix calls `derivation-options-v1`.
    ///
    /// # Errors
    /// [`OptionError::NotText`] if a variable that holds an option is not UTF-8.
    pub fn to_json(&self) -> Result<Value, OptionError> {
        let json = OptionsJson::of(self)?;
        Ok(serde_json::to_value(json).expect("it has strings as keys only"))
    }
}

#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, serde(deny_unknown_fields))]
pub(super) struct OptionsJson {
    additional_sandbox_profile: String,
    allow_local_networking: bool,
    allow_substitutes: bool,
    export_references_graph: BTreeMap<String, Vec<ReferenceJson>>,
    impure_env_vars: Vec<String>,
    impure_host_deps: Vec<String>,
    no_chroot: bool,
    output_checks: ChecksJson,
    pass_as_file: Vec<String>,
    prefer_local_build: bool,
    required_system_features: Vec<String>,
    unsafe_discard_references: BTreeMap<String, bool>,
}

#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "camelCase")]
enum ChecksJson {
    ForAllOutputs(CheckJson),
    PerOutput(BTreeMap<String, CheckJson>),
}

#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, serde(deny_unknown_fields))]
struct CheckJson {
    allowed_references: Option<Vec<ReferenceJson>>,
    allowed_requisites: Option<Vec<ReferenceJson>>,
    disallowed_references: Vec<ReferenceJson>,
    disallowed_requisites: Vec<ReferenceJson>,
    ignore_self_refs: bool,
    max_closure_size: Option<u64>,
    max_size: Option<u64>,
}

#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(untagged)]
enum ReferenceJson {
    /// A path, or where a derivation is wanted `self`.
    Path(String),
    Output(Box<OutputJson>),
}

#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, serde(deny_unknown_fields))]
struct OutputJson {
    drv_path: ReferenceJson,
    output: String,
}

impl OptionsJson {
    pub(super) fn of(options: &Options) -> Result<Self, OptionError> {
        let exports = options.exports.iter().map(|export| {
            let name = text("exportReferencesGraph", &export.name)?;
            Ok((name, export.roots.iter().map(ReferenceJson::of_object).collect()))
        });
        Ok(Self {
            additional_sandbox_profile: text("__sandboxProfile", &options.sandbox_profile)?,
            allow_local_networking: options.allow_local_networking,
            allow_substitutes: options.allow_substitutes,
            export_references_graph: exports.collect::<Result<_, OptionError>>()?,
            impure_env_vars: texts("impureEnvVars", &options.impure_env_vars)?,
            impure_host_deps: texts("__impureHostDeps", &options.impure_host_deps)?,
            no_chroot: options.no_chroot,
            output_checks: ChecksJson::of(&options.output_checks),
            pass_as_file: texts("passAsFile", &options.pass_as_file)?,
            prefer_local_build: options.prefer_local_build,
            required_system_features: texts("requiredSystemFeatures", &options.required_system_features)?,
            unsafe_discard_references: options.unsafe_discard_references.clone(),
        })
    }
}

impl ChecksJson {
    fn of(checks: &OutputChecks) -> Self {
        match checks {
            OutputChecks::All(check) => Self::ForAllOutputs(CheckJson::of(check)),
            OutputChecks::Each(checks) => {
                let checks = checks.iter();
                Self::PerOutput(
                    checks.map(|(output, check)| (output.clone(), CheckJson::of(check))).collect(),
                )
            }
        }
    }
}

impl CheckJson {
    fn of(check: &OutputCheck) -> Self {
        let list = |references: &BTreeSet<Reference>| references.iter().map(ReferenceJson::of).collect();
        Self {
            allowed_references: check.allowed_references.as_ref().map(list),
            allowed_requisites: check.allowed_requisites.as_ref().map(list),
            disallowed_references: list(&check.disallowed_references),
            disallowed_requisites: list(&check.disallowed_requisites),
            ignore_self_refs: check.ignore_self_refs,
            max_closure_size: check.max_closure_size,
            max_size: check.max_size,
        }
    }
}

impl ReferenceJson {
    fn of(reference: &Reference) -> Self {
        match reference {
            Reference::Own(output) => Self::Path("self".to_owned()).output(output.as_str()),
            Reference::Other(object) => Self::of_object(object),
        }
    }

    fn of_object(object: &Object) -> Self {
        match object {
            Object::Path(path) => Self::Path(path.to_string()),
            Object::Output(Link { drv, through, output }) => {
                let names = through.iter().chain([output]);
                names.fold(Self::Path(drv.to_string()), |object, name| object.output(name.as_str()))
            }
        }
    }

    fn output(self, output: &str) -> Self {
        Self::Output(Box::new(OutputJson { drv_path: self, output: output.to_owned() }))
    }
}

fn texts(attribute: &'static str, items: &BTreeSet<Vec<u8>>) -> Result<Vec<String>, OptionError> {
    items.iter().map(|item| text(attribute, item)).collect()
}

fn text(attribute: &'static str, bytes: &[u8]) -> Result<String, OptionError> {
    let not_text = |_| OptionError::NotText { attribute, found: String::from_utf8_lossy(bytes).into_owned() };
    String::from_utf8(bytes.to_vec()).map_err(not_text)
}

#[cfg(test)]
mod tests;
