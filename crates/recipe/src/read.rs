//! From a text to a recipe.

use std::collections::BTreeMap;

use store_path::{Hash, HashAlgorithm, Method, Name, StoreDir};

use crate::error::{Problem, RecipeError, nearest};
use crate::input;
use crate::model::{Input, Output, Recipe};
use crate::node::{Field, Kind, Node, Spot};
use crate::template::{Attribute, Scope, Template};
use crate::{MAX_BYTES, Place};

const FIELDS: &[&str] =
    &["$schema", "name", "system", "inputs", "builder", "args", "env", "structuredAttrs", "outputs"];

impl Recipe {
    /// Reads a recipe.
    ///
    /// Each `${…}` in it is known to name an input or an output; which outputs an input has is another question.
    pub fn parse(text: &[u8], store_dir: &StoreDir) -> Result<Self, RecipeError> {
        if text.len() > MAX_BYTES {
            return Err(RecipeError {
                place: Place { line: 1, column: 1, ..Place::default() },
                problem: Problem::TooLarge,
            });
        }
        let text = utf8(text)?;
        let fields = Node::parse(text)?.known_fields(FIELDS)?;
        // An editor's way to the schema.
        fields.optional("$schema", Node::string)?;
        let name = name(fields.required("name")?)?;
        let outputs = fields.optional("outputs", outputs)?.unwrap_or_else(|| BTreeMap::from([out()]));
        let found = fields.optional("inputs", |node| inputs(node, store_dir, &outputs))?.unwrap_or_default();
        let scope = Scope {
            inputs: found.inputs.keys().cloned().collect(),
            outputs: outputs.keys().cloned().collect(),
        };
        let template = |node: &Node<'_>| Template::read(node, &scope);
        let args = |node: &Node<'_>| node.list()?.iter().map(template).collect();
        let attributes = |node: &Node<'_>| Attribute::read_all(node, &scope);
        let structured_attrs = fields.optional("structuredAttrs", attributes)?;
        Ok(Self {
            name,
            system: fields.optional("system", plain)?,
            builder: builder(fields.required("builder")?, &scope)?,
            args: fields.optional("args", args)?.unwrap_or_default(),
            env: fields
                .optional("env", |node| {
                    // They would be dropped without a word.
                    let is_seen = structured_attrs.is_none() || node.fields()?.is_empty();
                    if is_seen { variables(node, &scope) } else { Err(node.wrong(Problem::UnseenVariables)) }
                })?
                .unwrap_or_default(),
            structured_attrs,
            inputs: found.inputs,
            outputs,
            text: text.to_owned(),
            input_spots: found.spots,
        })
    }
}

fn utf8(text: &[u8]) -> Result<&str, RecipeError> {
    std::str::from_utf8(text).map_err(|error| {
        let before = String::from_utf8_lossy(&text[..error.valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|char| *char != '\n').count() + 1;
        let problem = Problem::Syntax { reason: "the text is not UTF-8".to_owned() };
        RecipeError { place: Place { line, column, pointer: String::new() }, problem }
    })
}

/// Reads a text in which `${` means nothing.
pub(crate) fn plain(node: &Node<'_>) -> Result<String, RecipeError> {
    let text = node.string()?;
    if text.contains('\0') { Err(node.wrong(Problem::Nul)) } else { Ok(text) }
}

pub(crate) fn name(node: &Node<'_>) -> Result<Name, RecipeError> {
    node.string()?.parse().map_err(|error| node.wrong(Problem::Name(error)))
}

/// Reads a hash; an empty one becomes one that nothing has, so that the build tells the right one.
pub(crate) fn hash(node: &Node<'_>) -> Result<Hash, RecipeError> {
    let text = node.string()?;
    if text.is_empty() {
        return Ok(unknown_hash());
    }
    Hash::parse(&text, None).map_err(|error| node.wrong(Problem::Hash(error)))
}

/// Returns what an empty hash becomes.
pub(crate) fn unknown_hash() -> Hash {
    let digits = "0".repeat(64);
    Hash::parse(&digits, Some(HashAlgorithm::Sha256)).expect("these are the digits of a SHA-256")
}

/// Whether a hash stands for one that is not known yet.
pub fn is_unknown(hash: &Hash) -> bool {
    *hash == unknown_hash()
}

fn word<T: std::str::FromStr>(node: &Node<'_>, words: &[&str]) -> Result<T, RecipeError> {
    let found = node.string()?;
    match found.parse() {
        Ok(meant) if words.contains(&&*found) => Ok(meant),
        _ => {
            let known: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Err(node.wrong(Problem::Word { nearest: nearest(&found, &known), found, known }))
        }
    }
}

#[derive(Default)]
struct Inputs {
    inputs: BTreeMap<String, Input>,
    spots: BTreeMap<String, Spot>,
}

fn inputs(
    node: &Node<'_>,
    store_dir: &StoreDir,
    outputs: &BTreeMap<String, Output>,
) -> Result<Inputs, RecipeError> {
    let mut found = Inputs::default();
    for Field { name, key, value } in node.fields()? {
        let is_allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
        if name.is_empty() || !name.chars().all(is_allowed) {
            return Err(key.wrong(Problem::InputName));
        }
        if matches!(&*name, "drvs" | "srcs") {
            return Err(key.wrong(Problem::ReservedName { name }));
        }
        if outputs.contains_key(&name) {
            return Err(key.wrong(Problem::AlsoOutput { name }));
        }
        found.inputs.insert(name.clone(), input::read(&name, &value, store_dir)?);
        found.spots.insert(name, value.spot());
    }
    Ok(found)
}

fn variables(node: &Node<'_>, scope: &Scope) -> Result<BTreeMap<String, Template>, RecipeError> {
    let mut variables = BTreeMap::new();
    for Field { name, key, value } in node.fields()? {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(key.wrong(Problem::VariableName));
        }
        if name == "__json" {
            return Err(key.wrong(Problem::JsonVariable));
        }
        if scope.outputs.contains(&name) {
            return Err(key.wrong(Problem::OutputVariable { name }));
        }
        variables.insert(name, Template::read(&value, scope)?);
    }
    Ok(variables)
}

