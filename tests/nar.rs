//! `store dump`, `store restore`, `store hash path` and `store hash convert`.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::scene::Scene;

/// Makes a tree with one of everything that an archive can hold.
fn tree(scene: &Scene) {
    fs::create_dir_all(scene.path("tree/empty")).unwrap();
    scene.write("tree/plain", "plain text");
    scene.write("tree/program", "#!/bin/sh\n");
    fs::set_permissions(scene.path("tree/program"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("plain", scene.path("tree/link")).unwrap();
}

fn dump(scene: &Scene, path: &str, to: &str) {
    let status =
        scene.command(&["dump", path]).stdout(File::create(scene.path(to)).unwrap()).status().unwrap();
    assert!(status.success());
}

#[test]
fn restore_undoes_dump() {
    let scene = Scene::new();
    tree(&scene);
    dump(&scene, "tree", "first");
    let input = File::open(scene.path("first")).unwrap();
    assert!(scene.command(&["restore", "copy"]).stdin(input).status().unwrap().success());
    dump(&scene, "copy", "second");
    assert_eq!(fs::read(scene.path("first")).unwrap(), fs::read(scene.path("second")).unwrap());
    assert_eq!(fs::read_link(scene.path("copy/link")).unwrap().to_str(), Some("plain"));
}

#[test]
fn the_hash_is_that_of_the_archive() {
    let scene = Scene::new();
    let file = scene.write("hello", "hello");
    let hash = scene.ok(&["hash", "path", "--format", "nix32", &file]);
    assert_eq!(hash, "0sg9f58l1jj88w6pdrfdpj5x9b1zrwszk84j81zvby36q9whhhqa");
}

#[test]
fn an_archive_that_ends_early_leaves_nothing() {
    let scene = Scene::new();
    tree(&scene);
    dump(&scene, "tree", "whole");
    let whole = fs::read(scene.path("whole")).unwrap();
    for length in [0, 8, whole.len() / 2, whole.len() - 1] {
        scene.write("part", &whole[..length]);
        let output = scene
            .command(&["restore", "copy"])
            .stdin(File::open(scene.path("part")).unwrap())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{length} bytes");
        assert!(!scene.path("copy").exists(), "{length} bytes");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let scene = Scene::new();
    scene.write("large", vec![b'x'; 1 << 20]);
    let mut child = scene.command(&["dump", "large"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn hashes_are_spelled_in_every_way() {
    let scene = Scene::new();
    let sri = "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    for format in ["nix32", "base16", "base64"] {
        let digits = scene.ok(&["hash", "convert", "--format", format, sri]);
        assert_eq!(scene.ok(&["hash", "convert", "--algorithm", "sha256", &digits]), sri, "{format}");
        let said = scene.fails(1, &["hash", "convert", &digits]);
        assert!(said.contains("does not say its algorithm"), "{said}");
    }
    assert_eq!(scene.ok(&["hash", "convert", "--json", sri]), format!("[\n  \"{sri}\"\n]"));
}
