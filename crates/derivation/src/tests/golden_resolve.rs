//! Nix's own test data for resolving.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use store_path::{StoreDir, StorePath};
use test_support::shared;

use crate::{Derivation, Link, ResolveError, aterm, json as drv_json, resolve};

fn data() -> Option<PathBuf> {
    shared("corpus/nix-golden/master/src/libstore-tests/data/derivation/try-resolve")
}

fn value(file: &str) -> Value {
    serde_json::from_slice(&fs::read(data().unwrap().join(file)).unwrap()).unwrap()
}

fn derivation(file: &str) -> Derivation {
    let mut derivation = value(file);
    // Two of the files state their attributes twice, which no program may rely on.
    if let Some(text) = derivation["env"].get("__json").and_then(Value::as_str) {
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), derivation["structuredAttrs"], "{file}");
        derivation.as_object_mut().unwrap().remove("structuredAttrs");
    }
    drv_json::parse(derivation.to_string().as_bytes(), &StoreDir::default()).unwrap().remove(0).1
}

/// Reads a list of pairs: an output of a derivation, and where it is.
fn trace(case: &str) -> BTreeMap<Link, StorePath> {
    let pairs = value(&format!("{case}-buildTrace.json"));
    let pair = |pair: &Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (drv, output) = (text(&pair[0]["drvPath"]), text(&pair[0]["output"]));
        let link = Link { drv: drv.parse().unwrap(), through: Vec::new(), output: output.parse().unwrap() };
        (link, text(&pair[1]).parse().unwrap())
    };
    pairs.as_array().unwrap().iter().map(pair).collect()
}

fn resolved(case: &str) -> Result<Derivation, ResolveError> {
    let trace = trace(case);
    let before = derivation(&format!("{case}-before.json"));
    resolve(&before, &StoreDir::default(), &mut |link| trace.get(link).cloned())
        .map(|checked| checked.derivation().clone())
}

#[test]
fn derivations_resolve_as_in_nix() {
    if data().is_none() {
        return;
    }
    for (case, after) in [
        ("no-inputs", "after"),
        ("with-inputs", "after"),
        ("export-ref-subpath", "resolved"),
        ("export-ref-subpath-sa", "resolved"),
    ] {
        let found = resolved(case).unwrap();
        assert_eq!(found, derivation(&format!("{case}-{after}.json")), "{case}");
        // And the text that is written to the store is read as the same.
        let text = aterm::print(&found, &StoreDir::default());
        assert_eq!(aterm::parse(&text, &StoreDir::default(), &found.name).unwrap(), found, "{case}");
    }
    assert!(matches!(resolved("resolution-failure"), Err(ResolveError::Unknown(_))));
}

/// The graph's root is a path afterwards, and an output of an input before.
#[test]
fn exported_graphs_are_of_the_resolved_paths() {
    if data().is_none() {
        return;
    }
    for case in ["export-ref-subpath", "export-ref-subpath-sa"] {
        let options =
            |derivation: Derivation| derivation.options(&StoreDir::default()).unwrap().to_json().unwrap();
        let before = derivation(&format!("{case}-before.json"));
        assert_eq!(options(before), value(&format!("{case}-before-options.json")), "{case}");
        let resolved = options(resolved(case).unwrap());
        assert_eq!(resolved, value(&format!("{case}-resolved-options.json")), "{case}");
    }
}
