//! What `exportReferencesGraph` tells a builder about the closures it names.

use std::collections::{BTreeMap, BTreeSet};

use local_store::{Error, LocalStore};
use serde_json::{Value, json};
use store_path::{PathInfo, StoreDir, StorePath};

/// The closure of some roots. A derivation in it brings the closures of its valid outputs along.
fn closure(store: &LocalStore, roots: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
    let mut paths = store.closure(roots)?;
    let mut outputs = BTreeSet::new();
    for drv in paths.iter().filter(|path| path.is_derivation()) {
        outputs.extend(store.outputs_of(drv)?.into_values());
    }
    if !outputs.is_empty() {
        paths.extend(store.closure(&store.valid_among(&outputs)?)?);
    }
    Ok(paths)
}

/// The older form: for each path its name, an empty line for the deriver, the number of its references,
/// and the references, each on a line.
pub(crate) fn plain(store: &LocalStore, roots: &BTreeSet<StorePath>) -> Result<Vec<u8>, Error> {
    let infos = store.path_infos(&closure(store, roots)?)?;
    let mut text = String::new();
    for info in infos.values() {
        text += &format!("{}\n\n{}\n", store.store_dir().print(&info.path), info.references.len());
        for reference in &info.references {
            text += &store.store_dir().print(reference);
            text.push('\n');
        }
    }
    Ok(text.into_bytes())
}

/// The form of structured attributes: a list of objects, in the order of the paths.
pub(crate) fn structured(store: &LocalStore, roots: &BTreeSet<StorePath>) -> Result<Value, Error> {
    let infos = store.path_infos(&closure(store, roots)?)?;
    Ok(infos.values().map(|info| describe(store.store_dir(), info, closure_size(info, &infos))).collect())
}

fn describe(store_dir: &StoreDir, info: &PathInfo, closure_size: u64) -> Value {
    let references: Vec<String> = info.references.iter().map(|path| store_dir.print(path)).collect();
    let mut object = json!({
        "path": store_dir.print(&info.path),
        "narHash": info.nar_hash.prefixed_nix32(),
        "narSize": info.nar_size,
        "references": references,
        "closureSize": closure_size,
        "valid": true,
    });
    if let (Some(address), Value::Object(fields)) = (&info.content_address, &mut object) {
        fields.insert("ca".to_owned(), Value::String(address.to_string()));
    }
    object
}

/// The sizes of everything that `info` needs, itself included; all of it is among `infos`.
fn closure_size(info: &PathInfo, infos: &BTreeMap<StorePath, PathInfo>) -> u64 {
    let mut seen = BTreeSet::from([&info.path]);
    let mut open = vec![info];
    let mut size = 0;
    while let Some(info) = open.pop() {
        size += info.nar_size;
        let references = info.references.iter().filter_map(|path| infos.get(path));
        open.extend(references.filter(|info| seen.insert(&info.path)));
    }
    size
}
