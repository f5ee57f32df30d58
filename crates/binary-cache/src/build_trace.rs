//! Entries of the build trace as JSON: what an output of a derivation turned out to be.
//!
//! Since Nix 2.35 an entry is named by the path of the derivation, and has `key` and `value`. Before, it was one flat
//! object named by a hash, which listed the entries that it depends on.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use store_path::{Hash, Realisation, StorePath};

use crate::fields::{
    JsonError, Problem, Read, base_path, list, object, optional, required, signature, string,
    structured_signature,
};

/// An entry of either time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Named by its derivation.
    Current(Realisation),
    /// Named by the hash of its derivation, modulo the ways to make the same inputs.
    Legacy(LegacyRealisation),
}

/// An entry as Nix 2.4 to 2.34 wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyRealisation {
    /// Which output it is.
    pub id: OutputId,
    /// What was made.
    pub path: StorePath,
    /// `<key name>:<base 64>` each; the oldest name no key.
    pub signatures: Vec<String>,
    /// What it was made from.
    pub dependent: BTreeMap<OutputId, StorePath>,
}

/// `sha256:<base 16>!<output>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutputId {
    /// The hash of the derivation.
    pub hash: Hash,
    /// The name of the output.
    pub output: String,
}

impl OutputId {
    fn read(text: &str) -> Read<Self> {
        let (hash, output) = text
            .split_once('!')
            .ok_or(Problem::Kind { expected: "a hash, `!` and the name of an output" })?;
        Ok(Self { hash: Hash::parse(hash, None)?, output: output.to_owned() })
    }
}

impl std::fmt::Display for OutputId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}!{}", self.hash.prefixed_base16(), self.output)
    }
}

impl Entry {
    /// Reads an entry of either form; signatures may be texts or taken apart.
    pub fn parse(value: &Value) -> Read<Self> {
        let fields = object(value)?;
        if fields.contains_key("id") {
            return legacy(fields).map(Self::Legacy);
        }
        let (drv, output) = required(fields, "key", |key| {
            let key = object(key)?;
            Ok((required(key, "drvPath", base_path)?, required(key, "outputName", string)?.to_owned()))
        })?;
        required(fields, "value", |value| parse_value(value, drv, output)).map(Self::Current)
    }

    /// Returns the JSON of the entry's own time.
    pub fn print(&self) -> Read<Value> {
        match self {
            Self::Current(entry) => print(entry),
            Self::Legacy(entry) => {
                let mut value = legacy_without_signatures(entry);
                value["signatures"] = entry.signatures.clone().into();
                Ok(value)
            }
        }
    }

    /// Returns the text that is signed: the JSON without its signatures, in as few bytes as can be.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Current(entry) => json!({
                "key": { "drvPath": entry.drv.to_string(), "outputName": entry.output },
                "value": { "outPath": entry.path.to_string() },
            }),
            Self::Legacy(entry) => legacy_without_signatures(entry),
        }
        .to_string()
    }

    /// Returns the signatures.
    pub fn signatures(&self) -> &[String] {
        match self {
            Self::Current(entry) => &entry.signatures,
            Self::Legacy(entry) => &entry.signatures,
        }
    }
}

/// Reads the value of an entry whose key is known otherwise.
pub(crate) fn parse_value(value: &Value, drv: StorePath, output: String) -> Read<Realisation> {
    let fields = object(value)?;
    Ok(Realisation {
        drv,
        output,
        path: required(fields, "outPath", base_path)?,
        signatures: optional(fields, "signatures", |value| list(value, signature))?.unwrap_or_default(),
    })
}

/// Returns an entry as Nix prints it since 2.35; signatures that name no key are refused.
pub fn print(entry: &Realisation) -> Read<Value> {
    let signatures: Result<Value, Problem> =
        entry.signatures.iter().map(|text| structured_signature(text)).collect();
    let signatures = signatures.map_err(|problem| JsonError::from(problem).inside("signatures"))?;
    Ok(json!({
        "key": { "drvPath": entry.drv.to_string(), "outputName": entry.output },
        "value": { "outPath": entry.path.to_string(), "signatures": signatures },
    }))
}

fn legacy(fields: &Map<String, Value>) -> Read<LegacyRealisation> {
    let id = |value| OutputId::read(string(value)?);
    let dependent = optional(fields, "dependentRealisations", |value| {
        let entry = |(key, path): (&String, &Value)| {
            let read = || Ok((OutputId::read(key)?, base_path(path)?));
            read().map_err(|error: JsonError| error.inside(key))
        };
        object(value)?.iter().map(entry).collect()
    })?;
    Ok(LegacyRealisation {
        id: required(fields, "id", id)?,
        path: required(fields, "outPath", base_path)?,
        signatures: optional(fields, "signatures", |value| list(value, signature))?.unwrap_or_default(),
        dependent: dependent.unwrap_or_default(),
    })
}

/// Its fields are in the order of their names, which a signature relies on.
fn legacy_without_signatures(entry: &LegacyRealisation) -> Value {
    let dependent: Map<String, Value> =
        entry.dependent.iter().map(|(id, path)| (id.to_string(), path.to_string().into())).collect();
    json!({
        "dependentRealisations": dependent,
        "id": entry.id.to_string(),
        "outPath": entry.path.to_string(),
    })
}
