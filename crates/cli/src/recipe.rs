//! Recipes: files of the user's that become derivations once what they name is in the store.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use derivation::{Checked, Derivation, check_closure, json};
use local_store::{Import, LocalStore};
use recipe::{Contents, Found, Input, Recipe, Source};
use serde_json::Value;
use store_path::{StoreDir, StorePath};

use crate::bounded;
use crate::derivation_file::{self, Stated};
use crate::session::Session;

/// What becomes of the files that a recipe names.
#[derive(Clone, Copy)]
pub(crate) enum Sources<'a> {
    /// They are copied into the store, which derivations that are added refer to.
    Added(&'a LocalStore),
    /// Only the path is computed that they would get; there need not be a store.
    Named(Option<&'a LocalStore>),
}

/// Reads files of derivations, and makes derivations of recipes.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    /// This machine's.
    pub(crate) system: &'a str,
    pub(crate) store_dir: &'a StoreDir,
    pub(crate) sources: Sources<'a>,
}

impl<'a> Reader<'a> {
    /// For derivations that will be added to the store.
    pub(crate) fn adding(session: &'a Session, store: &'a LocalStore) -> Self {
        let sources = Sources::Added(store);
        Self { system: &session.settings().system, store_dir: store.store_dir(), sources }
    }

    /// For derivations that are only looked at.
    pub(crate) fn naming(session: &'a Session, store: &'a LocalStore) -> Self {
        Self { sources: Sources::Named(Some(store)), ..Self::adding(session, store) }
    }

    /// For derivations that are only looked at, where no store is asked for anything.
    pub(crate) fn without_store(session: &'a Session, store_dir: &'a StoreDir) -> Self {
        Self { system: &session.settings().system, store_dir, sources: Sources::Named(None) }
    }

    /// Reads all derivations of a file, or makes them of the recipe that it is.
    pub(crate) fn read(self, path: &Path) -> Result<Vec<Stated>> {
        let text = bounded::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        self.parse(text, path)
    }

    /// Reads those of stdin; what a recipe there names is looked for where `store` was started.
    pub(crate) fn read_stdin(self, session: &Session) -> Result<Vec<Stated>> {
        self.parse(bounded::read(Path::new("-"))?, &session.absolute(Path::new("stdin")))
    }

    /// Does the same for the contents of the file at `path`, which need not be there.
    pub(crate) fn parse(self, text: Vec<u8>, path: &Path) -> Result<Vec<Stated>> {
        let store_dir = self.store_dir;
        if !recipe::is_recipe(&text) {
            return derivation_file::parse(&text, path, store_dir)
                .with_context(|| format!("cannot read `{}`", path.display()));
        }
        let mut first = Some(text);
        let files = recipe::read_closure(path, store_dir, &mut |file| match first.take() {
            Some(text) => Ok((fs::canonicalize(file).unwrap_or_else(|_| file.to_owned()), text)),
            None => read_needed(file),
        })?;
        let mut kitchen =
            Kitchen { reader: self, derivations: BTreeMap::new(), done: Vec::with_capacity(files.len()) };
        for file in files {
            let found = match &file.contents {
                Contents::Recipe(recipe, needed) => kitchen
                    .cook(&file.path, recipe, needed)
                    .with_context(|| format!("cannot use the recipe `{}`", file.path.display()))?,
                Contents::Other(text) => kitchen.take(&file.path, text)?,
            };
            kitchen.done.push(found);
        }
        Ok(kitchen.derivations.into_iter().map(|(path, derivation)| (Some(path), derivation)).collect())
    }

    fn store(&self) -> Option<&'a LocalStore> {
        match self.sources {
            Sources::Added(store) => Some(store),
            Sources::Named(store) => store,
        }
    }
}

fn read_needed(file: &Path) -> io::Result<(PathBuf, Vec<u8>)> {
    let path = fs::canonicalize(file)?;
    let text = bounded::read(&path).map_err(io::Error::other)?;
    Ok((path, text))
}

/// What has been made of recipes so far.
struct Kitchen<'a> {
    reader: Reader<'a>,
    derivations: BTreeMap<StorePath, Derivation>,
    /// What each of the files is, in their order.
    done: Vec<Found>,
}

