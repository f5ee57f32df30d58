//! The JSON Schema of recipes.
//!
//! It is made from the types in `model.rs`. The ones here only say how something is written that those hold in another
//! form; no value of them ever exists.
#![expect(dead_code, reason = "these types are descriptions")]

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::model::{Fetch, Needed, Output, Recipe, Source};

/// Returns the JSON Schema of recipes, of the draft 2020-12.
///
/// Whatever can be used as a recipe fulfils it. Not everything that fulfils it can be used: which names stand for
/// something is a question that no schema asks.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(forbid_null));
    settings.into_generator().into_root_schema_for::<Recipe>().to_value()
}

/// A field is left out rather than null.
fn forbid_null(schema: &mut Schema) {
    if let Some(kinds) = schema.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [one] = &kinds[..] {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    let Some(choices) = schema.get_mut("anyOf").and_then(Value::as_array_mut) else { return };
    choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    if let Some(Value::Object(one)) = choices.first().filter(|_| choices.len() == 1).cloned() {
        schema.remove("anyOf");
        for (key, value) in one {
            schema.ensure_object().entry(key).or_insert(value);
        }
    }
}

/// A text without NUL characters.
#[derive(JsonSchema)]
#[schemars(inline)]
pub(crate) struct Text(#[schemars(regex(pattern = r"^[^\u0000]*$"))] String);

/// A name in the store: letters, digits and `+-._?=`.
#[derive(JsonSchema)]
#[schemars(inline)]
pub(crate) struct NameText(
    #[schemars(length(min = 1, max = 211), regex(pattern = r"^(?!\.\.?(-|$))[0-9a-zA-Z+._?=-]+$"))] String,
);

/// A path that begins with `./`, `../` or `/`.
#[derive(JsonSchema)]
#[schemars(inline)]
pub(crate) struct RecipeText(#[schemars(regex(pattern = r"^(\.\.?(/|$)|/)[^\u0000]*$"))] String);

#[derive(JsonSchema)]
#[schemars(inline)]
pub(crate) struct UrlText(
    #[schemars(regex(pattern = r"^(https?|file)://[^\u0000]+$"))]
    String,
);

#[derive(JsonSchema)]
#[schemars(inline)]
pub(crate) struct HashText(#[schemars(regex(pattern = r"^$|^(md5|sha1|sha256|sha512|blake3)[-:]"))] String);

#[derive(JsonSchema)]
#[schemars(inline, rename_all = "lowercase")]
pub(crate) enum AlgorithmText {
    Md5,
    Sha1,
    Sha256,
    Sha512,
    Blake3,
}

#[derive(JsonSchema)]
#[schemars(inline, rename_all = "lowercase")]
pub(crate) enum MethodText {
    Flat,
    Nar,
    Text,
    Git,
}

#[derive(JsonSchema)]
#[schemars(inline, extend("propertyNames" = {"pattern": "^[0-9a-zA-Z_-]+$", "not": {"enum": ["drvs", "srcs"]}}))]
pub(crate) struct InputText(BTreeMap<String, OneInput>);

#[derive(JsonSchema)]
#[schemars(inline, untagged)]
enum OneInput {
    /// A file or directory (`./src`), another recipe (`./zlib.json`), or a store path.
    Text(RecipeText),
    Source(Source),
    Recipe(Needed),
    Fetch(Fetch),
}

#[derive(JsonSchema)]
#[schemars(inline, extend("propertyNames" = {"pattern": "^[^=\\u0000]+$", "not": {"const": "__json"}}))]
pub(crate) struct VariableNames(BTreeMap<String, Text>);

#[derive(JsonSchema)]
#[schemars(inline, untagged)]
pub(crate) enum OutputsText {
    /// Their names.
    Names(#[schemars(length(min = 1), extend("uniqueItems" = true))] Vec<NameText>),
    /// Their names, and how each gets its path.
    Described(#[schemars(extend("minProperties" = 1))] BTreeMap<String, Output>),
}
