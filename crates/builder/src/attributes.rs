//! The two files that carry structured attributes: `.attrs.json` and `.attrs.sh`.

use derivation::Derivation;
use serde_json::{Map, Value};
use store_path::StoreDir;

use crate::rewrite::Rewrites;

/// Completes the attributes: the paths of the outputs, placeholders replaced, the closures in `graphs` in
/// place of their roots.
pub(crate) fn complete(
    attributes: Map<String, Value>,
    graphs: Vec<(String, Value)>,
    derivation: &Derivation,
    store_dir: &StoreDir,
    rewrites: &Rewrites,
) -> Map<String, Value> {
    let mut attributes = match rewrite(Value::Object(attributes), rewrites) {
        Value::Object(attributes) => attributes,
        _ => Map::new(),
    };
    let outputs = derivation.outputs.iter().filter_map(|(name, output)| {
        Some((name.to_string(), Value::String(store_dir.print(output.path()?))))
    });
    attributes.insert("outputs".to_owned(), Value::Object(outputs.collect()));
    attributes.extend(graphs);
    attributes
}

fn rewrite(value: Value, rewrites: &Rewrites) -> Value {
    match value {
        Value::String(text) => {
            Value::String(String::from_utf8_lossy(&rewrites.apply(text.as_bytes())).into_owned())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| rewrite(item, rewrites)).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, value)| (key, rewrite(value, rewrites))).collect())
        }
        other => other,
    }
}

/// The text of `.attrs.json`: compact, with the keys in order, as Nix writes it.
pub(crate) fn to_json(attributes: &Map<String, Value>) -> Vec<u8> {
    let mut value = Value::Object(attributes.clone());
    value.sort_all_objects();
    value.to_string().into_bytes()
}

/// The text of `.attrs.sh`: what a shell can hold of the attributes. The rest is left out.
pub(crate) fn to_shell(attributes: &Map<String, Value>) -> Vec<u8> {
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
    text.into_bytes()
}

fn is_variable(key: &str) -> bool {
    let mut bytes = key.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn simple(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(quote(text)),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        // Nix prints a fraction that is a whole number as that number.
        Value::Number(number) => {
            let number = number.as_f64()?;
            (number.fract() == 0.0).then(|| format!("{}", number as i64))
        }
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
    use serde_json::json;

    #[test]
    fn a_shell_gets_what_it_can_hold() {
        let Value::Object(attributes) = json!({
            "text": "it's", "yes": true, "no": false, "nothing": null, "whole": 7, "fraction": 1.5,
            "list": ["a", 2], "nested": [["x"]], "map": {"b": "2", "a": "1"}, "not a name": 1,
        }) else {
            unreachable!("it is an object")
        };
        let expected = "declare -a list=('a' 2 )\n\
            declare -A map=(['a']='1' ['b']='2' )\n\
            declare no=\n\
            declare nothing=''\n\
            declare text='it'\\''s'\n\
            declare whole=7\n\
            declare yes=1\n";
        assert_eq!(String::from_utf8(to_shell(&attributes)).unwrap(), expected);
    }

    #[test]
    fn json_comes_with_its_keys_in_order() {
        let Value::Object(attributes) = json!({"b": {"d": 1, "c": [true]}, "a": "é"}) else {
            unreachable!("it is an object")
        };
        assert_eq!(to_json(&attributes), r#"{"a":"é","b":{"c":[true],"d":1}}"#.as_bytes());
    }
}