impl Kitchen<'_> {
    /// Makes the derivation of a recipe; `needed` says which files its inputs are that are recipes.
    fn cook(&mut self, file: &Path, recipe: &Recipe, needed: &BTreeMap<String, usize>) -> Result<Found> {
        let mut found = BTreeMap::new();
        for (name, input) in recipe.inputs() {
            let what = match input {
                Input::Recipe(_) => Ok(self.done[needed[name]].clone()),
                Input::Source(source) => self.import(file, source).map(Found::Source),
                Input::Stored(path) => self.stored(path),
                Input::Fetch(fetch) => self.check(&fetch.complete()),
            };
            found.insert(name.clone(), what.with_context(|| recipe.place_of(name))?);
        }
        let derivation = recipe.complete(self.store_dir(), self.reader.system, &found)?;
        self.check(&derivation)
    }

    fn import(&self, file: &Path, source: &Source) -> Result<StorePath> {
        let directory = file.parent().unwrap_or(Path::new("/"));
        let tree = directory.join(&source.path);
        let import = Import { name: &source.name, tree: &tree, rules_from: directory };
        let imported = match self.reader.sources {
            Sources::Added(store) => store.import(&import),
            Sources::Named(_) => import.store_path(self.store_dir()),
        };
        imported.map_err(|error| {
            let advice = match error {
                local_store::Error::Dump(_) if tree.is_dir() => {
                    "; a line in a file `.storeignore` leaves out what is not needed"
                }
                _ => "",
            };
            anyhow!(error).context(format!("cannot import `{}`{advice}", source.path.display()))
        })
    }

    fn stored(&self, path: &StorePath) -> Result<Found> {
        let valid =
            self.reader.store().map(|store| Ok::<_, local_store::Error>((store, store.is_valid(path)?)));
        let Some((store, true)) = valid.transpose()? else {
            bail!("`{}` is not in the store", self.store_dir().print(path));
        };
        if !path.is_derivation() {
            return Ok(Found::Source(path.clone()));
        }
        let derivation = engine::read_derivation(store, path)?;
        let outputs = derivation.outputs.iter();
        Ok(Found::Derivation {
            drv: path.clone(),
            outputs: outputs.map(|(name, output)| (name.to_string(), output.path().cloned())).collect(),
        })
    }

    /// Completes a derivation.
    fn check(&mut self, derivation: &Value) -> Result<Found> {
        let stated = json::parse(derivation.to_string().as_bytes(), self.store_dir())?;
        let checked = self.complete(stated)?;
        let last = checked.last().context("there is no derivation in it")?;
        Ok(found(last))
    }

    /// Takes the one thing that a file with ordinary derivations is for.
    fn take(&mut self, file: &Path, text: &[u8]) -> Result<Found> {
        let failed = || format!("cannot use the derivations in `{}`", file.display());
        let hint =
            || format!("`{}` is no recipe; to import it as it is, write `{{\"path\": …}}`", file.display());
        let stated = derivation_file::parse(text, file, self.store_dir()).with_context(hint)?;
        let checked = self.complete(stated).with_context(failed)?;
        match derivation_file::goals(&checked).as_slice() {
            [one] => Ok(found(one)),
            goals => bail!(
                "`{}` has {} derivations that no other one there uses; a recipe needs one",
                file.display(),
                goals.len()
            ),
        }
    }

    fn store_dir(&self) -> &StoreDir {
        self.reader.store_dir
    }

    fn complete(&mut self, stated: Vec<Stated>) -> Result<Vec<Checked>> {
        let known = &mut |path: &StorePath| match (self.derivations.get(path), self.reader.store()) {
            (Some(derivation), _) => Ok(derivation.clone()),
            (None, Some(store)) => engine::read_derivation(store, path).map_err(io::Error::other),
            (None, None) => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let checked = check_closure(stated, self.store_dir(), known)?;
        let new = checked.iter().map(|checked| (checked.path().clone(), checked.derivation().clone()));
        self.derivations.extend(new);
        Ok(checked)
    }
}

fn found(checked: &Checked) -> Found {
    let outputs = checked.output_paths().into_iter();
    Found::Derivation {
        drv: checked.path().clone(),
        outputs: outputs.map(|(name, path)| (name.to_string(), path)).collect(),
    }
}
