//! `store log`.

use std::fs;

use crate::scene::{Scene, shell_derivation};

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
fn no_log_is_an_error_that_says_so() {
    let scene = Scene::new();
    let file = scene.write("file", "x");
    let path = scene.ok(&["add", &file]);
    let said = scene.fails(1, &["log", &path]);
    assert!(said.contains("-file"), "{said}");
}
