//! Derivations to be looked at, which need not be in a store: those of files, of the store, and of files beside those.
#![expect(clippy::disallowed_methods, reason = "derivations may be files of the user's")]

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use derivation::{Checked, ClosureError, Derivation, Output, aterm, check_closure, own_path};
use local_store::{LocalStore, Location};
use store_path::{StoreDir, StorePath};

use crate::derivation_file::Stated;
use crate::derivers;
use crate::recipe::{Reader, Sources};
use crate::session::Session;
use crate::store_argument;

/// Where derivations can be found.
pub(crate) struct AtHand {
    store: Option<LocalStore>,
    location: Location,
    /// Those of files.
    given: HashMap<StorePath, Derivation>,
    /// Where files were: a folder may hold a whole closure, each derivation in a file with the name of its path.
    folders: BTreeSet<PathBuf>,
}

impl AtHand {
    /// Starts with the store, if there is one.
    pub(crate) fn new(session: &Session) -> Result<Self> {
        Ok(Self {
            store: session.read_store_if_there()?,
            location: session.location()?,
            given: HashMap::new(),
            folders: BTreeSet::new(),
        })
    }

    pub(crate) fn store(&self) -> Option<&LocalStore> {
        self.store.as_ref()
    }

    pub(crate) fn store_dir(&self) -> &StoreDir {
        &self.location.store_dir
    }

    /// Takes in what an argument means, and returns what it is for: of a file, or of stdin (`-`), what nothing else there
    /// uses.
    pub(crate) fn take(&mut self, session: &Session, argument: &Path) -> Result<Vec<StorePath>> {
        if argument == Path::new("-") {
            return self.take_file(session, argument);
        }
        let argument = &session.absolute(argument);
        match store_argument::resolve_unless_file(&self.location, argument) {
            Ok(path) => Ok(vec![self.derivation_of(path)?]),
            Err(_) if argument.is_file() => self.take_file(session, argument),
            Err(error) => Err(error),
        }
    }

    fn derivation_of(&self, path: StorePath) -> Result<StorePath> {
        let Some(store) = &self.store else { return Ok(path) };
        let candidates: BTreeSet<StorePath> = derivers::of(store, &path)?.into_iter().collect();
        let drv = store.valid_among(&candidates)?.into_iter().next();
        drv.with_context(|| format!("`{path}` is not a derivation, and was not built from a known one"))
    }

    fn take_file(&mut self, session: &Session, file: &Path) -> Result<Vec<StorePath>> {
        self.folders.extend(session.absolute(file).parent().map(Path::to_owned));
        let sources = Sources::Named(self.store.as_ref());
        let reader =
            Reader { system: &session.settings().system, store_dir: &self.location.store_dir, sources };
        let stated = if file == Path::new("-") { reader.read_stdin(session)? } else { reader.read(file)? };
        let derivations = self
            .with_paths(stated)
            .with_context(|| format!("cannot tell the paths of the derivations in `{}`", file.display()))?;
        let used: BTreeSet<&StorePath> =
            derivations.iter().flat_map(|(_, derivation)| derivation.input_drvs.keys()).collect();
        let goals = derivations.iter().map(|(path, _)| path).filter(|path| !used.contains(path));
        let goals = goals.cloned().collect();
        self.given.extend(derivations);
        Ok(goals)
    }

    /// Returns derivations with their paths, as they follow from what is in them.
    ///
    /// Where an input is not at hand that cannot be told, and what the file says has to be believed.
    fn with_paths(&self, stated: Vec<Stated>) -> Result<Vec<(StorePath, Derivation)>> {
        let known = &mut |path: &StorePath| {
            let found = self.find(path).map_err(|error| io::Error::other(format!("{error:#}")))?;
            found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        match check_closure(stated.clone(), self.store_dir(), known) {
            Ok(checked) => Ok(checked.iter().map(with_path).collect()),
            Err(ClosureError::Input { .. })
                if stated.iter().all(|(path, derivation)| path.is_some() || is_complete(derivation)) =>
            {
                let path = |(path, derivation): Stated| {
                    let path = match path {
                        Some(path) => path,
                        None => own_path(&derivation, self.store_dir())?,
                    };
                    Ok((path, derivation))
                };
                stated.into_iter().map(path).collect()
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns a derivation, if it is anywhere.
    pub(crate) fn find(&self, drv: &StorePath) -> Result<Option<Derivation>> {
        if let Some(given) = self.given.get(drv) {
            return Ok(Some(given.clone()));
        }
        if self.store.is_some()
            && let Some(place) = self.location.place_of(drv).parent()
            && let Some(found) = read(place, drv, self.store_dir())?
        {
            return Ok(Some(found));
        }
        for folder in &self.folders {
            if let Some(found) = read(folder, drv, self.store_dir())? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn with_path(checked: &Checked) -> (StorePath, Derivation) {
    (checked.path().clone(), checked.derivation().clone())
}

/// Whether nothing has to be filled in before the derivation has a path.
fn is_complete(derivation: &Derivation) -> bool {
    !derivation.outputs.values().any(|output| matches!(output, Output::Deferred))
}

/// Reads a derivation from a folder, if it is there.
fn read(folder: &Path, drv: &StorePath, store_dir: &StoreDir) -> Result<Option<Derivation>> {
    let Some(Ok(name)) = drv.name().as_str().strip_suffix(".drv").map(str::parse) else { return Ok(None) };
    let file = folder.join(drv.to_string());
    let cannot = || format!("cannot read the derivation in `{}`", file.display());
    match fs::read(&file) {
        Ok(text) => Ok(Some(aterm::parse(&text, store_dir, &name).with_context(cannot)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(cannot),
    }
}
