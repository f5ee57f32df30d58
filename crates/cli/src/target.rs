//! What the words after `store build` mean.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use derivation::{Link, OutputName};
use engine::{Selection, Wanted};
use local_store::LocalStore;
use store_path::StorePath;

use crate::derivation_file;
use crate::derivers;
use crate::recipe::Reader;
use crate::session::Session;
use crate::store_argument;

/// Returns what a word asks for; derivations of a file are added to the store.
pub(crate) fn wanted(session: &Session, store: &LocalStore, word: &str) -> Result<Vec<Wanted>> {
    ensure!(!word.is_empty(), "cannot build ``: name a file with derivations, or a store path");
    // A file may have any name, so a whole word that is one wins.
    let (path, outputs) =
        if session.absolute(Path::new(word)).exists() { (word, Vec::new()) } else { split(word) };
    let chosen = Chosen::of(&outputs)?;
    let path = session.absolute(Path::new(path));
    match store_argument::resolve_unless_file(store.location(), &path) {
        Ok(found) => Ok(vec![in_store(store, found, chosen)?]),
        Err(_) if path.is_file() => in_file(session, store, &path, &chosen),
        Err(_) if path.is_dir() => bail!("`{word}` is a directory; name the file with the derivation"),
        Err(error) if word.contains('#') || word.contains("://") => Err(error
            .context(format!("cannot build `{word}`; it takes a file with derivations, or a store path"))),
        Err(error) => Err(error),
    }
}

/// Splits `hello.drv!out,dev` or `hello.drv^out,dev` into the path and the outputs wanted of it. In `x.drv^out^dev` the
/// output `out` is a derivation itself.
pub(crate) fn split(word: &str) -> (&str, Vec<&str>) {
    let mut path = word;
    let mut outputs = Vec::new();
    while let Some((before, last)) = path.rsplit_once(['!', '^'])
        && !last.is_empty()
        && !last.contains('/')
    {
        outputs.insert(0, last);
        path = before;
    }
    (path, outputs)
}

/// Returns the output that is the derivation meant by `drv` with `outputs` behind it, if that is another one.
pub(crate) fn file_of(drv: &StorePath, outputs: &[&str]) -> Result<Option<Link>> {
    Ok(match Chosen::of(outputs)?.of_drv(drv.clone()) {
        Wanted::Made { file, .. } => Some(file),
        Wanted::Outputs { .. } | Wanted::Path(_) => None,
    })
}

/// Which outputs a word chooses.
struct Chosen {
    /// Outputs that are derivations, each one of the one before.
    through: Vec<OutputName>,
    /// What is wanted of the last one.
    outputs: Selection,
}

impl Chosen {
    fn of(words: &[&str]) -> Result<Self> {
        let Some((last, through)) = words.split_last() else {
            return Ok(Self { through: Vec::new(), outputs: Selection::All });
        };
        let through = through.iter().map(|word| {
            word.parse().with_context(|| format!("cannot take the output `{word}` for a derivation"))
        });
        Ok(Self { through: through.collect::<Result<_>>()?, outputs: names(last)? })
    }

    /// Returns what is wanted of a derivation in the store.
    fn of_drv(&self, drv: StorePath) -> Wanted {
        let outputs = self.outputs.clone();
        match self.through.split_last() {
            None => Wanted::Outputs { drv, outputs },
            Some((output, through)) => {
                let file = Link { drv, through: through.to_vec(), output: output.clone() };
                Wanted::Made { file, outputs }
            }
        }
    }
}

fn names(outputs: &str) -> Result<Selection> {
    if outputs == "*" {
        return Ok(Selection::All);
    }
    let names =
        outputs.split(',').map(|name| name.parse().with_context(|| format!("cannot build output `{name}`")));
    Ok(Selection::Named(names.collect::<Result<_>>()?))
}

fn in_store(store: &LocalStore, path: StorePath, chosen: Chosen) -> Result<Wanted> {
    if path.is_derivation() {
        return Ok(chosen.of_drv(path));
    }
    if chosen.outputs != Selection::All || !chosen.through.is_empty() {
        bail!("`{path}` is not a derivation, so it has no outputs to choose from");
    }
    if store.is_valid(&path)? {
        return Ok(Wanted::Path(path));
    }
    // Not there, but perhaps known how to make.
    for drv in derivers::of(store, &path)? {
        let made = store.outputs_of(&drv)?.into_iter().find(|(_, made)| *made == path);
        if let Some((name, _)) = made {
            return Ok(Wanted::Outputs { drv, outputs: names(&name)? });
        }
    }
    bail!("`{path}` is not in the store, and no derivation there makes it; build its derivation instead")
}

/// Adds the derivations of a file, and wants those that no other one there uses.
fn in_file(session: &Session, store: &LocalStore, file: &Path, chosen: &Chosen) -> Result<Vec<Wanted>> {
    let stated = Reader::adding(session, store).read(file)?;
    let checked = engine::import(store, stated)
        .with_context(|| format!("cannot use the derivations in `{}`", file.display()))?;
    let goals = derivation_file::goals(&checked).into_iter();
    Ok(goals.map(|goal| chosen.of_drv(goal.path().clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_stand_behind_either_mark() {
        assert_eq!(split("a.drv"), ("a.drv", vec![]));
        assert_eq!(split("a.drv!out"), ("a.drv", vec!["out"]));
        assert_eq!(split("a.drv^out,dev"), ("a.drv", vec!["out,dev"]));
        assert_eq!(split("a.drv^out^dev,doc"), ("a.drv", vec!["out", "dev,doc"]));
        assert_eq!(split("odd!dir/a.drv"), ("odd!dir/a.drv", vec![]));
        assert_eq!(split("odd^dir/a.drv!out^x"), ("odd^dir/a.drv", vec!["out", "x"]));
        assert_eq!(split("odd!"), ("odd!", vec![]));
    }

    #[test]
    fn only_the_last_part_may_be_several_outputs() {
        assert!(Chosen::of(&["out", "dev,doc"]).is_ok());
        for words in [["out,dev", "out"], ["*", "out"], ["out", "dev,"]] {
            assert!(Chosen::of(&words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_star_means_all() {
        assert_eq!(names("*").unwrap(), Selection::All);
        let named = ["dev", "out"].map(|name| name.parse().unwrap());
        assert_eq!(names("out,dev").unwrap(), Selection::Named(named.into()));
        assert!(names("out,").is_err());
    }
}
