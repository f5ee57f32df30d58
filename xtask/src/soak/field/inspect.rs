//! What has to hold when everybody has ended.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::hand::Hand;
use super::{Common, Failure};

/// Looks whether the store is sound; then drops all roots, after which nothing may be left.
pub(super) fn all(common: &Common) -> Result<(), Failure> {
    let hand = Hand::new(common, 2000);
    hand.store(&["verify", "--contents"])?;
    if common.field.has_nix {
        hand.nix(&["--verify", "--check-contents"])?;
    }
    compare_with_disk(common, &hand)?;
    let links = common.field.directory.join("links");
    fs::remove_dir_all(&links).map_err(|error| wrong("remove all links", error.to_string()))?;
    hand.store(&["gc"])?;
    let left = names(&common.field.directory.join("store/nix/store"))?;
    let left: Vec<&String> = left.iter().filter(|name| *name != ".links").collect();
    if !left.is_empty() {
        return Err(wrong("collect everything", format!("there is still {left:?}")));
    }
    let links = names(&common.field.directory.join("store/nix/store/.links")).unwrap_or_default();
    if !links.is_empty() {
        return Err(wrong("collect everything", format!("`.links` still has {} files", links.len())));
    }
    Ok(())
}

/// After a collection, what is in the directory is what is valid, and all references lead to something valid.
fn compare_with_disk(common: &Common, hand: &Hand<'_>) -> Result<(), Failure> {
    hand.store(&["gc"])?;
    let mut files = names(&common.field.directory.join("store/nix/store"))?;
    files.remove(".links");
    let paths: Vec<String> = files.iter().map(|name| format!("/nix/store/{name}")).collect();
    // A few hundred a call, which every command line takes; one that is not valid fails.
    for some in paths.chunks(500) {
        let arguments =
            ["path-info", "--json-format", "1"].into_iter().chain(some.iter().map(String::as_str));
        let told = hand.json(&arguments.collect::<Vec<_>>())?;
        for (path, info) in told.as_object().into_iter().flatten() {
            let references = info["references"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if let Some(dangling) = references.map(base_name).find(|name| !files.contains(*name)) {
                return Err(wrong(
                    "read all references",
                    format!("`{path}` refers to `{dangling}`, which is not there"),
                ));
            }
        }
    }
    Ok(())
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn names(directory: &Path) -> Result<BTreeSet<String>, Failure> {
    let failed =
        |error: std::io::Error| wrong("list a directory", format!("{}: {error}", directory.display()));
    let entries = fs::read_dir(directory).map_err(failed)?;
    entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
}

fn wrong(what: &str, said: String) -> Failure {
    Failure { what: what.to_owned(), said }
}
