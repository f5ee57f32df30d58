//! What a recipe says.
//!
//! `store recipe schema` is made from these types: their fields are those of the format, and the comments on them are
//! what editors show. What a field looks like in a file is said beside it where it is not what Rust holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use store_path::{Hash, HashAlgorithm, Method, Name, StorePath};

use crate::error::Place;
use crate::node::Spot;
use crate::schema::{
    AlgorithmText, HashText, InputText, MethodText, NameText, OutputsText, RecipeText, Text, UrlText,
    VariableNames,
};
use crate::template::{Attribute, Template};

/// How to build something: a program, what it is given, and the outputs it makes.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "camelCase")]
pub struct Recipe {
    /// What it is called in the store, such as `hello-2.12`.
    #[schemars(with = "NameText")]
    pub(crate) name: Name,

    /// The kind of machine that can run the program, such as `x86_64-linux`. Left out: this machine's.
    #[schemars(with = "Option<Text>")]
    pub(crate) system: Option<String>,

    /// What it needs. `${NAME}` in `builder`, `args`, `env` and `structuredAttrs` becomes the path of the input NAME in
    /// the store, and `${NAME.OUTPUT}` that of one output of a recipe.
    #[schemars(with = "Option<InputText>")]
    pub(crate) inputs: BTreeMap<String, Input>,

    /// The program to run, such as `/bin/sh`.
    #[schemars(with = "Text")]
    pub(crate) builder: Template,

    /// Its arguments.
    #[schemars(with = "Option<Vec<Text>>")]
    pub(crate) args: Vec<Template>,

    /// Its environment variables. Each output is in a variable of its name, without being written here.
    #[schemars(with = "Option<VariableNames>")]
    pub(crate) env: BTreeMap<String, Template>,

    /// Values of any kind, which the program finds in the files `.attrs.json` and `.attrs.sh`.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub(crate) structured_attrs: Option<BTreeMap<String, Attribute>>,

    /// What the program makes: `["out", "dev"]`, or an object that says how each is named. Left out: `["out"]`.
    #[schemars(with = "Option<OutputsText>")]
    pub(crate) outputs: BTreeMap<String, Output>,

    /// The text, to find places in it.
    #[schemars(rename = "$schema", with = "Option<String>")]
    pub(crate) text: String,
    #[schemars(skip)]
    pub(crate) input_spots: BTreeMap<String, Spot>,
}

impl Recipe {
    /// Returns the inputs by their names.
    pub fn inputs(&self) -> &BTreeMap<String, Input> {
        &self.inputs
    }

    /// Returns where an input is named, for messages about it.
    pub fn place_of(&self, input: &str) -> Place {
        self.input_spots.get(input).map(|spot| spot.place(&self.text)).unwrap_or_default()
    }
}

/// Something that a recipe needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file or directory of the user's.
    Source(Source),
    /// What another recipe makes.
    Recipe(Needed),
    /// What is in the store already. If it is a derivation, what that makes.
    Stored(StorePath),
    /// A download.
    Fetch(Fetch),
}

/// A file or a directory that is copied into the store.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Source {
    /// The file or the directory, as seen from the recipe.
    #[schemars(with = "RecipeText")]
    pub path: PathBuf,
    /// What to call it in the store. Left out: its own name.
    #[schemars(with = "Option<NameText>")]
    pub name: Name,
}

/// Another recipe.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Needed {
    /// Its file, as seen from this one.
    #[schemars(rename = "recipe", with = "RecipeText")]
    pub path: PathBuf,
    /// The output that `${NAME}` stands for. Left out: `out`.
    #[schemars(with = "Option<NameText>")]
    pub output: Option<String>,
}

/// A file that is downloaded, and has to have a certain hash.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Fetch {
    /// Where it is.
    #[schemars(rename = "fetch", with = "UrlText")]
    pub url: String,
    /// Its hash, such as `sha256-…`. Empty as long as it is not known: the build then says which it is.
    #[schemars(with = "HashText")]
    pub hash: Hash,
    /// What to call it in the store. Left out: the last part of the address.
    #[schemars(with = "Option<NameText>")]
    pub name: Name,
    /// Whether it is a program; the hash is then that of its archive.
    #[schemars(with = "Option<bool>")]
    pub executable: bool,
    /// Whether it is an archive as `store dump` makes it, to be unpacked; the hash is then that of the archive.
    #[schemars(with = "Option<bool>")]
    pub unpack: bool,
}

/// How an output gets its path.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "camelCase")]
pub struct Output {
    /// The hash that it has to have; the build may then use the network. Empty as long as it is not known.
    #[schemars(with = "Option<HashText>")]
    pub(crate) hash: Option<Hash>,
    /// With this in place of a hash, its path follows from what it turns out to be.
    #[schemars(with = "Option<AlgorithmText>")]
    pub(crate) hash_algo: Option<HashAlgorithm>,
    /// What is hashed: the contents of a single file (`flat`), or a whole tree (`nar`). Left out: `flat`.
    #[schemars(with = "Option<MethodText>")]
    pub(crate) method: Option<Method>,
    /// Whether it comes out differently each time.
    #[schemars(with = "Option<bool>")]
    pub(crate) impure: bool,
}

impl Input {
    /// Returns the file that it names, as seen from the directory of the recipe.
    pub(crate) fn recipe_file(&self) -> Option<&Path> {
        match self {
            Self::Recipe(needed) => Some(&needed.path),
            Self::Source(_) | Self::Stored(_) | Self::Fetch(_) => None,
        }
    }
}
