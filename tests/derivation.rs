//! `store derivation show` and `store derivation add`.

use std::fs;

use test_support::{fixture, read};

use crate::scene::{Scene, derivation};

/// Derivations whose files are as Nix 2.8.0 printed them.
const PRINTED_BY_NIX: &[&str] =
    &["hello", "two-outputs", "chain", "diamond", "fixed-output", "structured", "references"];

#[test]
fn show_prints_what_nix_prints() {
    let scene = Scene::new();
    for name in PRINTED_BY_NIX {
        let drv = scene.ok(&["derivation", "add", &derivation(name)]);
        let shown = scene.ok(&["derivation", "show", "--recursive", &drv]) + "\n";
        assert_eq!(shown, String::from_utf8_lossy(&read(&format!("derivations/{name}.json"))), "{name}");
    }
}

#[test]
fn add_prints_the_last_of_a_chain() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("chain")]);
    assert_eq!(drv.lines().count(), 1);
    assert!(drv.ends_with("-link-4.drv"), "{drv}");
}

#[test]
fn add_reads_standard_input() {
    let scene = Scene::new();
    let mut command = scene.command(&["derivation", "add"]);
    let output = command.stdin(fs::File::open(fixture("derivations/hello.json")).unwrap()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, "/nix/store/ny8057i9cxzm5cpalh72x2jmmqcw07zh-hello.drv\n");
}

#[test]
fn a_derivation_is_shown_by_what_it_made() {
    let scene = Scene::new();
    let out = scene.build("hello").remove(0);
    let shown = scene.ok(&["derivation", "show", &out]);
    assert!(shown.contains("Hello, world."), "{shown}");
}

#[test]
fn files_are_shown_without_being_added() {
    let scene = Scene::new();
    let shown = scene.ok(&["derivation", "show", &derivation("handwritten")]);
    assert!(shown.contains("-handwritten\""), "the output path is filled in: {shown}");
}

#[test]
fn floating_outputs_are_read_and_shown() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("floating")]);
    let shown = scene.ok(&["derivation", "show", &drv]);
    assert!(shown.contains("r:sha256"), "{shown}");
    assert!(!shown.contains("\"path\""), "the path is not known: {shown}");
}
