//! A recipe with all the recipes that it needs.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::vec;

use store_path::StoreDir;

use crate::error::{ClosureError, Place};
use crate::{Recipe, is_recipe};

/// A file that was read.
#[derive(Debug)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub contents: Contents,
}

/// What is in a file that a recipe needs.
#[derive(Debug)]
pub enum Contents {
    /// A recipe, and where in the list those are that its inputs name.
    Recipe(Box<Recipe>, BTreeMap<String, usize>),
    /// Something else, by which recipes can be told from derivations; see [`is_recipe`].
    Other(Vec<u8>),
}

/// Returns the contents of a file, and one path for it however it is called.
pub type ReadFile<'a> = &'a mut dyn FnMut(&Path) -> io::Result<(PathBuf, Vec<u8>)>;

/// Reads the recipe at `path` and all that it needs, and returns them with inputs first; the last is the one asked for.
///
/// Paths in a recipe begin at the directory of its file.
pub fn read_closure(
    path: &Path,
    store_dir: &StoreDir,
    read: ReadFile<'_>,
) -> Result<Vec<File>, ClosureError> {
    let mut walk = Walk {
        store_dir,
        read,
        names: HashMap::new(),
        states: HashMap::new(),
        files: Vec::new(),
        open: Vec::new(),
    };
    walk.visit(path, None)?;
    while let Some(visit) = walk.open.last_mut() {
        match visit.ahead.next() {
            Some((name, file)) => {
                let place = visit.recipe.place_of(&name);
                let wanted_by = (visit.path.clone(), place);
                if let Some(index) = walk.visit(&file, Some(wanted_by))? {
                    walk.found(name, index);
                } else if let Some(new) = walk.open.last_mut() {
                    new.called = name;
                }
            }
            None => walk.close(),
        }
    }
    Ok(walk.files)
}

/// A walk with a stack of its own, so that no chain of files exhausts the thread's.
struct Walk<'a> {
    store_dir: &'a StoreDir,
    read: ReadFile<'a>,
    /// What files are really called, so that each is read once for each of its names.
    names: HashMap<PathBuf, PathBuf>,
    states: HashMap<PathBuf, State>,
    files: Vec<File>,
    /// From the first recipe to the current one.
    open: Vec<Visit>,
}

/// How far the walk has come with a file.
enum State {
    /// In that place of `open`.
    Open(usize),
    /// In that place of `files`.
    Done(usize),
}

struct Visit {
    path: PathBuf,
    recipe: Box<Recipe>,
    /// The input of the recipe before that it is.
    called: String,
    ahead: vec::IntoIter<(String, PathBuf)>,
    inputs: BTreeMap<String, usize>,
}

impl Walk<'_> {
    /// Returns where a file is, if it needs nothing that is not there; else opens it.
    fn visit(
        &mut self,
        file: &Path,
        wanted_by: Option<(PathBuf, Place)>,
    ) -> Result<Option<usize>, ClosureError> {
        if let Some(State::Done(index)) = self.names.get(file).and_then(|path| self.states.get(path)) {
            return Ok(Some(*index));
        }
        let (path, text) = (self.read)(file).map_err(|source| ClosureError::Read {
            path: file.to_owned(),
            wanted_by,
            source,
        })?;
        self.names.insert(file.to_owned(), path.clone());
        match self.states.get(&path) {
            Some(State::Done(index)) => return Ok(Some(*index)),
            Some(State::Open(start)) => {
                let files = self.open[*start..].iter().map(|visit| visit.path.clone()).collect();
                return Err(ClosureError::Cycle { files });
            }
            None => {}
        }
        if !is_recipe(&text) {
            return Ok(Some(self.add(path, Contents::Other(text))));
        }
        let recipe = Recipe::parse(&text, self.store_dir)
            .map_err(|source| ClosureError::Recipe { path: path.clone(), source })?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let needed = recipe.inputs().iter();
        let ahead: Vec<_> = needed
            .filter_map(|(name, input)| {
                Some((name.clone(), directory.join(input.recipe_file()?).components().collect()))
            })
            .collect();
        self.states.insert(path.clone(), State::Open(self.open.len()));
        let recipe = Box::new(recipe);
        let (called, inputs) = (String::new(), BTreeMap::new());
        self.open.push(Visit { path, recipe, called, ahead: ahead.into_iter(), inputs });
        Ok(None)
    }

    /// Tells the current recipe where one of its inputs is.
    fn found(&mut self, name: String, index: usize) {
        if let Some(visit) = self.open.last_mut() {
            visit.inputs.insert(name, index);
        }
    }

    /// Ends the current recipe, all inputs of which have been walked.
    fn close(&mut self) {
        if let Some(Visit { path, recipe, called, inputs, .. }) = self.open.pop() {
            let index = self.add(path, Contents::Recipe(recipe, inputs));
            self.found(called, index);
        }
    }

    fn add(&mut self, path: PathBuf, contents: Contents) -> usize {
        let index = self.files.len();
        self.states.insert(path.clone(), State::Done(index));
        self.files.push(File { path, contents });
        index
    }
}
