//! How something was built, for `store log --about`.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use local_store::LocalStore;
use serde_json::{Map, Value};
use store_path::StorePath;

use crate::exit::Exit;
use crate::origin;
use crate::session::Session;

/// Tells about paths; about a derivation, what was made from it.
pub(super) fn tell(session: &mut Session, store: &LocalStore, paths: &[StorePath]) -> Result<Exit> {
    let mut wanted = BTreeSet::new();
    for path in paths {
        match path.is_derivation() {
            true if store.is_valid(path)? => wanted.extend(engine::known_outputs(store, path)?.into_values()),
            true => {}
            false => drop(wanted.insert(path.clone())),
        }
    }
    let infos = store.path_infos(&wanted)?;
    if let (true, Some(path)) = (infos.is_empty(), paths.first()) {
        bail!(
            "nothing is known about `{path}`: {}",
            if path.is_derivation() {
                "none of its outputs is in the store"
            } else {
                "it is not in the store"
            }
        );
    }
    let origins = origin::all(store, infos);
    if session.json() {
        let mut list = Vec::new();
        for origin in &origins {
            let mut object =
                Map::from_iter([("path".to_owned(), store.store_dir().print(&origin.info.path).into())]);
            origin.put_json(store, &mut object)?;
            list.push(Value::from(object));
        }
        session.results().json(&list.into())?;
        return Ok(Exit::Success);
    }
    for line in origins.iter().flat_map(|origin| origin.lines(store)) {
        session.results().line(line)?;
    }
    Ok(Exit::Success)
}
