//! The outermost object of a file: one derivation, or many.
//!
//! A whole package set is hundreds of megabytes of JSON, so each derivation is made from its part as soon as that
//! has been read.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};
use store_path::{StoreDir, StorePath};

use super::error::WRAPPER;
use super::read::{Context, check_version};
use super::tree::{Notes, Tree};
use super::wrong::{Tally, Wrong};
use super::{JsonError, Problem};
use crate::Derivation;

/// As many derivations one file may hold; all of nixpkgs has a fifth of that.
const MOST_DERIVATIONS: usize = 1_000_000;

/// As many problems are looked for; what is wrong with more has one reason.
const MOST_PROBLEMS: usize = 1000;

/// A derivation with the path that its file gives it, if any.
pub(crate) type Stated<B = Vec<u8>> = (Option<StorePath>, Derivation<B>);

/// Reads a file of derivations, each with the path that the file gives it, if any.
///
/// In what is returned, an output whose path was left out is [`crate::Output::Deferred`]; the paths of fixed
/// outputs are computed. Nothing else is held against any rule; see [`crate::check_closure`].
pub fn parse(json: &[u8], store_dir: &StoreDir) -> Result<Vec<(Option<StorePath>, Derivation)>, JsonError> {
    let (found, problems) = read(json, store_dir, 1);
    problems.into_iter().next().map_or(Ok(found), Err)
}

/// Reads as much of a file as can be read, and returns all that is wrong with the rest.
pub(crate) fn examine(json: &[u8], store_dir: &StoreDir) -> (Vec<Stated>, Vec<JsonError>) {
    read(json, store_dir, MOST_PROBLEMS)
}

/// Ends when so many problems have been found.
fn read(json: &[u8], store_dir: &StoreDir, most: usize) -> (Vec<Stated>, Vec<JsonError>) {
    let mut file = File {
        context: Context { store_dir },
        most,
        found: Vec::new(),
        seen: HashSet::new(),
        is_wrapped: false,
        rest: Map::new(),
        rest_notes: Notes::default(),
        problems: Vec::new(),
    };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let level = Level { file: &mut file, is_inner: false };
    let end = deserializer.deserialize_map(level).and_then(|()| deserializer.end());
    match end {
        Ok(()) => file.finish(),
        // What ended the reading has been told; serde has no place for it.
        Err(_) if file.problems.len() >= most => {}
        Err(error) => file.problems.push(error.into()),
    }
    (file.found, file.problems)
}

/// What has been read so far.
struct File<'a> {
    context: Context<'a>,
    most: usize,
    found: Vec<Stated>,
    seen: HashSet<StorePath>,
    /// Whether the derivations are inside a field `derivations`.
    is_wrapped: bool,
    /// The fields that are not derivations, but maybe those of one.
    rest: Map<String, Value>,
    rest_notes: Notes,
    problems: Vec<JsonError>,
}

impl File<'_> {
    /// Takes a derivation; what is wrong with it is told.
    fn add(&mut self, key: &str, value: Value, notes: Notes, is_inner: bool) {
        match self.derivation(Some(key), value, notes) {
            Ok((Some(path), _)) if !self.seen.insert(path.clone()) => {
                self.problems.extend(Wrong::from(Problem::Twice).of(Some(key), is_inner));
            }
            Ok(stated) => self.found.push(stated),
            Err(wrong) => self.problems.extend(wrong.of(Some(key), is_inner)),
        }
    }

    fn derivation(&self, key: Option<&str>, value: Value, notes: Notes) -> Result<Stated, Wrong> {
        let mut tally = Tally::default();
        tally.take(refuse_twice(notes));
        let stated = tally.take(self.context.derivation(key, value));
        tally.finish(stated).map(|stated| stated.expect("nothing is wrong with it"))
    }

    /// Sees to the fields that are left when all is read.
    fn finish(&mut self) {
        let mut rest = std::mem::take(&mut self.rest);
        let notes = std::mem::take(&mut self.rest_notes);
        let mut tally = Tally::default();
        let is_single = !self.is_wrapped && self.found.is_empty() && self.problems.is_empty();
        if is_single && !rest.is_empty() {
            self.found.extend(tally.take(self.derivation(None, Value::Object(rest), notes)));
        } else {
            if self.is_wrapped {
                let version = check_version(rest.swap_remove("version"), &[4]);
                tally.take(version.map_err(|wrong| wrong.inside("version")));
            }
            tally.take(refuse_twice(notes));
            for name in rest.keys() {
                tally.take::<()>(Err(Wrong::from(Problem::Unknown).inside(name)));
            }
        }
        self.problems.extend(tally.finish(()).err().unwrap_or_default().of(None, false));
    }
}

fn refuse_twice(notes: Notes) -> Result<(), Wrong> {
    let mut tally = Tally::default();
    for names in notes.twice {
        let wrong = names.iter().fold(Wrong::from(Problem::Twice), |wrong, name| wrong.inside(name));
        tally.take::<()>(Err(wrong));
    }
    tally.finish(())
}

/// An object of derivations, which may be the value of `derivations`.
struct Level<'a, 'b> {
    file: &'a mut File<'b>,
    is_inner: bool,
}

impl<'de> Visitor<'de> for Level<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object that is a derivation or whose fields are")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { file, is_inner } = self;
        while let Some(key) = map.next_key::<String>()? {
            if is_inner || key.starts_with('/') || key.ends_with(".drv") {
                let mut notes = Notes::default();
                let value = map.next_value_seed(Tree(&mut notes))?;
                file.add(&key, value, notes, is_inner);
            } else if key == WRAPPER && !file.is_wrapped {
                file.is_wrapped = true;
                map.next_value_seed(Level { file, is_inner: true })?;
            } else {
                let value = file.rest_notes.inside(|tree| map.next_value_seed(tree), || key.clone())?;
                if key == WRAPPER || file.rest.contains_key(&key) {
                    file.rest_notes.twice.push(vec![key]);
                } else {
                    file.rest.insert(key, value);
                }
            }
            if file.problems.len() >= file.most {
                return Err(A::Error::custom("too much is wrong"));
            }
            if file.found.len() > MOST_DERIVATIONS {
                return Err(A::Error::custom(format_args!("more than {MOST_DERIVATIONS} derivations")));
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}