/// Reads the program, which is not looked for anywhere.
fn builder(node: &Node<'_>, scope: &Scope) -> Result<Template, RecipeError> {
    let builder = Template::read(node, scope)?;
    if builder.begins_at_root() { Ok(builder) } else { Err(node.wrong(Problem::Builder)) }
}

fn out() -> (String, Output) {
    ("out".to_owned(), Output::default())
}

/// Reads a list of names, or an object that says more about each.
fn outputs(node: &Node<'_>) -> Result<BTreeMap<String, Output>, RecipeError> {
    let outputs = match node.kind() {
        Kind::List => names(node)?,
        Kind::Object => described(node)?,
        _ => return Err(node.wrong_kind("a list of names, or an object")),
    };
    if outputs.is_empty() {
        return Err(node.wrong(Problem::NoOutputs));
    }
    let has_hash = outputs.values().any(|output| output.hash.is_some());
    if has_hash && outputs.keys().ne(["out"]) {
        return Err(node.wrong(Problem::FixedOutput));
    }
    Ok(outputs)
}

fn names(node: &Node<'_>) -> Result<BTreeMap<String, Output>, RecipeError> {
    let mut outputs = BTreeMap::new();
    for item in node.list()? {
        let name = name(&item)?.to_string();
        if outputs.insert(name.clone(), Output::default()).is_some() {
            return Err(item.wrong(Problem::Twice { name }));
        }
    }
    Ok(outputs)
}

fn described(node: &Node<'_>) -> Result<BTreeMap<String, Output>, RecipeError> {
    let mut outputs = BTreeMap::new();
    for Field { name: text, key, value } in node.fields()? {
        name(&key)?;
        outputs.insert(text, output(&value)?);
    }
    Ok(outputs)
}

fn output(node: &Node<'_>) -> Result<Output, RecipeError> {
    let fields = node.known_fields(&["hash", "hashAlgo", "method", "impure"])?;
    let algorithm = |node: &Node<'_>| word(node, &["md5", "sha1", "sha256", "sha512", "blake3"]);
    let output = Output {
        hash: fields.optional("hash", hash)?,
        hash_algo: fields.optional("hashAlgo", algorithm)?,
        method: fields.optional("method", |node| word::<Method>(node, &["flat", "nar", "text", "git"]))?,
        impure: fields.optional("impure", Node::boolean)?.unwrap_or(false),
    };
    let is_whole = match (&output.hash, output.hash_algo) {
        (Some(_), Some(_)) => false,
        (Some(_), None) => !output.impure,
        (None, Some(_)) => true,
        (None, None) => output.method.is_none() && !output.impure,
    };
    if is_whole { Ok(output) } else { Err(node.wrong(Problem::OutputForm)) }
}
