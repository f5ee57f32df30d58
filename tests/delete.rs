//! `store delete`.

use crate::scene::{Scene, derivation};

#[test]
fn what_nothing_needs_goes() {
    let scene = Scene::new();
    let file = scene.write("file", "x");
    let path = scene.ok(&["add", &file]);
    assert_eq!(scene.ok(&["delete", &path]), path);
    assert!(!scene.real(&path).exists());
    scene.fails(1, &["path-info", &path]);
}

#[test]
fn what_something_refers_to_stays() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let requisites = scene.ok(&["query", "--requisites", &top]);
    let bottom = requisites.lines().find(|line| line.ends_with("-bottom")).unwrap();
    let said = scene.fails(1, &["delete", bottom]);
    assert!(said.contains("-left") || said.contains("-right"), "{said}");
    assert!(scene.real(bottom).exists());
}

#[test]
fn what_a_root_keeps_stays_with_all_it_needs() {
    let scene = Scene::new();
    let top = scene.ok(&["build", &derivation("diamond")]);
    let said = scene.fails(1, &["delete", &top]);
    assert!(said.contains("result"), "{said}");
    assert!(scene.real(&top).exists());
}
