//! The two files that carry structured attributes: `.attrs.json` and `.attrs.sh`, to the byte as Nix writes them.

mod number;

use derivation::Derivation;
use serde::Serialize;
use serde_json::{Map, Serializer, Value};
use store_path::placeholder;

use crate::rewrite::Rewrites;

/// Completes the attributes: placeholders of the outputs, the closures in `graphs` in place of their roots.
pub(crate) fn complete(
    mut attributes: Map<String, Value>,
    graphs: Vec<(String, Value)>,
    derivation: &Derivation,
) -> Map<String, Value> {
    let outputs = derivation.outputs.keys();
    let outputs = outputs.map(|name| (name.to_string(), Value::String(placeholder(name.as_str())))).collect();
    attributes.insert("outputs".to_owned(), Value::Object(outputs));
    attributes.extend(graphs);
    attributes
}

/// The text of `.attrs.json`: compact, with the keys in order.
///
/// Placeholders are replaced in the text, those in keys too; so these are in the order they had before.
pub(crate) fn to_json(attributes: &Map<String, Value>, rewrites: &Rewrites) -> Vec<u8> {
    let mut value = Value::Object(attributes.clone());
    value.sort_all_objects();
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, number::AsNix);
    value.serialize(&mut serializer).expect("memory takes every byte");
    rewrites.apply(&text)
}

/// The text of `.attrs.sh`: what a shell can hold of the attributes. The rest is left out.
pub(crate) fn to_shell(attributes: &Map<String, Value>, rewrites: &Rewrites) -> Vec<u8> {
    let mut keys: Vec<&String> = attributes.keys().collect();
    keys.sort();
    let mut text = String::new();
    for key in keys.into_iter().filter(|key| is_variable(key)) {
        match &attributes[key] {
            Value::Array(items) => {
                let Some(items) = items.iter().map(simple).collect::<Option<Vec<_>>>() else { continue };
                let items: String = items.iter().map(|item| format!("{item} ")).collect();
                text += &format!("declare -a {key}=({items})\n");
            }
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(name, _)| *name);
                let fields = fields.into_iter().map(|(name, value)| Some((name, simple(value)?)));
                let Some(fields) = fields.collect::<Option<Vec<_>>>() else { continue };
                let fields: String =
                    fields.iter().map(|(name, value)| format!("[{}]={value} ", quote(name))).collect();
                text += &format!("declare -A {key}=({fields})\n");
            }
            value => {
                if let Some(value) = simple(value) {
                    text += &format!("declare {key}={value}\n");
                }
            }
        }
    }
    rewrites.apply(text.as_bytes())
}

fn is_variable(key: &str) -> bool {
    let mut bytes = key.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn simple(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(quote(text)),
        Value::Number(number) => number::to_shell(number),
        Value::Null => Some("''".to_owned()),
        Value::Bool(true) => Some("1".to_owned()),
        Value::Bool(false) => Some(String::new()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a build with Nix 2.8.0 wrote down of such attributes.
    #[test]
    fn both_files_are_as_nix_writes_them() {
        let read = |name: &str| test_support::read(&format!("options/attrs/{name}"));
        let Value::Object(attributes) = serde_json::from_slice(&read("given.json")).unwrap() else {
            unreachable!("it is an object")
        };
        let rewrites =
            Rewrites::new([(placeholder("out"), "/nix/store/13bh60g18kcsjk3a5ib5ssm05n1z4sw5-sa")]);
        let json = String::from_utf8(to_json(&attributes, &rewrites)).unwrap() + "\n";
        test_support::check("options/attrs/attrs.json", json);
        test_support::check("options/attrs/attrs.sh", to_shell(&attributes, &rewrites));
    }
}
