//! What is remembered of past builds: the last failures, and what to expect of the next builds.

use std::fs;

use serde_json::Value;

use crate::scene::{Scene, shell_derivation, text};

fn failures(scene: &Scene, most: &str) -> Vec<Value> {
    let printed = scene.ok(&["log", most, "--json"]);
    serde_json::from_str::<Value>(&printed).unwrap().as_array().unwrap().clone()
}

fn script(scene: &Scene, name: &str, script: &str) -> String {
    scene.write(&format!("{name}.json"), shell_derivation(name, script))
}

#[test]
fn the_last_failures_are_told_with_their_reasons() {
    let scene = Scene::new();
    let fine = script(&scene, "fine", "echo > $out");
    scene.ok(&["build", "--no-link", &fine]);
    let fails = script(&scene, "fails", "exit 3");
    scene.fails(100, &["build", "--no-link", &fails]);
    let slow = script(&scene, "slow", "while :; do :; done");
    scene.fails(101, &["build", "--no-link", "--timeout", "1", &slow]);
    let empty = script(&scene, "empty", ":");
    scene.fails(100, &["build", "--no-link", &empty]);
    let told = failures(&scene, "--failed");
    let kinds: Vec<_> = told.iter().map(|failure| failure["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["no-output", "timed-out", "failed"],
        "the last one first, and no build that went well"
    );
    assert!(told[1]["wallSeconds"].as_f64().unwrap() >= 1.0, "{}", told[1]);
    assert!(told[1]["started"].as_f64().unwrap() > 1.6e9, "{}", told[1]);
    let drv = told[2]["derivation"].as_str().unwrap();
    assert!(drv.starts_with("/nix/store/") && drv.ends_with("-fails.drv"), "{drv}");
    assert!(told[2]["why"].as_str().unwrap().contains("it returned 3"), "{}", told[2]);
    assert_eq!(failures(&scene, "--failed=2").len(), 2);
    let lines = scene.ok(&["log", "--failed=1"]);
    assert!(lines.contains("UTC  no-output after ") && lines.contains("did not make its output"), "{lines}");
    scene.fails(2, &["log"]);
}

#[test]
fn a_wrong_hash_is_a_failure_of_its_own_and_steers_no_terminal() {
    let scene = Scene::new();
    let file = script(&scene, "fixed", "echo > $out");
    let json = fs::read_to_string(&file).unwrap();
    let hash = "0".repeat(64);
    let fixed = json.replace(
        r#""out": {}"#,
        &format!(r#""out": {{ "method": "nar", "hashAlgo": "sha256", "hash": "{hash}" }}"#),
    );
    let file = scene.write("fixed.json", fixed);
    let said = scene.fails(102, &["build", "--no-link", &file]);
    assert!(said.contains("another hash"), "{said}");
    let told = failures(&scene, "--failed");
    assert_eq!(told[0]["kind"], "hash-mismatch");
    let lines = scene.ok(&["log", "--failed"]);
    assert!(lines.lines().count() > 2 && lines.contains("specified: "), "{lines}");
}

#[test]
fn a_store_without_builds_has_no_failures_and_makes_no_database() {
    let scene = Scene::new();
    let file = scene.write("source", "text");
    scene.ok(&["add", &file]);
    assert_eq!(scene.ok(&["log", "--failed"]), "");
    assert!(!scene.root().join("nix/var/nix/db/store.sqlite").exists(), "{}", text(scene.root()));
}
