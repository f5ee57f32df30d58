//! Derived paths and choices of outputs, in words and in JSON.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use store_path::StoreDir;
use test_support::shared;

use crate::{DerivedPath, DerivedPathError, OutputsSpec, Wanted};

const DRV: &str = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv";

fn drv(through: &[&str], wanted: Wanted) -> DerivedPath {
    let through = through.iter().map(|name| name.parse().unwrap()).collect();
    DerivedPath { path: DRV.parse().unwrap(), through, wanted }
}

fn names(names: &[&str]) -> Wanted {
    Wanted::Outputs(OutputsSpec::Names(names.iter().map(|name| name.parse().unwrap()).collect()))
}

fn one(name: &str) -> Wanted {
    Wanted::One(name.parse().unwrap())
}

/// Everything that Nix has a file of (its names have a slip of the pen in them), in words and in JSON.
fn cases() -> [(&'static str, DerivedPath, String, Value); 7] {
    let built = json!({ "drvPath": DRV, "output": "bar" });
    let text = |rest: &str| format!("/nix/store/{DRV}{rest}");
    [
        ("single_opaque", drv(&[], Wanted::Itself), text(""), json!(DRV)),
        ("multi_opaque", drv(&[], Wanted::Itself), text(""), json!(DRV)),
        ("single_built", drv(&[], one("bar")), text("^bar"), built.clone()),
        (
            "mutli_built",
            drv(&[], names(&["bar", "baz"])),
            text("^bar,baz"),
            json!({ "drvPath": DRV, "outputs": ["bar", "baz"] }),
        ),
        (
            "single_built_built",
            drv(&["bar"], one("baz")),
            text("^bar^baz"),
            json!({ "drvPath": built, "output": "baz" }),
        ),
        (
            "multi_built_built",
            drv(&["bar"], names(&["baz", "quux"])),
            text("^bar^baz,quux"),
            json!({ "drvPath": built, "outputs": ["baz", "quux"] }),
        ),
        (
            "multi_built_built_wildcard",
            drv(&["bar"], Wanted::Outputs(OutputsSpec::All)),
            text("^bar^*"),
            json!({ "drvPath": built, "outputs": ["*"] }),
        ),
    ]
}

#[test]
fn words_and_json_say_the_same() {
    let store_dir = StoreDir::default();
    for (name, path, text, value) in cases() {
        assert_eq!(path.to_json(), value, "{name}");
        assert_eq!(DerivedPath::parse_json(&value).unwrap(), path, "{name}");
        assert_eq!(path.print(&store_dir), text, "{name}");
        let read = DerivedPath::parse(&text.replace('^', "!"), &store_dir).unwrap();
        assert_eq!(read.print(&store_dir), text, "{name}");
        if !matches!(path.wanted, Wanted::One(_)) {
            assert_eq!(read, path, "{name}");
        }
    }
}

fn data(generation: &str, folder: &str) -> Option<PathBuf> {
    shared(&format!("corpus/nix-golden/{generation}/src/libstore-tests/data/{folder}"))
}

fn value(file: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn nix_writes_and_reads_the_same() {
    for generation in ["2.32.0", "master"] {
        let Some(folder) = data(generation, "derived-path") else { return };
        for (name, path, _, _) in cases() {
            let found = value(folder.join(format!("{name}.json")));
            assert_eq!(DerivedPath::parse_json(&found).unwrap(), path, "{generation} {name}");
            assert_eq!(path.to_json(), found, "{generation} {name}");
        }
    }
    let Some(folder) = data("master", "outputs-spec") else { return };
    for (file, spec) in [
        ("all.json", "*"),
        ("name.json", "a"),
        ("names.json", "a,b"),
        ("extended/all.json", "*"),
        ("extended/name.json", "a"),
        ("extended/names.json", "a,b"),
    ] {
        let found = value(folder.join(file));
        let read = OutputsSpec::parse_json(&found).unwrap();
        assert_eq!((read.to_string(), read.to_json()), (spec.to_owned(), found), "{file}");
    }
    // Where nothing is chosen, nothing is said.
    assert_eq!(value(folder.join("extended/def.json")), Value::Null);
}

#[test]
fn others_are_refused() {
    let words = |text: &str| DerivedPath::parse(text, &StoreDir::default()).unwrap_err();
    assert!(matches!(
        words("/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo^out"),
        DerivedPathError::NotDerivation { .. }
    ));
    assert!(matches!(words(&format!("/nix/store/{DRV}^")), DerivedPathError::Name(_)));
    assert!(matches!(words(&format!("/nix/store/{DRV}^*^out")), DerivedPathError::Name(_)));
    assert!(matches!(words(DRV), DerivedPathError::Path(_)));
    for wrong in [
        json!(7),
        json!({ "drvPath": DRV }),
        json!({ "drvPath": DRV, "outputs": "out" }),
        json!({ "drvPath": 7, "output": "x" }),
        json!({ "drvPath": { "drvPath": DRV, "outputs": ["x"] }, "output": "x" }),
        json!({ "drvPath": DRV, "output": "x", "z": 1 }),
    ] {
        assert!(matches!(DerivedPath::parse_json(&wrong), Err(DerivedPathError::Form { .. })), "{wrong}");
    }
    assert_eq!(
        DerivedPath::parse_json(&json!({ "drvPath": DRV, "outputs": [] })),
        Err(DerivedPathError::NoOutput)
    );
}

#[test]
fn a_chain_has_the_placeholder_that_nix_states() {
    let text = |path: DerivedPath| path.placeholder(&"out".parse().unwrap()).to_string();
    assert_eq!(text(drv(&[], Wanted::Itself)), "/0c6rn30q4frawknapgwq386zq358m8r6msvywcvc89n6m5p2dgbz");
    let made = DerivedPath {
        path: "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv.drv".parse().unwrap(),
        ..drv(&["out"], Wanted::Itself)
    };
    assert_eq!(text(made), "/0gn6agqxjyyalf0dpihgyf49xq5hqxgw100f0wydnj6yqrhqsb3w");
}
