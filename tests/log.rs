//! `store log`.

use std::fs;

use crate::scene::{Run, Scene, shell_derivation};

#[test]
fn what_a_build_said_is_kept() {
    let scene = Scene::new();
    let file = scene.write("talks.json", shell_derivation("talks", "echo one; echo two >&2; echo > $out"));
    let out = scene.ok(&["build", "--no-link", &file]);
    assert_eq!(scene.ok(&["log", &out]), "one\ntwo");
    let drv = scene.ok(&["query", "--deriver", &out]);
    assert_eq!(scene.ok(&["log", &drv]), "one\ntwo");
}

#[test]
fn logs_lie_where_nix_looks_for_them() {
    let scene = Scene::new();
    let file = scene.write("talks.json", shell_derivation("talks", "echo one; echo > $out"));
    let out = scene.ok(&["build", "--no-link", &file]);
    let drv = scene.ok(&["query", "--deriver", &out]);
    let base = &drv["/nix/store/".len()..];
    let log = scene.root().join(format!("nix/var/log/nix/drvs/{}/{}.bz2", &base[..2], &base[2..]));
    assert!(fs::read(log).unwrap().starts_with(b"BZh"));
}

#[test]
fn a_damaged_log_is_told_from_one_that_cannot_be_printed() {
    let scene = Scene::new();
    let script = "i=0; while [ $i -lt 8000 ]; do echo this is line $i; i=$((i+1)); done; echo > $out";
    let file = scene.write("talks.json", shell_derivation("talks", script));
    let out = scene.ok(&["build", "--no-link", &file]);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let run: Run = scene.command(&["log", &out]).stdout(full).output().unwrap().into();
    assert!(run.code == Some(1) && run.stderr.contains("cannot print the log of `"), "{}", run.stderr);
    let drv = scene.ok(&["query", "--deriver", &out]);
    let base = &drv["/nix/store/".len()..];
    let log = scene.root().join(format!("nix/var/log/nix/drvs/{}/{}.bz2", &base[..2], &base[2..]));
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
    let said = scene.fails(1, &["log", &out]);
    assert!(said.contains("cannot read the log of `") && said.contains("`store build --check`"), "{said}");
    scene.ok(&["build", "--no-link", "--check", &drv]);
    assert!(scene.ok(&["log", &out]).ends_with("this is line 7999"));
}

#[test]
fn no_log_is_an_error_that_says_so() {
    let scene = Scene::new();
    let file = scene.write("file", "x");
    let path = scene.ok(&["add", &file]);
    let said = scene.fails(1, &["log", &path]);
    assert!(said.contains("-file"), "{said}");
}

#[test]
fn a_file_names_the_builds_of_its_derivations() {
    let scene = Scene::new();
    let json = shell_derivation("talks", "echo one; read line < input");
    let file = scene.write("talks.json", json);
    let said = scene.fails(1, &["log", &file]);
    assert!(said.contains("there is no log of") && said.contains("talks.json"), "{said}");
    scene.fails(100, &["build", "--no-link", &file]);
    assert!(scene.ok(&["log", &file]).starts_with("one\n"));
    let recipe = scene.write(
        "recipe.json",
        r#"{ "name": "short", "builder": "/bin/sh", "args": ["-ec", "echo by a recipe; echo > ${out}"] }"#,
    );
    scene.ok(&["build", "--no-link", &recipe]);
    assert_eq!(scene.ok(&["log", &recipe]), "by a recipe");
    let said = scene.fails(1, &["cancel", &recipe]);
    assert!(said.contains("nobody builds `") && said.contains("no build is running"), "{said}");
    // What is no file of derivations says why, and what runs.
    let said = scene.fails(1, &["log", &scene.write("notes.txt", "notes")]);
    assert!(said.contains("notes.txt` does not name a build; no build is running"), "{said}");
}
