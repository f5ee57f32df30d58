//! What is wrong with a recipe, as `store derivation check` tells it.

use std::path::Path;

use anyhow::Result;
use derivation::Finding;
use recipe::{ClosureError, Place, RecipeError};
use store_path::StoreDir;

use crate::recipe::{Reader, Sources};
use crate::session::Session;

/// Returns the first thing that is wrong with a recipe or with what it needs; where, if it is in this one.
pub(crate) fn finding(session: &Session, file: &Path, text: &[u8]) -> Result<Option<Finding>> {
    // What a recipe on stdin names is looked for where `store` was started.
    let path = session.absolute(if file == Path::new("-") { Path::new("stdin") } else { file });
    let (store, store_dir) = (session.read_store_if_there()?, StoreDir::default());
    let system = &session.settings().system;
    let reader = Reader { system, store_dir: &store_dir, sources: Sources::Named(store.as_ref()) };
    let Err(error) = reader.parse(text.to_owned(), &path) else { return Ok(None) };
    let name = path.canonicalize().unwrap_or(path);
    let nowhere = || (Place { line: 1, column: 1, ..Place::default() }, format!("{error:#}"));
    let (place, message) = place_in(&name, &error).unwrap_or_else(nowhere);
    Ok(Some(found(text, &place, message)))
}

/// Returns where in the recipe at `file` something is wrong, and what; nothing where it is wrong in another one, which this
/// one names: that is told with the name of the other.
fn place_in(file: &Path, error: &anyhow::Error) -> Option<(Place, String)> {
    if let Some(ClosureError::Read { path, wanted_by: Some((recipe, place)), source }) = error.downcast_ref()
    {
        let message = || format!("cannot read `{}`: {source}", path.display());
        return (recipe == file).then(|| (place.clone(), message()));
    }
    if !error.to_string().contains(&*file.to_string_lossy()) {
        return None;
    }
    // What is told after the place, which is the first of it or the second.
    let told = error.chain().map(ToString::to_string).collect::<Vec<_>>();
    let wrong = error.chain().find_map(|cause| cause.downcast_ref::<RecipeError>());
    let place = wrong.map(|wrong| &wrong.place).or_else(|| error.downcast_ref())?;
    let at = told.iter().position(|told| *told == place.to_string())?;
    Some((place.clone(), told[at + 1..].join(": ")))
}

fn found(text: &[u8], place: &Place, message: String) -> Finding {
    let Place { line, column, pointer } = place;
    let before: usize =
        text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let within = String::from_utf8_lossy(&text[before..]);
    let within: usize = within.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
    let pointer = Some(pointer.clone()).filter(|pointer| !pointer.is_empty());
    Finding { is_error: true, offset: before + within, line: *line, column: *column, pointer, message }
}
