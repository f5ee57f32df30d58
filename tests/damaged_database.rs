//! Databases with damage: what is told, and that whoever does what is told goes on.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use crate::scene::{Run, Scene, derivation, has};

fn databases(scene: &Scene) -> PathBuf {
    scene.root().join("nix/var/nix/db")
}

/// Returns the commands that say what is wrong.
fn refused(scene: &Scene, path: &str) -> Vec<String> {
    let build = derivation("hello");
    let all = [&["query", "--references", path][..], &["build", &build], &["gc"], &["path-info", path]];
    all.map(|arguments| scene.fails(1, arguments)).into()
}

#[test]
fn one_that_is_no_database_is_made_anew_of_a_dump() {
    let scene = Scene::new();
    let top = scene.ok(&["build", &derivation("diamond")]);
    let dump = scene.write("dump", scene.run(&["dump-db"]).stdout);
    let file = databases(&scene).join("db.sqlite");
    let mut whole = fs::read(&file).unwrap();
    whole[..4096].fill(b'x');
    fs::write(&file, whole).unwrap();
    for said in refused(&scene, &top) {
        assert!(said.contains(file.to_str().unwrap()) && said.contains("is damaged"), "{said}");
        assert!(said.contains("store load-db") && said.contains(".dump"), "{said}");
    }
    assert!(scene.real(&top).exists());
    fs::rename(databases(&scene), scene.path("away")).unwrap();
    let input = File::open(&dump).unwrap();
    let run: Run = scene.command(&["load-db"]).stdin(input).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    scene.ok(&["verify", "--contents"]);
    assert_eq!(scene.ok(&["build", "--no-link", &derivation("diamond")]), top);
    scene.ok(&["gc"]);
    assert!(scene.real(&top).exists());
}

#[test]
fn what_can_be_read_of_one_is_copied() {
    if !has("sqlite3") {
        return;
    }
    let scene = Scene::new();
    let top = scene.ok(&["build", &derivation("diamond")]);
    let all = scene.run(&["dump-db"]).stdout;
    let file = databases(&scene).join("db.sqlite");
    // Indexes only: what tables hold can be read.
    let sql = "select pageno from dbstat where name in ('sqlite_autoindex_ValidPaths_1', 'IndexReferrer')";
    let pages = Command::new("sqlite3").arg(&file).arg(sql).output().unwrap();
    let pages = String::from_utf8(pages.stdout).unwrap();
    if pages.is_empty() {
        return crate::scene::say("skipped: a `sqlite3` that does not tell of pages");
    }
    let damaged = File::options().write(true).open(&file).unwrap();
    for page in pages.lines() {
        let page: u64 = page.parse().unwrap();
        damaged.write_all_at(&[0x55; 4096], (page - 1) * 4096).unwrap();
    }
    drop(damaged);
    let said = scene.fails(1, &["query", "--references", &top]);
    assert!(said.contains("is damaged") && said.contains(".dump"), "{said}");
    fs::rename(databases(&scene), scene.path("away")).unwrap();
    fs::create_dir(databases(&scene)).unwrap();
    let script = r#"sqlite3 "$1/db.sqlite" .dump | sqlite3 "$2/db.sqlite""#;
    let copied =
        Command::new("sh").args(["-c", script, "sh"]).args([scene.path("away"), databases(&scene)]).output();
    assert!(copied.unwrap().status.success());
    scene.ok(&["verify", "--contents"]);
    assert_eq!(scene.run(&["dump-db"]).stdout, all);
    assert_eq!(scene.ok(&["build", "--no-link", &derivation("diamond")]), top);
}

#[test]
fn that_of_builds_is_moved_away() {
    let scene = Scene::new();
    scene.build("hello");
    let file = databases(&scene).join("store.sqlite");
    fs::write(&file, vec![b'x'; 20000]).unwrap();
    let said = scene.fails(100, &["build", "--no-link", &derivation("diamond")]);
    assert!(said.contains(file.to_str().unwrap()) && said.contains("move that file away"), "{said}");
    assert!(!said.contains("load-db"), "{said}");
    for name in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        let _ = fs::remove_file(databases(&scene).join(name));
    }
    scene.build("diamond");
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn a_schema_file_that_says_nothing_is_removed() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    let file = databases(&scene).join("schema");
    fs::write(&file, b"\xff\xfe garbage").unwrap();
    for said in refused(&scene, &path) {
        assert!(said.contains(file.to_str().unwrap()) && said.contains("remove that file"), "{said}");
        assert!(!said.contains("Nix 1.11"), "{said}");
    }
    fs::remove_file(&file).unwrap();
    scene.build("diamond");
    assert_eq!(fs::read(&file).unwrap(), b"10");
    scene.ok(&["verify", "--contents"]);
}
