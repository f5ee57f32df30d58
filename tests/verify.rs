//! `store verify`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::scene::{Scene, has};

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

/// Changes what is in a file of the store, and leaves its mode and its time as they were.
pub(crate) fn damage(file: &Path) {
    let before = fs::metadata(file).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut contents = fs::read(file).unwrap();
    contents[0] ^= 1;
    fs::write(file, contents).unwrap();
    fs::File::open(file).unwrap().set_modified(before.modified().unwrap()).unwrap();
    fs::set_permissions(file, before.permissions()).unwrap();
}

#[test]
fn changed_contents_are_found_when_looked_at() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    damage(&scene.real(&path));
    scene.ok(&["verify"]);
    let run = scene.run(&["verify", "--contents"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("-hello: its hash is"), "{}{}", run.stdout, run.stderr);
}

#[test]
fn only_paths_that_are_named_are_looked_at() {
    let scene = Scene::new();
    let [first, second] = ["first", "second"].map(|name| scene.ok(&["add", &scene.write(name, name)]));
    damage(&scene.real(&second));
    scene.ok(&["verify", "--contents", &first]);
    assert_eq!(scene.run(&["verify", "--contents", &first, &second]).code, Some(1));
    let nowhere = "/nix/store/00000000000000000000000000000000-nowhere";
    let said = scene.fails(1, &["verify", nowhere]);
    assert!(said.contains("is not valid in this store"), "{said}");
}

#[test]
fn what_differs_about_a_file_is_told_for_programs_too() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    fs::set_permissions(scene.real(&path), fs::Permissions::from_mode(0o644)).unwrap();
    let run = scene.run(&["verify", "--contents", "--json"]);
    assert_eq!(run.code, Some(1));
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["damaged"][0]["path"], path);
    assert_eq!(report["damaged"][0]["problem"], "it has the mode 0644, not 0444");
    assert_eq!((report["links"].to_string(), report["database"].to_string()), ("[]".into(), "[]".into()));
}

#[test]
fn what_cannot_be_read_is_not_called_damaged() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    let real = scene.real(&path);
    fs::remove_file(&real).unwrap();
    // No archive can hold it.
    assert!(std::process::Command::new("mkfifo").arg(&real).status().unwrap().success());
    let run = scene.run(&["verify", "--contents"]);
    assert_eq!(run.code, Some(4), "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_damaged_database_is_told() {
    let scene = Scene::new();
    scene.build("diamond");
    if !has("sqlite3") {
        return;
    }
    let database = scene.root().join("nix/var/nix/db/db.sqlite");
    let sql = "pragma foreign_keys = off; update Refs set reference = 1000 where rowid = 1;";
    let status = std::process::Command::new("sqlite3").arg(database).arg(sql).status().unwrap();
    assert!(status.success());
    let run = scene.run(&["verify"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.starts_with("database: the row 1 of Refs"), "{}{}", run.stdout, run.stderr);
}
