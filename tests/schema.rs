//! Databases of older and later releases of Nix.

use std::fs::{self, File};
use std::process::Command;

use crate::peer::nix_store;
use crate::processes::{Running, SOON, within};
use crate::scene::{Scene, has, has_nix};

/// Makes the store's database one that a Nix of before schema 8 has made, with what is in it.
fn make_older(scene: &Scene) {
    let directory = scene.root().join("nix/var/nix/db");
    let database = directory.join("db.sqlite");
    let schema = String::from_utf8(test_support::read("databases/schema-7.sql")).unwrap();
    let sql = format!(
        "attach '{}' as new; pragma foreign_keys = off;\n{schema}\n\
         insert into ValidPaths select id, path, hash, registrationTime, deriver, narSize from new.ValidPaths;\n\
         insert into Refs select * from new.Refs;\ninsert into DerivationOutputs select * from new.DerivationOutputs;\n",
        database.display()
    );
    let older = directory.join("older.sqlite");
    let status = Command::new("sqlite3").arg(&older).arg(sql).status().unwrap();
    assert!(status.success());
    fs::rename(older, database).unwrap();
    fs::write(directory.join("schema"), "7").unwrap();
}

fn schema(scene: &Scene) -> String {
    fs::read_to_string(scene.root().join("nix/var/nix/db/schema")).unwrap()
}

#[test]
fn an_older_schema_is_read_and_then_brought_up_to_date() {
    if !has("sqlite3") {
        return;
    }
    let scene = Scene::new();
    let built = scene.build("chain").remove(0);
    let closure = scene.ok(&["query", "--requisites", &built]);
    make_older(&scene);
    assert_eq!(scene.ok(&["query", "--requisites", &built]), closure);
    scene.ok(&["path-info", "--json", &built]);
    assert_eq!(schema(&scene), "7", "reading changes nothing");
    let run = scene.run(&["add", &scene.write("file", "x")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("had schema 7"), "{}", run.stderr);
    assert_eq!(schema(&scene), "10");
    let added = run.stdout.trim();
    assert!(!scene.run(&["add", "file"]).stderr.contains("schema"), "once only");
    scene.ok(&["verify", "--contents"]);
    if has_nix() {
        nix_store(&scene, &["--verify", "--check-contents"]);
        assert_eq!(nix_store(&scene, &["--query", "--hash", added]).trim().len(), 59);
    }
}

#[test]
fn an_upgrade_waits_for_whoever_has_the_store_open() {
    if !has("sqlite3") {
        return;
    }
    let scene = Scene::new();
    scene.build("chain");
    make_older(&scene);
    let lock = File::options().write(true).open(scene.root().join("nix/var/nix/db/big-lock")).unwrap();
    // As Nix has it as long as it uses the store.
    lock.lock_shared().unwrap();
    let said = scene.path("said");
    let file = scene.write("file", "x");
    let mut running = Running::start_telling(&scene, &["add", &file], &File::create(&said).unwrap());
    let tells = || fs::read_to_string(&said).unwrap().contains("big-lock");
    assert!(within(SOON, tells), "{}", fs::read_to_string(&said).unwrap());
    assert_eq!(schema(&scene), "7");
    lock.unlock().unwrap();
    assert_eq!(running.wait().code, Some(0), "{}", fs::read_to_string(&said).unwrap());
    assert_eq!(schema(&scene), "10");
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn a_later_schema_is_refused_with_both_named() {
    let scene = Scene::new();
    let path = scene.ok(&["add", &scene.write("file", "x")]);
    fs::write(scene.root().join("nix/var/nix/db/schema"), "12").unwrap();
    for arguments in
        [&["query", "--references", &path][..], &["add", "file"], &["delete", &path], &["verify"]]
    {
        let said = scene.fails(1, arguments);
        assert!(said.contains("has schema 12") && said.contains("up to 10"), "{said}");
    }
    assert!(scene.real(&path).exists());
}
