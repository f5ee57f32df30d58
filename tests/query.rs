//! `store query`.

use crate::scene::{Scene, derivation};

fn names(scene: &Scene, relation: &str, path: &str) -> Vec<String> {
    let printed = scene.ok(&["query", relation, path]);
    let mut names: Vec<_> = printed.lines().map(|line| line["/nix/store/".len() + 33..].to_owned()).collect();
    names.sort();
    names
}

#[test]
fn relations_between_what_was_built() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    assert_eq!(names(&scene, "--references", &top), ["left", "right"]);
    assert_eq!(names(&scene, "--requisites", &top), ["bottom", "left", "right", "top"]);
    let requisites = scene.ok(&["query", "--requisites", &top]);
    let bottom = requisites.lines().find(|line| line.ends_with("-bottom")).unwrap();
    assert_eq!(names(&scene, "--referrers", bottom), ["left", "right"]);
    assert_eq!(names(&scene, "--referrers-closure", bottom), ["bottom", "left", "right", "top"]);
}

#[test]
fn from_a_derivation_to_its_outputs_and_back() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("two-outputs")]);
    assert_eq!(names(&scene, "--outputs", &drv), ["two-outputs", "two-outputs-doc"]);
    let out = scene.build("two-outputs").remove(0);
    assert_eq!(scene.ok(&["query", "--deriver", &out]), drv);
    assert_eq!(names(&scene, "--requisites", &drv), ["two-outputs.drv"]);
}

#[test]
fn what_was_added_has_no_deriver() {
    let scene = Scene::new();
    let file = scene.write("file", "x");
    let path = scene.ok(&["add", &file]);
    assert_eq!(scene.ok(&["query", "--deriver", &path]), "unknown-deriver");
}
