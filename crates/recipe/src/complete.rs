//! From a recipe to a derivation.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use store_path::{Method, Placeholder, StoreDir, StorePath, placeholder};

use crate::error::{Problem, RecipeError};
use crate::model::{Fetch, Input, Output, Recipe};
use crate::template::{Attribute, Reference, Target};

/// What an input of a recipe has turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file or a tree in the store.
    Source(StorePath),
    /// A derivation.
    Derivation {
        /// Its path.
        drv: StorePath,
        /// Its outputs; those without a path get it when they are built.
        outputs: BTreeMap<String, Option<StorePath>>,
    },
}

impl Recipe {
    /// Returns the derivation that the recipe describes, as JSON of version 4, with the paths of its outputs left open.
    ///
    /// `system` is this machine's; `found` says what each input is. What is returned depends on nothing else, and not
    /// on the order of anything in the text but that of `args` and of lists in `structuredAttrs`.
    pub fn complete(
        &self,
        store_dir: &StoreDir,
        system: &str,
        found: &BTreeMap<String, Found>,
    ) -> Result<Value, RecipeError> {
        let mut filling = Filling { recipe: self, store_dir, found, wanted: BTreeMap::new() };
        let mut fill = |reference: &Reference| filling.path_of(reference);
        let builder = self.builder.fill(&mut fill)?;
        let args: Vec<String> = self.args.iter().map(|arg| arg.fill(&mut fill)).collect::<Result<_, _>>()?;
        let mut env = BTreeMap::new();
        for (name, value) in &self.env {
            env.insert(name.clone(), value.fill(&mut fill)?);
        }
        env.extend(self.outputs.iter().filter_map(variable));
        let attributes = self.structured_attrs.as_ref();
        let attributes = attributes.map(|fields| Attribute::fill_all(fields, &mut fill)).transpose()?;
        let mut derivation = json!({
            "version": 4,
            "name": self.name.as_str(),
            "system": self.system.as_deref().unwrap_or(system),
            "builder": builder,
            "args": args,
            "env": env,
            "inputs": filling.inputs()?,
            "outputs": self.outputs.iter().map(|(name, output)| (name.clone(), output.to_json())).collect::<Map<_, _>>(),
        });
        if let Some(attributes) = attributes {
            derivation["structuredAttrs"] = attributes.into();
        }
        Ok(derivation)
    }
}

/// Returns the variable of an output, where whoever checks the derivation does not set it.
fn variable((name, output): (&String, &Output)) -> Option<(String, String)> {
    let value = match output {
        Output { hash: Some(_), .. } => return None,
        Output { hash_algo: Some(_), .. } => placeholder(name),
        // It is filled in when the path is known, and stays empty where inputs decide that.
        Output { .. } => String::new(),
    };
    Some((name.clone(), value))
}

impl Output {
    fn to_json(&self) -> Value {
        let mut fields = Map::new();
        let method = || self.method.unwrap_or(Method::Flat).to_string();
        if let Some(hash) = &self.hash {
            fields.insert("hash".to_owned(), hash.to_sri().into());
            fields.insert("method".to_owned(), method().into());
        }
        if let Some(algorithm) = self.hash_algo {
            fields.insert("hashAlgo".to_owned(), algorithm.to_string().into());
            fields.insert("method".to_owned(), method().into());
        }
        if self.impure {
            fields.insert("impure".to_owned(), true.into());
        }
        fields.into()
    }
}

/// Puts paths in their places, and notes which outputs were wanted.
struct Filling<'a> {
    recipe: &'a Recipe,
    store_dir: &'a StoreDir,
    found: &'a BTreeMap<String, Found>,
    /// By the names of the inputs.
    wanted: BTreeMap<&'a str, BTreeSet<String>>,
}

