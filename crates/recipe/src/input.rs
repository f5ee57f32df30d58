//! Reading one input.

use std::path::{Path, PathBuf};

use store_path::{Name, StoreDir};

use crate::error::{Problem, RecipeError};
use crate::model::{Fetch, Input, Needed, Source};
use crate::node::{Fields, Kind, Node};
use crate::read::{hash, name, plain};

/// The longer forms; each has one of the first three.
const FIELDS: &[&str] = &["path", "recipe", "fetch", "name", "output", "hash", "executable", "unpack"];

/// Reads the input that is called `input`.
pub(crate) fn read(input: &str, node: &Node<'_>, store_dir: &StoreDir) -> Result<Input, RecipeError> {
    match node.kind() {
        Kind::Text => short(input, node, store_dir),
        Kind::Object => long(input, node, store_dir),
        _ => Err(node.wrong_kind("a path, or an object")),
    }
}

fn short(input: &str, node: &Node<'_>, store_dir: &StoreDir) -> Result<Input, RecipeError> {
    let text = plain(node)?;
    if is_stored(&text, store_dir) {
        let path = store_dir.parse(&text).map_err(|error| node.wrong(Problem::StorePath(error)))?;
        return Ok(Input::Stored(path));
    }
    if text.contains("://") {
        return Err(node.wrong(Problem::BareUrl { url: text }));
    }
    let path = local(node, text)?;
    // A recipe's file is data, too, but hardly ever meant so; whoever does writes `path`.
    if path.extension().is_some_and(|extension| extension == "json") {
        return Ok(Input::Recipe(Needed { path, output: None }));
    }
    Ok(Input::Source(Source { name: own_name(input, node, &path)?, path }))
}

fn long(input: &str, node: &Node<'_>, store_dir: &StoreDir) -> Result<Input, RecipeError> {
    let fields = node.known_fields(FIELDS)?;
    let kinds = ["path", "recipe", "fetch"].map(|kind| fields.get(kind).is_some());
    match kinds {
        [true, false, false] => source(input, node, store_dir).map(Input::Source),
        [false, true, false] => needed(node, store_dir).map(Input::Recipe),
        [false, false, true] => fetch(node).map(Input::Fetch),
        _ => Err(node.wrong(Problem::InputForm)),
    }
}

fn source(input: &str, node: &Node<'_>, store_dir: &StoreDir) -> Result<Source, RecipeError> {
    let fields = node.known_fields(&["path", "name"])?;
    let place = fields.required("path")?;
    let path = file(place, store_dir)?;
    let name = match fields.optional("name", name)? {
        Some(name) => name,
        None => own_name(input, place, &path)?,
    };
    Ok(Source { path, name })
}

fn needed(node: &Node<'_>, store_dir: &StoreDir) -> Result<Needed, RecipeError> {
    let fields = node.known_fields(&["recipe", "output"])?;
    Ok(Needed {
        path: file(fields.required("recipe")?, store_dir)?,
        output: fields.optional("output", name)?.map(|output| output.to_string()),
    })
}

fn fetch(node: &Node<'_>) -> Result<Fetch, RecipeError> {
    let fields = node.known_fields(&["fetch", "hash", "name", "executable", "unpack"])?;
    let place = fields.required("fetch")?;
    let url = plain(place)?;
    let known = ["https://", "http://", "file://"]
        .into_iter()
        .any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if !known || url.contains(char::is_whitespace) {
        return Err(place.wrong(Problem::Url));
    }
    let Some(promise) = fields.get("hash") else { return Err(node.wrong(Problem::NoHash)) };
    let flag = |fields: &Fields<'_>, name| Ok(fields.optional(name, Node::boolean)?.unwrap_or(false));
    Ok(Fetch {
        hash: hash(promise)?,
        name: match fields.optional("name", name)? {
            Some(name) => name,
            None => last_part(place, &url)?,
        },
        executable: flag(&fields, "executable")?,
        unpack: flag(&fields, "unpack")?,
        url,
    })
}

/// Reads the name of a file that is not in the store.
fn file(node: &Node<'_>, store_dir: &StoreDir) -> Result<PathBuf, RecipeError> {
    let text = plain(node)?;
    if is_stored(&text, store_dir) {
        return Err(node.wrong(Problem::InStore { path: text }));
    }
    local(node, text)
}

/// What is written without `./` is a name, and there is nothing here that has one.
fn local(node: &Node<'_>, text: String) -> Result<PathBuf, RecipeError> {
    let is_path = ["./", "../", "/"].into_iter().any(|start| text.starts_with(start));
    if is_path || text == "." || text == ".." {
        return Ok(text.into());
    }
    // What `~` is only a shell knows.
    let is_name = !text.is_empty() && !text.starts_with('~');
    let meant = is_name.then(|| format!("./{text}"));
    Err(node.wrong(Problem::InputText { meant }))
}

fn is_stored(text: &str, store_dir: &StoreDir) -> bool {
    text.strip_prefix(store_dir.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

/// A file is called in the store as it is; `.` is called as the input is, not as the directory happens to be.
fn own_name(input: &str, node: &Node<'_>, path: &Path) -> Result<Name, RecipeError> {
    let name = path.file_name().map_or(input.into(), |name| name.to_string_lossy());
    nameable(node, &name)
}

fn last_part(node: &Node<'_>, url: &str) -> Result<Name, RecipeError> {
    let address = url.split(['?', '#']).next().unwrap_or_default();
    let name = address.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    nameable(node, name)
}

fn nameable(node: &Node<'_>, name: &str) -> Result<Name, RecipeError> {
    name.parse().map_err(|source| node.wrong(Problem::Unnameable { found: name.to_owned(), source }))
}
