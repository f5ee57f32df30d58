//! What both programs say of a store, compared.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::stores::{Place, Stores, both};

/// All that is known of valid paths, by path.
type Infos = BTreeMap<String, Map<String, Value>>;

/// Compares what is valid, what is known of it, and what is on disk.
pub(super) fn check(stores: &Stores) -> Result<(), String> {
    let (shared, twin) = both(|| infos_of_nix(stores.shared()), || infos_of_nix(stores.twin()));
    let (mut shared, mut twin) = (shared?, twin?);
    let valid: Vec<String> = shared.keys().cloned().collect();
    same("infos of `store` and of Nix", &infos_of_store(stores.shared(), &valid)?, &shared)?;
    for info in shared.values_mut().chain(twin.values_mut()) {
        info.remove("registrationTime");
    }
    same("the store and that of Nix alone", &shared, &twin)?;
    let names: Vec<&str> = valid.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
    let mut files = stores.shared().files();
    files.retain(|name| name != ".links" && !name.ends_with(".lock"));
    if files != names {
        return Err(format!("on disk are {files:?}, and valid are {names:?}"));
    }
    Ok(())
}

/// Compares what need not be looked at after each step.
pub(super) fn check_last(stores: &Stores) -> Result<(), String> {
    stores.shared().nix("nix-store", &["--verify", "--check-contents"])?;
    stores.shared().store(&["verify", "--contents"])?;
    Ok(())
}

fn infos_of_nix(place: Place<'_>) -> Result<Infos, String> {
    Ok(infos(&place.nix("nix", &["path-info", "--json", "--all"])?))
}

fn infos_of_store(place: Place<'_>, valid: &[String]) -> Result<Infos, String> {
    if valid.is_empty() {
        return Ok(Infos::new());
    }
    let paths: Vec<&str> = valid.iter().map(String::as_str).collect();
    Ok(infos(&place.store(&[&["path-info", "--json-format", "1"], &paths[..]].concat())?))
}

/// Nix 2.8 prints a list, and leaves out what it has nothing to say of; later ones print an object.
fn infos(text: &str) -> Infos {
    let of = |path: &str, info: &Value| {
        let mut info = info.as_object().unwrap().clone();
        info.retain(|key, value| {
            let is_nothing = value.is_null() || *value == false || *value == Value::Array(Vec::new());
            !is_nothing && !["path", "storeDir", "version"].contains(&key.as_str())
        });
        if let Some(Value::Array(references)) = info.get_mut("references") {
            references.sort_by_key(ToString::to_string);
        }
        (path.to_owned(), info)
    };
    match serde_json::from_str(text).unwrap() {
        Value::Array(list) => list.iter().map(|info| of(info["path"].as_str().unwrap(), info)).collect(),
        Value::Object(all) => all.iter().map(|(path, info)| of(path, info)).collect(),
        other => panic!("neither a list nor an object: {other}"),
    }
}

/// Says in what two stores differ.
fn same(what: &str, left: &Infos, right: &Infos) -> Result<(), String> {
    let paths = left.keys().chain(right.keys().filter(|path| !left.contains_key(*path)));
    let different: Vec<String> = paths
        .filter(|path| left.get(*path) != right.get(*path))
        .map(|path| format!("{path}:\n    {:?}\n    {:?}", left.get(path), right.get(path)))
        .collect();
    if different.is_empty() { Ok(()) } else { Err(format!("{what} differ:\n  {}", different.join("\n  "))) }
}
