//! What runs is told by files, which are there as long as it does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::processes::{Running, children, within};
use crate::scene::{Scene, shell_derivation};

/// Returns the files that tell of running builds.
fn files(scene: &Scene) -> Vec<PathBuf> {
    let entries = fs::read_dir(scene.root().join("nix/var/nix/running-builds")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Starts a build that goes on until somebody writes to `gate`, and returns what its file tells.
fn start(scene: &Scene) -> (Running<'_>, Value) {
    let script = "echo here; read line < /gate; echo made > $out";
    let file = scene.write("gated.json", shell_derivation("gated", script));
    let gate = scene.path("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let dirs = format!("/dev /proc /gate={}", gate.display());
    let running =
        Running::start(scene, &["build", "--no-link", &file, "--option", "build-chroot-dirs", &dirs]);
    let mut told = None;
    let mut is_told = || {
        let file = files(scene).into_iter().next().and_then(|file| fs::read(file).ok());
        told = file.and_then(|text| serde_json::from_slice(&text).ok());
        told.is_some()
    };
    assert!(within(Duration::from_secs(20), &mut is_told), "nothing is told of the build");
    (running, told.unwrap())
}

#[test]
fn a_file_tells_of_a_build_while_it_runs() {
    let scene = Scene::new();
    let (mut running, told) = start(&scene);
    assert_eq!(told["version"], 1);
    assert_eq!(told["state"], "building", "{told}");
    assert_eq!((&told["name"], &told["target"]), (&"gated".into(), &told["drv"]));
    assert_eq!(told["owner"]["process"], running.id());
    assert!(told["outputs"]["out"].as_str().unwrap().ends_with("-gated"), "{told}");
    let builder = u32::try_from(told["process"].as_u64().unwrap()).unwrap();
    assert!(children(children(running.id())[0]).contains(&builder), "{told}");
    let log = PathBuf::from(told["log"].as_str().unwrap());
    assert!(within(Duration::from_secs(20), || fs::read(&log).is_ok_and(|log| log == b"here\n")), "{told}");
    fs::write(scene.path("gate"), "\n").unwrap();
    assert_eq!(running.wait().code, Some(0));
    assert!(files(&scene).is_empty());
}

#[test]
fn what_a_killed_process_has_left_is_swept() {
    let scene = Scene::new();
    let (mut running, _) = start(&scene);
    running.kill_all(&[]);
    assert_eq!(files(&scene).len(), 1);
    scene.ok(&["verify"]);
    assert!(files(&scene).is_empty());
}
