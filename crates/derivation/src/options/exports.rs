//! `exportReferencesGraph`: which closures a program wants to be told of, and where.

use std::collections::BTreeMap;

use serde_json::Value;

use super::attributes::{Attributes, words, wrong_kind};
use super::references::References;
use super::{GraphExport, OptionError};

const NAME: &str = "exportReferencesGraph";

pub(super) fn read(
    attributes: &Attributes<'_>,
    references: &References<'_>,
) -> Result<Vec<GraphExport>, OptionError> {
    let exports = match attributes {
        Attributes::Variables(env) => pairs(env.get(NAME.as_bytes()).map_or(&[][..], Vec::as_slice))?,
        Attributes::Structured(fields) => match fields.get(NAME) {
            Some(Value::Object(exports)) => {
                let export = |(key, roots): (&String, _)| {
                    let mut items = Vec::new();
                    flatten(&format!("{NAME}.{key}"), roots, &mut items)?;
                    Ok((key.clone().into_bytes(), items))
                };
                exports.iter().map(export).collect::<Result<_, OptionError>>()?
            }
            // Nix looks no further, so that attributes of the older form do no harm.
            _ => BTreeMap::new(),
        },
    };
    exports.into_iter().map(|(name, items)| export(name, &items, references)).collect()
}

/// The older form alternates between files and paths; of a file named twice the last path counts.
fn pairs(value: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<Vec<u8>>>, OptionError> {
    let mut words = words(value).into_iter();
    let mut exports = BTreeMap::new();
    while let Some(file) = words.next() {
        let root = words.next().ok_or_else(|| OptionError::NoPath { file: lossy(&file) })?;
        exports.insert(plain_word(file)?, vec![root]);
    }
    Ok(exports)
}

/// A path alone needs no list, and lists may be nested. The depth is what the parser lets it be.
fn flatten(name: &str, value: &Value, items: &mut Vec<Vec<u8>>) -> Result<(), OptionError> {
    match value {
        Value::String(text) => items.push(text.clone().into_bytes()),
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                flatten(&format!("{name}[{index}]"), item, items)?;
            }
        }
        other => return Err(wrong_kind(name, "a path or a list of paths", other)),
    }
    Ok(())
}

/// Anything below an object means the whole of it.
fn export(name: Vec<u8>, items: &[Vec<u8>], references: &References<'_>) -> Result<GraphExport, OptionError> {
    let root = |item: &Vec<u8>| {
        references.object(item).map_err(|source| OptionError::ExportPath { name: lossy(&name), source })
    };
    let roots = items.iter().map(root).collect::<Result<_, _>>()?;
    Ok(GraphExport { name, roots })
}

/// Nothing that could leave the build directory, or hide in it.
fn plain_word(file: Vec<u8>) -> Result<Vec<u8>, OptionError> {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let is_more = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    match &*file {
        [first, rest @ ..] if is_letter(first) && rest.iter().all(is_more) => Ok(file),
        _ => Err(OptionError::FileName { file: lossy(&file) }),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
