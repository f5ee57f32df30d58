//! What the words after `store build` mean.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use engine::{Selection, Wanted};
use local_store::LocalStore;
use store_path::StorePath;

use crate::derivation_file;
use crate::derivers;
use crate::recipe::{self, Sources};
use crate::session::Session;
use crate::store_argument;

/// Returns what a word asks for; derivations of a file are added to the store.
pub(crate) fn wanted(session: &Session, store: &LocalStore, word: &str) -> Result<Vec<Wanted>> {
    ensure!(!word.is_empty(), "cannot build ``: name a file with derivations, or a store path");
    // A file may have any name, so a whole word that is one wins.
    let (path, selection) =
        if session.absolute(Path::new(word)).exists() { (word, None) } else { split(word) };
    let selection = selection.map_or(Ok(Selection::All), names)?;
    let path = session.absolute(Path::new(path));
    match store_argument::resolve(store.location(), &path) {
        Ok(found) => Ok(vec![in_store(store, found, selection)?]),
        Err(_) if path.is_file() => in_file(session, store, &path, &selection),
        Err(_) if path.is_dir() => bail!("`{word}` is a directory; name the file with the derivation"),
        Err(error) if word.contains('#') || word.contains("://") => Err(error
            .context(format!("cannot build `{word}`; it takes a file with derivations, or a store path"))),
        Err(error) => Err(error),
    }
}

/// Splits `hello.drv!out,dev` or `hello.drv^out,dev` into the path and the outputs wanted of it.
pub(crate) fn split(word: &str) -> (&str, Option<&str>) {
    match word.rsplit_once(['!', '^']) {
        Some((path, outputs)) if !outputs.is_empty() && !outputs.contains('/') => (path, Some(outputs)),
        _ => (word, None),
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

fn in_store(store: &LocalStore, path: StorePath, outputs: Selection) -> Result<Wanted> {
    if path.is_derivation() {
        return Ok(Wanted::Outputs { drv: path, outputs });
    }
    if outputs != Selection::All {
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
fn in_file(session: &Session, store: &LocalStore, file: &Path, outputs: &Selection) -> Result<Vec<Wanted>> {
    let stated = recipe::read(session, store, file, Sources::Added)?;
    let checked = engine::import(store, stated)
        .with_context(|| format!("cannot use the derivations in `{}`", file.display()))?;
    let goals = derivation_file::goals(&checked).into_iter();
    Ok(goals.map(|goal| Wanted::Outputs { drv: goal.path().clone(), outputs: outputs.clone() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_stand_behind_either_mark() {
        assert_eq!(split("a.drv"), ("a.drv", None));
        assert_eq!(split("a.drv!out"), ("a.drv", Some("out")));
        assert_eq!(split("a.drv^out,dev"), ("a.drv", Some("out,dev")));
        assert_eq!(split("odd!dir/a.drv"), ("odd!dir/a.drv", None));
        assert_eq!(split("odd!"), ("odd!", None));
    }

    #[test]
    fn a_star_means_all() {
        assert_eq!(names("*").unwrap(), Selection::All);
        let named = ["dev", "out"].map(|name| name.parse().unwrap());
        assert_eq!(names("out,dev").unwrap(), Selection::Named(named.into()));
        assert!(names("out,").is_err());
    }
}
