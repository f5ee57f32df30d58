//! The two places where a derivation can ask: its variables, or its structured attributes.

use std::collections::{BTreeMap, BTreeSet};

use litemap::LiteMap;
use serde_json::{Map, Value};

use super::OptionError;
use crate::Derivation;

pub(super) enum Attributes<'a> {
    /// Lists are words between white space, and `1` is yes.
    Variables(&'a LiteMap<Vec<u8>, Vec<u8>>),
    /// Lists are lists, and `true` is yes.
    Structured(Map<String, Value>),
}

/// Without structured attributes these are rules for every output.
const RULES: [&str; 6] = [
    "allowedReferences",
    "allowedRequisites",
    "disallowedReferences",
    "disallowedRequisites",
    "maxSize",
    "maxClosureSize",
];

impl<'a> Attributes<'a> {
    /// Structured attributes that are nested too deep for their parser are refused by it.
    pub(super) fn of(derivation: &'a Derivation) -> Result<Self, OptionError> {
        match derivation.env.get(b"__json".as_slice()) {
            Some(json) => serde_json::from_slice(json).map(Self::Structured).map_err(OptionError::Structured),
            None => Ok(Self::Variables(&derivation.env)),
        }
    }

    /// Returns a list, or none if it is absent, which is not the same as empty.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<Vec<u8>>>, OptionError> {
        match self {
            Self::Variables(env) => Ok(env.get(name.as_bytes()).map(|value| words(value))),
            Self::Structured(fields) => fields.get(name).map(|value| strings(name, value)).transpose(),
        }
    }

    pub(super) fn set(&self, name: &str) -> Result<BTreeSet<Vec<u8>>, OptionError> {
        Ok(self.list(name)?.into_iter().flatten().collect())
    }

    pub(super) fn flag(&self, name: &str, absent: bool) -> Result<bool, OptionError> {
        match self {
            Self::Variables(env) => Ok(env.get(name.as_bytes()).map_or(absent, |value| value == b"1")),
            Self::Structured(fields) => fields.get(name).map_or(Ok(absent), |value| boolean(name, value)),
        }
    }

    /// Returns an object of flags, which only structured attributes can hold.
    pub(super) fn flags(&self, name: &str) -> Result<BTreeMap<String, bool>, OptionError> {
        let Self::Structured(fields) = self else { return Ok(BTreeMap::new()) };
        let Some(value) = fields.get(name) else { return Ok(BTreeMap::new()) };
        let flags = object(name, value)?.iter();
        flags.map(|(key, value)| Ok((key.clone(), boolean(&format!("{name}.{key}"), value)?))).collect()
    }

    pub(super) fn text(&self, name: &str) -> Result<Vec<u8>, OptionError> {
        match self {
            Self::Variables(env) => Ok(env.get(name.as_bytes()).cloned().unwrap_or_default()),
            Self::Structured(fields) => match fields.get(name) {
                None => Ok(Vec::new()),
                Some(Value::String(text)) => Ok(text.clone().into_bytes()),
                Some(value) => Err(wrong_kind(name, "a string", value)),
            },
        }
    }

    /// Says which attributes stand where nobody looks for them, though their names say that somebody thought so.
    pub(super) fn ineffective(&self, derivation: &Derivation) -> Vec<String> {
        match self {
            Self::Variables(env) => ["outputChecks", "unsafeDiscardReferences"]
                .into_iter()
                .filter(|name| env.contains_key(name.as_bytes()))
                .map(|name| {
                    format!(
                        "its variable `{name}` has no effect: only a structured attribute of that name has"
                    )
                })
                .collect(),
            Self::Structured(fields) => {
                let rules = RULES.into_iter().filter(|name| fields.contains_key(*name)).map(|name| {
                    format!(
                        "its structured attribute `{name}` has no effect: use `outputChecks.OUTPUT.{name}`"
                    )
                });
                let exports = fields.get("exportReferencesGraph").filter(|value| !value.is_object()).map(|_| {
                    "its structured attribute `exportReferencesGraph` has no effect: it is no object of names and paths"
                        .to_owned()
                });
                let files = fields.contains_key("passAsFile").then(|| {
                    "its structured attribute `passAsFile` has no effect: all attributes come in a file"
                        .to_owned()
                });
                let is_output =
                    |name: &String| derivation.outputs.keys().any(|output| output.as_str() == name);
                let checked = fields.get("outputChecks").and_then(Value::as_object).into_iter().flatten();
                let strange = checked.filter(|(name, _)| !is_output(name)).map(|(name, _)| {
                    format!("its structured attribute `outputChecks.{name}` has no effect: there is no such output")
                });
                rules.chain(exports).chain(files).chain(strange).collect()
            }
        }
    }
}

/// Splits at exactly the characters that Nix splits at.
pub(super) fn words(value: &[u8]) -> Vec<Vec<u8>> {
    let words = value.split(|byte| b" \t\n\r".contains(byte)).filter(|word| !word.is_empty());
    words.map(<[u8]>::to_vec).collect()
}

pub(super) fn strings(name: &str, value: &Value) -> Result<Vec<Vec<u8>>, OptionError> {
    let items = value.as_array().ok_or_else(|| wrong_kind(name, "a list of strings", value))?;
    let string = |(index, item): (usize, &Value)| match item {
        Value::String(text) => Ok(text.clone().into_bytes()),
        other => Err(wrong_kind(&format!("{name}[{index}]"), "a string", other)),
    };
    items.iter().enumerate().map(string).collect()
}

pub(super) fn object<'v>(name: &str, value: &'v Value) -> Result<&'v Map<String, Value>, OptionError> {
    value.as_object().ok_or_else(|| wrong_kind(name, "an object", value))
}

pub(super) fn bytes(name: &str, value: &Value) -> Result<u64, OptionError> {
    value.as_u64().ok_or_else(|| wrong_kind(name, "a whole number of bytes", value))
}

fn boolean(name: &str, value: &Value) -> Result<bool, OptionError> {
    value.as_bool().ok_or_else(|| wrong_kind(name, "true or false", value))
}

/// The name is of a structured attribute: what stands in a variable is always a string.
pub(super) fn wrong_kind(name: &str, expected: &'static str, found: &Value) -> OptionError {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    OptionError::Kind { attribute: name.to_owned(), expected, found }
}
