//! Telling recipes from derivations that Nix has printed.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Whether a text is a recipe, and not the JSON of derivations.
///
/// A recipe is one JSON object, with at least one field and none of the marks of a derivation. Each generation of
/// derivations that Nix prints has one: fields whose names are paths, `derivations`, `version`, `platform`,
/// `inputDrvs` or `inputSrcs`. What people have left out of such files leaves the others: `drvs` or `srcs` among the
/// `inputs`, which recipes do not have, inputs in a list, and outputs with a `path` or with the method before the
/// algorithm. What is not JSON is no recipe, unless such a mark would have had to come before the mistake.
///
/// Reading ends at the first mark, so that this takes no time for a large file of derivations.
pub fn is_recipe(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = deserializer.deserialize_map(Marks);
    found.is_ok_and(|fields| fields > 0) && deserializer.end().is_ok()
}

/// Counts the fields of an object, and fails at the first mark of a derivation.
struct Marks;

impl<'de> Visitor<'de> for Marks {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while let Some(key) = map.next_key::<String>()? {
            // Before the value, which may be large.
            if is_mark(&key) {
                return Err(A::Error::custom("a derivation"));
            }
            let value: &RawValue = map.next_value()?;
            let is_marked = match &*key {
                "inputs" => has_printed_inputs(value.get()),
                "outputs" => has_printed_outputs(value.get()),
                _ => false,
            };
            if is_marked {
                return Err(A::Error::custom("a derivation"));
            }
            count += 1;
        }
        Ok(count)
    }
}

fn is_mark(field: &str) -> bool {
    const MARKS: &[&str] = &["derivations", "version", "platform", "inputDrvs", "inputSrcs"];
    MARKS.contains(&field) || field.starts_with('/') || field.ends_with(".drv")
}

type Object<'text> = std::collections::HashMap<String, &'text RawValue>;

fn has_printed_inputs(value: &str) -> bool {
    let starts = |value: &RawValue, with: char| value.get().starts_with(with);
    // Of files of one's own, it is a mistake in a recipe.
    let has_own = |items: Vec<String>| items.iter().any(|item| item.starts_with('.'));
    value.starts_with('[') && !serde_json::from_str(value).is_ok_and(has_own)
        || serde_json::from_str::<Object<'_>>(value).is_ok_and(|inputs| {
            inputs.get("drvs").is_some_and(|drvs| starts(drvs, '{'))
                || inputs.get("srcs").is_some_and(|srcs| starts(srcs, '['))
        })
}

fn has_printed_outputs(value: &str) -> bool {
    let Ok(outputs) = serde_json::from_str::<Object<'_>>(value) else { return false };
    let mut fields =
        outputs.values().filter_map(|output| serde_json::from_str::<Object<'_>>(output.get()).ok());
    fields.any(|fields| {
        let algorithm = fields.get("hashAlgo").map(|algorithm| algorithm.get());
        fields.contains_key("path") || algorithm.is_some_and(|algorithm| algorithm.contains(':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_told_from_every_generation_of_derivations() {
        for recipe in [
            r#"{"name":"x","builder":"/bin/sh"}"#,
            r#"{"name":"x","builder":"/bin/sh","outputs":["out","dev"]}"#,
            r#"{"name":"x","builder":"/bin/sh","outputs":{"out":{"hash":""}},"inputs":{}}"#,
            r#"{"name":"x","inputs":{"src":"./src","drv":"./x.drv.json"}}"#,
            r#"{"nmae":"x"}"#,
            r#"{"name":"x","inputs":["./src"]}"#,
        ] {
            assert!(is_recipe(recipe.as_bytes()), "{recipe}");
        }
        for other in [
            "{}",
            "[]",
            "",
            "Derive([])",
            r#"{"name":"#,
            r#"{"name":"x"} x"#,
            // Up to 2.3, one derivation of a map.
            r#"{"/nix/store/00000000000000000000000000000000-x.drv":{"platform":"x86_64-linux"}}"#,
            r#"{"00000000000000000000000000000000-x.drv":{}}"#,
            r#"{"name":"x","platform":"x86_64-linux"}"#,
            r#"{"name":"x","inputDrvs":{}}"#,
            r#"{"name":"x","inputSrcs":[]}"#,
            r#"{"version":4,"derivations":{}}"#,
            r#"{"derivations":{}}"#,
            r#"{"version":3,"name":"x"}"#,
            r#"{"name":"x","inputs":{"drvs":{},"srcs":[]}}"#,
            r#"{"name":"x","inputs":{"srcs":[]}}"#,
            r#"{"name":"x","inputs":[]}"#,
            r#"{"name":"x","outputs":{"out":{"path":"/nix/store/00000000000000000000000000000000-x"}}}"#,
            r#"{"name":"x","outputs":{"out":{"hashAlgo":"r:sha256"}}}"#,
        ] {
            assert!(!is_recipe(other.as_bytes()), "{other}");
        }
        assert!(!is_recipe(b"{\"name\":\"\xff\"}"));
    }
}
