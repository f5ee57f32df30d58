//! Nix and `store` on one store.

use std::process::Command;

use crate::scene::{Scene, derivation, has_nix};

/// Returns `nix-store` on the scene's store.
pub(crate) fn nix_store_command(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = Command::new("nix-store");
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    // Nix insists on the name of a user, which one without an account does not have.
    command.env("USER", "nobody").env("HOME", scene.path("home")).arg("--store").arg(scene.root());
    // Without users to build as, and without waiting for a network.
    for (name, value) in [("build-users-group", ""), ("substitute", "false"), ("substituters", "")] {
        command.args(["--option", name, value]);
    }
    command.args(arguments);
    command
}

/// Runs `nix-store` on the scene's store; it has to succeed.
pub(crate) fn nix_store(scene: &Scene, arguments: &[&str]) -> String {
    let output = nix_store_command(scene, arguments).output().unwrap();
    assert!(output.status.success(), "nix-store {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn nix_accepts_what_store_made() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let file = scene.write("source", "text");
    let added = scene.ok(&["add", &file]);
    for name in ["hello", "two-outputs", "chain", "diamond", "fixed-output", "self"] {
        for path in scene.build(name) {
            let requisites = scene.ok(&["query", "--requisites", &path]);
            assert_eq!(sorted(&nix_store(&scene, &["-qR", &path])), sorted(&requisites), "{path}");
            assert_eq!(
                nix_store(&scene, &["-q", "--deriver", &path]).trim(),
                scene.ok(&["query", "--deriver", &path])
            );
        }
    }
    nix_store(&scene, &["--verify", "--check-contents"]);
    assert_eq!(nix_store(&scene, &["-q", "--hash", &added]).trim().split(':').next(), Some("sha256"));
}

#[test]
fn store_accepts_what_nix_made() {
    if !has_nix() {
        return;
    }
    let (ours, nixs) = (Scene::new(), Scene::new());
    let file = nixs.write("source", "text");
    let added = nix_store(&nixs, &["--add", &file]).trim().to_owned();
    assert_eq!(ours.ok(&["add", &file]), added);
    assert_eq!(nixs.ok(&["path-info", &added]), added);
    nixs.ok(&["verify", "--contents"]);
    assert_eq!(nixs.build("hello"), ours.build("hello"), "it goes on where Nix began");
    nix_store(&nixs, &["--verify", "--check-contents"]);
}

#[test]
fn what_one_built_the_other_need_not() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let out = scene.build("chain").remove(0);
    let drv = scene.ok(&["derivation", "add", &derivation("chain")]);
    assert_eq!(nix_store(&scene, &["--realise", &drv]).trim(), out);
}

#[test]
fn both_name_trees_alike() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    std::fs::create_dir_all(scene.path("tree/sub")).unwrap();
    scene.write("tree/sub/b", "b");
    scene.write("tree/a", "a");
    std::os::unix::fs::symlink("sub/b", scene.path("tree/c")).unwrap();
    let tree = crate::scene::text(scene.path("tree"));
    let ours = scene.command(&["dump", &tree]).output().unwrap().stdout;
    let nixs = Command::new("nix-store").args(["--dump", &tree]).output().unwrap().stdout;
    assert_eq!(ours, nixs);
}
