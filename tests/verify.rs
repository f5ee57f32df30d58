//! `store verify`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::scene::Scene;

#[test]
fn a_sound_store_passes() {
    let scene = Scene::new();
    scene.build("diamond");
    scene.ok(&["verify"]);
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn a_missing_path_is_found() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    fs::remove_file(scene.real(&path)).unwrap();
    let run = scene.run(&["verify"]);
    assert_eq!(run.code, Some(1));
    assert!(format!("{}{}", run.stdout, run.stderr).contains("-hello"), "{}{}", run.stdout, run.stderr);
}

#[test]
fn changed_contents_are_found_when_looked_at() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    let real = scene.real(&path);
    fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&real, "Hello, wor1d.\n").unwrap();
    scene.ok(&["verify"]);
    let run = scene.run(&["verify", "--contents"]);
    assert_eq!(run.code, Some(1));
    assert!(format!("{}{}", run.stdout, run.stderr).contains("-hello"), "{}{}", run.stdout, run.stderr);
}
