//! What is wrong with a recipe, as `store derivation check` tells it.

use std::path::Path;

use anyhow::Result;
use derivation::Finding;
use recipe::{Place, RecipeError};
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
    let wrong = error.chain().find_map(|cause| cause.downcast_ref::<RecipeError>());
    // A mistake in another one, which this one names, is told with the name of that.
    let name = path.canonicalize().unwrap_or(path);
    let is_here = error.to_string().contains(&*name.to_string_lossy());
    Ok(Some(match wrong.filter(|_| is_here) {
        Some(RecipeError { place, problem }) => found(text, place, problem.to_string()),
        None => found(text, &Place { line: 1, column: 1, ..Place::default() }, format!("{error:#}")),
    }))
}

fn found(text: &[u8], place: &Place, message: String) -> Finding {
    let Place { line, column, pointer } = place;
    let before: usize = text.split_inclusive(|byte| *byte == b'\n').take(line - 1).map(<[u8]>::len).sum();
    let within = String::from_utf8_lossy(&text[before..]);
    let within: usize = within.chars().take(column - 1).map(char::len_utf8).sum();
    let pointer = Some(pointer.clone()).filter(|pointer| !pointer.is_empty());
    Finding { is_error: true, offset: before + within, line: *line, column: *column, pointer, message }
}
