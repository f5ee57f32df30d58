//! The two places where a derivation can ask: its variables, or its structured attributes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use store_path::StoreDir;

use super::{Forbidden, GraphExport, OptionError};
use crate::{Derivation, OutputName};

pub(super) enum Attributes<'a> {
    /// Lists are words between white space, and `1` is yes.
    Variables(&'a BTreeMap<Vec<u8>, Vec<u8>>),
    /// Lists are lists, and `true` is yes.
    Structured(Map<String, Value>),
}

impl<'a> Attributes<'a> {
    /// Structured attributes that are nested too deep for their parser are refused by it.
    pub(super) fn of(derivation: &'a Derivation) -> Result<Self, OptionError> {
        match derivation.env.get(b"__json".as_slice()) {
            Some(json) => serde_json::from_slice(json).map(Self::Structured).map_err(OptionError::Structured),
            None => Ok(Self::Variables(&derivation.env)),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Vec<Vec<u8>>, OptionError> {
        match self {
            Self::Variables(env) => Ok(words(env, name).map(<[u8]>::to_vec).collect()),
            Self::Structured(fields) => fields.get(name).map_or(Ok(Vec::new()), |value| strings(name, value)),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, OptionError> {
        match self {
            Self::Variables(env) => Ok(env.get(name.as_bytes()).is_some_and(|value| value == b"1")),
            Self::Structured(fields) => fields
                .get(name)
                .map_or(Ok(false), |value| value.as_bool().ok_or_else(|| wrong_kind(name, "true or false"))),
        }
    }

    pub(super) fn exports(&self, store_dir: &StoreDir) -> Result<Vec<GraphExport>, OptionError> {
        const NAME: &str = "exportReferencesGraph";
        match self {
            Self::Variables(env) => {
                let mut words = words(env, NAME);
                let mut exports = Vec::new();
                while let Some(file) = words.next() {
                    let root = words.next().ok_or_else(|| OptionError::NoPath { file: lossy(file) })?;
                    exports.push(export(store_dir, plain_word(file)?, &[root.to_vec()])?);
                }
                Ok(exports)
            }
            Self::Structured(fields) => {
                let Some(value) = fields.get(NAME) else { return Ok(Vec::new()) };
                let entries = object(NAME, value)?.iter().map(|(key, roots)| {
                    // One path needs no list.
                    let roots = match roots {
                        Value::String(root) => vec![root.clone().into_bytes()],
                        list => strings(&format!("{NAME}.{key}"), list)?,
                    };
                    export(store_dir, key.as_bytes(), &roots)
                });
                entries.collect()
            }
        }
    }

    /// A variable counts for every output; structured attributes tell them apart.
    pub(super) fn disallowed_requisites(
        &self,
        derivation: &Derivation,
        store_dir: &StoreDir,
    ) -> Result<BTreeMap<OutputName, BTreeSet<Forbidden>>, OptionError> {
        const NAME: &str = "disallowedRequisites";
        let forbidden = |name: &str, items: Vec<Vec<u8>>| -> Result<BTreeSet<Forbidden>, OptionError> {
            items.iter().map(|item| forbidden(derivation, store_dir, name, item)).collect()
        };
        match self {
            Self::Variables(_) => {
                let all = forbidden(NAME, self.list(NAME)?)?;
                let outputs = derivation.outputs.keys().filter(|_| !all.is_empty());
                Ok(outputs.map(|output| (output.clone(), all.clone())).collect())
            }
            Self::Structured(fields) => {
                let Some(checks) = fields.get("outputChecks") else { return Ok(BTreeMap::new()) };
                let checks = object("outputChecks", checks)?;
                let mut outputs = BTreeMap::new();
                for name in derivation.outputs.keys() {
                    let Some(check) = checks.get(name.as_str()) else { continue };
                    let attribute = format!("outputChecks.{name}");
                    let Some(items) = object(&attribute, check)?.get(NAME) else { continue };
                    let attribute = format!("{attribute}.{NAME}");
                    outputs.insert(name.clone(), forbidden(&attribute, strings(&attribute, items)?)?);
                }
                Ok(outputs)
            }
        }
    }
}

fn words<'a>(env: &'a BTreeMap<Vec<u8>, Vec<u8>>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let value = env.get(name.as_bytes()).map_or(&[][..], Vec::as_slice);
    // Exactly the characters that Nix splits at.
    value.split(|byte| b" \t\n\r".contains(byte)).filter(|word| !word.is_empty())
}

fn strings(name: &str, value: &Value) -> Result<Vec<Vec<u8>>, OptionError> {
    let strings = value.as_array().and_then(|items| {
        items.iter().map(|item| item.as_str().map(|text| text.as_bytes().to_vec())).collect()
    });
    strings.ok_or_else(|| wrong_kind(name, "a list of strings"))
}

fn object<'a>(name: &str, value: &'a Value) -> Result<&'a Map<String, Value>, OptionError> {
    value.as_object().ok_or_else(|| wrong_kind(name, "an object"))
}

/// Anything below a store path means the whole of it.
fn export(store_dir: &StoreDir, name: &[u8], roots: &[Vec<u8>]) -> Result<GraphExport, OptionError> {
    let roots = roots.iter().map(|root| store_dir.split(root).map(|(path, _)| path));
    let roots = roots.collect::<Result<_, _>>().map_err(OptionError::ExportPath)?;
    Ok(GraphExport { name: name.to_vec(), roots })
}

/// Nothing that could leave the build directory, or hide in it.
fn plain_word(file: &[u8]) -> Result<&[u8], OptionError> {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let is_more = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    match file {
        [first, rest @ ..] if is_letter(first) && rest.iter().all(is_more) => Ok(file),
        _ => Err(OptionError::FileName { file: lossy(file) }),
    }
}

fn forbidden(
    derivation: &Derivation,
    store_dir: &StoreDir,
    attribute: &str,
    item: &[u8],
) -> Result<Forbidden, OptionError> {
    if let Ok(path) = store_dir.parse(item) {
        return Ok(Forbidden::Path(path));
    }
    let output = derivation.outputs.keys().find(|output| output.as_str().as_bytes() == item);
    output.map(|output| Forbidden::Output(output.clone())).ok_or_else(|| OptionError::Forbidden {
        attribute: attribute.to_owned(),
        found: lossy(item),
        outputs: derivation.outputs.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    })
}

fn wrong_kind(attribute: &str, expected: &'static str) -> OptionError {
    OptionError::Kind { attribute: attribute.to_owned(), expected }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
