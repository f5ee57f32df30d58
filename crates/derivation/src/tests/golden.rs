//! Nix's own test data: the parts that go beyond pairs of files.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use store_path::{Hash, HashAlgorithm, Method, StoreDir, StorePath};
use test_support::shared;

use crate::aterm::{self, Text};
use crate::json::{self as drv_json, Format};
use crate::{CheckError, Derivation, Modulo, Output, check};

fn data() -> Option<PathBuf> {
    shared("corpus/nix-golden/master/src/libstore-tests/data/derivation")
}

fn read(file: impl AsRef<Path>) -> Derivation {
    drv_json::parse(&fs::read(file).unwrap(), &StoreDir::default()).unwrap().remove(0).1
}

fn value(file: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn path(base: &str) -> StorePath {
    base.parse().unwrap()
}

#[test]
fn outputs_of_every_kind_are_read_and_printed() {
    let Some(data) = data() else { return };
    for generation in ["master/src/libstore-tests", "2.32.0/src/libstore-tests", "2.24.0/tests/unit/libstore"]
    {
        let root = data.ancestors().nth(5).unwrap();
        for kind in
            ["inputAddressed", "caFixedFlat", "caFixedNAR", "caFixedText", "caFloating", "deferred", "impure"]
        {
            let file = |root: &Path| root.join(format!("data/derivation/output-{kind}.json"));
            let current = value(file(&root.join("master/src/libstore-tests")));
            let single = json!({ "name": "drv-name", "system": "x", "builder": "y",
                "outputs": { "output-name": value(file(&root.join(generation))) } });
            let derivation =
                drv_json::parse(single.to_string().as_bytes(), &StoreDir::default()).unwrap().remove(0).1;
            let label = path("00000000000000000000000000000000-drv-name.drv");
            let printed =
                drv_json::print(Format::V4, &StoreDir::default(), &[(label.clone(), &derivation)]).unwrap();
            let printed: Value = serde_json::from_str(&printed).unwrap();
            let printed = &printed["derivations"][label.to_string()]["outputs"]["output-name"];
            assert_eq!(*printed, current, "{generation} {kind}");
        }
    }
}

/// Their digests were replaced after they were made, so they are not in order; Nix too brings them into it.
#[test]
fn large_files_lose_nothing_but_their_order() {
    let Some(data) = data() else { return };
    for name in ["hello", "firefox"] {
        let text = fs::read(data.join(format!("{name}.drv"))).unwrap();
        let derivation = aterm::parse(&text, &StoreDir::default(), &name.parse().unwrap()).unwrap();
        let printed = aterm::print(&derivation, &StoreDir::default());
        let sorted = |text: &[u8]| {
            let mut parts: Vec<_> = text.split(|byte| b"[](),".contains(byte)).map(<[u8]>::to_vec).collect();
            parts.sort();
            parts
        };
        assert!(sorted(&printed) == sorted(&text), "{name}");
        let again = aterm::parse(&printed, &StoreDir::default(), &derivation.name).unwrap();
        assert!(again == derivation, "{name}");
    }
}

/// Two ways to make the same source, all that is made from either, and a parent of both.
///
/// The output paths in these files are not those that follow from them, so they are not checked.
#[test]
fn inputs_with_one_hash_become_one_input() {
    let Some(data) = data().map(|data| data.join("hash-modulo")) else { return };
    let store_dir = StoreDir::default();
    let mut modulo = Modulo::new(store_dir.clone());
    for (name, drv, hash) in [
        ("source-first", "q4mzjdlh5px6977h7v5fdsk1p33yg583-source.drv", SOURCE),
        ("source-second", "jwmbpldsdgfjhkxk317jn55jilyfl63f-source.drv", SOURCE),
        ("intermediate-first", "f8g8x4m83da3b2f79iv84q2r3qlc58lr-intermediate.drv", INTERMEDIATE),
        ("intermediate-second", "kp6i4n4bb3hlniwqjakhlf046qpdc0gl-intermediate.drv", INTERMEDIATE),
    ] {
        let derivation = read(data.join(format!("{name}.json")));
        let text = aterm::print(&derivation, &store_dir);
        assert_eq!(text, fs::read(data.join(format!("{name}.drv"))).unwrap(), "{name}");
        let contents = Hash::of(HashAlgorithm::Sha256, &text);
        let file_name = format!("{}.drv", derivation.name).parse().unwrap();
        let own = store_dir.text_path(&file_name, &contents, &derivation.references());
        assert_eq!(own.to_string(), drv);
        modulo.insert(&own, &derivation).unwrap();
        assert_eq!(modulo.known_hash(&own).unwrap(), hash, "{name}");
    }
    // Releases that do not merge them see one output of `parent-split`'s two.
    for (name, disagreements) in [("parent-joined", 1), ("parent-split", 2)] {
        let parent = check(read(data.join(format!("{name}.json"))), &mut modulo).unwrap();
        assert_eq!(parent.elsewhere().len(), disagreements, "{name}: {:?}", parent.elsewhere());
    }
    for name in ["intermediate-first", "intermediate-second", "parent-joined", "parent-split"] {
        let derivation = read(data.join(format!("{name}.json")));
        let replaced = modulo.replace(&derivation).unwrap();
        let mut text = Vec::new();
        Text::of(&derivation, &store_dir).write_replaced(true, replaced.pairs.as_ref().unwrap(), &mut text);
        assert_eq!(text, fs::read(data.join(format!("{name}-modulo.drv"))).unwrap(), "{name}");
    }
}

const SOURCE: &str = "42cfa58bf5a281911b6c9471c67cf64f70a820b033415190db3da91710c5ff2c";
const INTERMEDIATE: &str = "6df335a6cafec6b08aa38163a4a3d1b8f04bc8dc10de4ad35d677f911f2d3b5a";

#[test]
fn absent_paths_are_filled_in() {
    let Some(data) = data().map(|data| data.join("invariants")) else { return };
    let fill = |name: &str| {
        let derivation = read(data.join(format!("{name}.json")));
        check(derivation, &mut Modulo::new(StoreDir::default())).unwrap().derivation().clone()
    };
    let post = read(data.join("filled-in-deferred-empty-env-var-post.json"));
    assert_eq!(fill("filled-in-deferred-empty-env-var-pre"), post);
    let idempotent = read(data.join("filled-in-idempotent.json"));
    assert_eq!(fill("filled-in-idempotent"), idempotent);
    // Nix makes a path that it refuses itself when it sees it again; ours is the one that lasts.
    let filled = fill("filled-in-deferred-no-env-var-pre");
    let found = filled.outputs.values().next().unwrap().path().unwrap();
    assert!(found.to_string().starts_with("fb8grlzk"), "{found}");
    assert_eq!(check(filled.clone(), &mut Modulo::new(StoreDir::default())).unwrap().derivation(), &filled);
    let pre = read(data.join("filled-in-deferred-no-env-var-pre.json"));
    let checked = check(pre, &mut Modulo::new(StoreDir::default())).unwrap();
    let theirs = checked.elsewhere()[0].outputs.values().next().unwrap();
    let nixs = read(data.join("filled-in-deferred-no-env-var-post.json"));
    assert_eq!(
        Some(theirs),
        nixs.outputs.values().next().unwrap().path(),
        "it is known what Nix makes of it"
    );
}

#[test]
fn wrong_paths_are_refused() {
    let Some(data) = data().map(|data| data.join("invariants")) else { return };
    let refuse = |name: &str, modulo: &mut Modulo| {
        check(read(data.join(format!("{name}.json"))), modulo).expect_err("it is wrong")
    };
    let mut modulo = Modulo::new(StoreDir::default());
    assert!(matches!(refuse("bad-path", &mut modulo), CheckError::OutputPath { .. }));
    assert!(matches!(refuse("bad-env-var", &mut modulo), CheckError::Variable { .. }));
    assert!(matches!(refuse("depends-on-drv-pre", &mut modulo), CheckError::Input(_)));

    let mut floating = read(data.join("filled-in-idempotent.json"));
    let (method, algorithm) = (Method::Nar, HashAlgorithm::Sha256);
    floating.outputs.insert("out".parse().unwrap(), Output::Floating { method, algorithm });
    modulo.insert(&path("lg4c4b8r9hlczwprl6kgnzfd9mc1xmkk-dependency.drv"), &floating).unwrap();
    assert!(matches!(refuse("bad-depends-on-drv-pre", &mut modulo), CheckError::TooEarly { .. }));
    let deferred = read(data.join("depends-on-drv-pre.json"));
    assert_eq!(check(deferred.clone(), &mut modulo).unwrap().derivation(), &deferred);
}
