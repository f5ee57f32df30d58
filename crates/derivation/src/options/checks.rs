//! Rules about what outputs may refer to, and how large they may be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::attributes::{self, Attributes};
use super::references::References;
use super::{OptionError, Options, Reference};
use crate::{Derivation, OutputName};

/// The rules of a derivation for its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputChecks {
    /// One set of rules, in variables.
    All(OutputCheck),
    /// Structured attributes tell outputs apart. Outputs that do not exist are among them.
    Each(BTreeMap<String, OutputCheck>),
}

/// The rules for one output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputCheck {
    /// Whether an output may be in its own closure, whatever the rules about closures say.
    pub ignore_self_refs: bool,
    /// How large it may be, as an archive.
    pub max_size: Option<u64>,
    /// How large all of its closure may be.
    pub max_closure_size: Option<u64>,
    /// What it may refer to itself; without it, anything.
    pub allowed_references: Option<BTreeSet<Reference>>,
    /// What may be in its closure; without it, anything.
    pub allowed_requisites: Option<BTreeSet<Reference>>,
    /// What it must not refer to itself.
    pub disallowed_references: BTreeSet<Reference>,
    /// What must not be in its closure.
    pub disallowed_requisites: BTreeSet<Reference>,
}

impl OutputChecks {
    /// Returns the rules for an output.
    pub fn of(&self, output: &OutputName) -> Option<&OutputCheck> {
        match self {
            Self::All(check) => Some(check),
            Self::Each(checks) => checks.get(output.as_str()),
        }
    }
}

impl OutputCheck {
    /// Returns the rules about references that there are, each with the name of its attribute.
    fn rules(&self) -> impl Iterator<Item = (&'static str, &BTreeSet<Reference>)> {
        let allowed = [
            ("allowedReferences", &self.allowed_references),
            ("allowedRequisites", &self.allowed_requisites),
        ];
        let allowed = allowed.into_iter().filter_map(|(name, rule)| Some((name, rule.as_ref()?)));
        allowed.chain([
            ("disallowedReferences", &self.disallowed_references),
            ("disallowedRequisites", &self.disallowed_requisites),
        ])
    }
}

impl Options {
    /// Checks that rules name outputs which `derivation` has; only what is built has to fulfil that.
    pub fn check_outputs(&self, derivation: &Derivation) -> Result<(), OptionError> {
        for output in derivation.outputs.keys() {
            let Some(check) = self.output_checks.of(output) else { continue };
            for (rule, references) in check.rules() {
                let mut names = references.iter().filter_map(|reference| match reference {
                    Reference::Own(name) => Some(name),
                    Reference::Other(_) => None,
                });
                let Some(found) = names.find(|name| !derivation.outputs.contains_key(*name)) else {
                    continue;
                };
                let outputs: Vec<String> =
                    derivation.outputs.keys().map(|name| format!("`{name}`")).collect();
                return Err(OptionError::NoSuchOutput {
                    attribute: match &self.output_checks {
                        OutputChecks::All(_) => rule.to_owned(),
                        OutputChecks::Each(_) => format!("{CHECKS}.{output}.{rule}"),
                    },
                    found: found.clone(),
                    outputs: outputs.join(", "),
                });
            }
        }
        Ok(())
    }
}

const CHECKS: &str = "outputChecks";

pub(super) fn read(
    attributes: &Attributes<'_>,
    references: &References<'_>,
) -> Result<OutputChecks, OptionError> {
    let fields = match attributes {
        Attributes::Structured(fields) => fields,
        Attributes::Variables(_) => {
            let list =
                |name: &str| attributes.list(name)?.map(|items| references.read(name, &items)).transpose();
            let none = OutputCheck { ignore_self_refs: true, ..OutputCheck::default() };
            return Ok(OutputChecks::All(with_rules(none, list)?));
        }
    };
    let Some(checks) = fields.get(CHECKS) else { return Ok(OutputChecks::Each(BTreeMap::new())) };
    let checks = attributes::object(CHECKS, checks)?.iter().map(|(output, check)| {
        let name = format!("{CHECKS}.{output}");
        Ok((output.clone(), of_output(&name, attributes::object(&name, check)?, references)?))
    });
    Ok(OutputChecks::Each(checks.collect::<Result<_, OptionError>>()?))
}

fn of_output(
    name: &str,
    fields: &Map<String, Value>,
    references: &References<'_>,
) -> Result<OutputCheck, OptionError> {
    let field = |rule: &str| fields.get(rule).map(|value| (format!("{name}.{rule}"), value));
    let size = |rule| field(rule).map(|(name, value)| attributes::bytes(&name, value)).transpose();
    let list = |rule: &str| {
        let read = |(name, value): (String, _)| references.read(&name, &attributes::strings(&name, value)?);
        field(rule).map(read).transpose()
    };
    let sizes = OutputCheck {
        max_size: size("maxSize")?,
        max_closure_size: size("maxClosureSize")?,
        ..OutputCheck::default()
    };
    with_rules(sizes, list)
}

/// Adds the rules about references.
fn with_rules(
    check: OutputCheck,
    list: impl Fn(&str) -> Result<Option<BTreeSet<Reference>>, OptionError>,
) -> Result<OutputCheck, OptionError> {
    Ok(OutputCheck {
        allowed_references: list("allowedReferences")?,
        allowed_requisites: list("allowedRequisites")?,
        disallowed_references: list("disallowedReferences")?.unwrap_or_default(),
        disallowed_requisites: list("disallowedRequisites")?.unwrap_or_default(),
        ..check
    })
}
