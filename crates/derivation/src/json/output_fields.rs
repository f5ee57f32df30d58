//! The fields of an output, in every form.

use serde::Serialize;
use store_path::{Hash, HashAlgorithm, Method};

use super::format::Format;
use super::print::Context;
use crate::Output;

/// The value of a field.
#[derive(Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
}

type Fields = Vec<(&'static str, Value)>;

/// Returns the fields in the order in which they are printed.
pub(super) fn of(context: Context<'_>, output: &Output) -> Fields {
    let format = context.format;
    let path = |path| ("path", Value::Text(context.path(path)));
    let mut fields = match output {
        Output::Deferred => Vec::new(),
        Output::InputAddressed(stated) => vec![path(stated)],
        Output::Fixed { method, hash, path: stated } => {
            let mut fields = fixed(format, *method, hash);
            if format < Format::Nix2_32 {
                fields.insert(0, path(stated));
            }
            fields
        }
        Output::Floating { method, algorithm } => how(format, *method, *algorithm),
        Output::Impure { method, algorithm } => {
            let mut fields = how(format, *method, *algorithm);
            fields.push(("impure", Value::Flag(true)));
            fields
        }
    };
    if format >= Format::Nix2_12 {
        fields.sort_by_key(|(name, _)| *name);
    }
    fields
}

/// The last version has the algorithm in the hash.
fn fixed(format: Format, method: Method, hash: &Hash) -> Fields {
    if format == Format::V4 {
        return vec![("hash", Value::Text(hash.to_sri())), ("method", Value::Text(method.to_string()))];
    }
    let mut fields = how(format, method, hash.algorithm());
    fields.push(("hash", Value::Text(hash.to_base16())));
    fields
}

fn how(format: Format, method: Method, algorithm: HashAlgorithm) -> Fields {
    if format < Format::Nix2_23 {
        return vec![("hashAlgo", Value::Text(format!("{}{algorithm}", method.prefix())))];
    }
    let (method, algorithm) = (method.to_string(), algorithm.to_string());
    vec![("hashAlgo", Value::Text(algorithm)), ("method", Value::Text(method))]
}