impl<'a> Filling<'a> {
    fn path_of(&mut self, reference: &Reference) -> Result<String, RecipeError> {
        let (name, output) = match &reference.target {
            Target::Own(output) => return Ok(placeholder(output)),
            Target::Input { name, output } => (name, output),
        };
        let recipe = self.recipe;
        let wrong = |problem| RecipeError { place: reference.spot.place(&recipe.text), problem };
        match self.found.get_key_value(name) {
            None => Err(wrong(Problem::NotGiven { input: name.clone() })),
            Some((_, Found::Source(path))) => match output {
                None => Ok(self.store_dir.print(path)),
                Some(_) => Err(wrong(self.not_derivation(name))),
            },
            Some((name, Found::Derivation { drv, outputs })) => {
                let output = output.as_deref().unwrap_or_else(|| self.default_output(name));
                let path = outputs.get(output).ok_or_else(|| wrong(no_output(name, output, outputs)))?;
                self.wanted.entry(name).or_default().insert(output.to_owned());
                Ok(match path {
                    Some(path) => self.store_dir.print(path),
                    None => Placeholder::of_output(drv, output).to_string(),
                })
            }
        }
    }

    fn default_output(&self, input: &str) -> &'a str {
        match self.recipe.inputs.get(input) {
            Some(Input::Recipe(needed)) => needed.output.as_deref().unwrap_or("out"),
            _ => "out",
        }
    }

    fn not_derivation(&self, input: &str) -> Problem {
        let what = match self.recipe.inputs.get(input) {
            Some(Input::Source(_)) => "a file or directory",
            _ => "a path in the store",
        };
        Problem::NotDerivation { input: input.to_owned(), what }
    }

    /// Returns all inputs; of a derivation that no `${…}` names, the output is wanted that it would stand for.
    fn inputs(&self) -> Result<Value, RecipeError> {
        let mut srcs = BTreeSet::new();
        let mut drvs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for name in self.recipe.inputs.keys() {
            let wrong = |problem| RecipeError { place: self.recipe.place_of(name), problem };
            match self.found.get(name) {
                None => return Err(wrong(Problem::NotGiven { input: name.clone() })),
                Some(Found::Source(path)) => {
                    srcs.insert(path.to_string());
                }
                Some(Found::Derivation { drv, outputs }) => {
                    let wanted = match self.wanted.get(&**name) {
                        Some(wanted) => wanted.clone(),
                        None => BTreeSet::from([self.default_output(name).to_owned()]),
                    };
                    if let Some(absent) = wanted.iter().find(|output| !outputs.contains_key(*output)) {
                        return Err(wrong(no_output(name, absent, outputs)));
                    }
                    drvs.entry(drv.to_string()).or_default().extend(wanted);
                }
            }
        }
        let drvs: Map<String, Value> = drvs
            .into_iter()
            .map(|(drv, outputs)| (drv, json!({ "outputs": outputs, "dynamicOutputs": {} })))
            .collect();
        Ok(json!({ "drvs": drvs, "srcs": srcs }))
    }
}

fn no_output(input: &str, output: &str, outputs: &BTreeMap<String, Option<StorePath>>) -> Problem {
    let (input, output) = (input.to_owned(), output.to_owned());
    Problem::Output { input, output, known: outputs.keys().cloned().collect() }
}

impl Fetch {
    /// Returns the derivation that downloads the file, as JSON of version 4.
    ///
    /// It is the one that `<nix/fetchurl.nix>` of Nix 2.8 makes of the same address and hash.
    pub fn complete(&self) -> Value {
        let flag = |is_set: bool| if is_set { "1" } else { "" };
        let is_tree = self.executable || self.unpack;
        json!({
            "version": 4,
            "name": self.name.as_str(),
            // Not a machine's: it is the store itself that downloads.
            "system": "builtin",
            "builder": "builtin:fetchurl",
            "args": [],
            "env": {
                "builder": "builtin:fetchurl",
                "executable": flag(self.executable),
                "impureEnvVars": "http_proxy https_proxy ftp_proxy all_proxy no_proxy",
                "name": self.name.as_str(),
                "outputHash": self.hash.to_sri(),
                "outputHashAlgo": "",
                "outputHashMode": if is_tree { "recursive" } else { "flat" },
                "preferLocalBuild": "1",
                "system": "builtin",
                "unpack": flag(self.unpack),
                "url": self.url,
                "urls": self.url,
            },
            "inputs": { "drvs": {}, "srcs": [] },
            "outputs": {
                "out": { "hash": self.hash.to_sri(), "method": if is_tree { "nar" } else { "flat" } },
            },
        })
    }
}
