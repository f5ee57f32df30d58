//! What runs is told by files, which are there as long as it does.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::gated::Gated;
use crate::person::Person;
use crate::processes::{Running, SOON, children, within};
use crate::scene::{Run, Scene, is_root, shell_derivation};

/// Returns the files that tell of running builds.
fn files(scene: &Scene) -> Vec<PathBuf> {
    let entries = fs::read_dir(scene.root().join("nix/var/nix/running-builds")).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    // Not where their owners are told to cancel them.
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect()
}

/// Starts a build that goes on until somebody writes to `gate`, and returns what its file tells.
pub(crate) fn start(scene: &Scene) -> (Running<'_>, Value) {
    let script = "echo here; echo '@nix {\"action\":\"setPhase\",\"phase\":\"makePhase\"}'; read line < /gate; echo made > $out";
    let file = scene.write("gated.json", shell_derivation("gated", script));
    let gate = scene.path("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let dirs = format!("/dev /proc /gate={}", gate.display());
    let running =
        Running::start(scene, &["build", "--no-link", &file, "--option", "build-chroot-dirs", &dirs]);
    let mut told = Value::Null;
    let mut runs = || {
        let file = files(scene).into_iter().next().and_then(|file| fs::read(file).ok());
        told = file.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        // As root, it may wait for a user that builds of others have.
        told["state"] == "building"
    };
    assert!(within(SOON, &mut runs), "the builder does not run");
    (running, told)
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
    assert!(within(SOON, || fs::read(&log).is_ok_and(|log| log.starts_with(b"here\n"))), "{told}");
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

#[test]
fn ps_shows_what_runs() {
    let scene = Scene::new();
    assert_eq!(scene.ok(&["ps"]), "");
    assert!(scene.run(&["ps"]).stderr.contains("no build is running"));
    let (mut running, told) = start(&scene);
    let id = told["id"].as_str().unwrap();
    let table = scene.ok(&["ps"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("ID "), "{table}");
    assert!(lines[1].starts_with(id) && lines[1].contains(" gated "), "{table}");
    assert!(lines[1].ends_with(&format!("in process {}", running.id())), "{table}");
    let tells_phase = || scene.ok(&["ps"]).contains(" building (makePhase) ");
    assert!(within(SOON, tells_phase), "{}", scene.ok(&["ps"]));
    let shown: Value = serde_json::from_str(&scene.ok(&["ps", "--json"])).unwrap();
    assert_eq!((&shown[0]["id"], &shown[0]["state"]), (&told["id"], &"building".into()));
    assert_eq!(shown[0]["drvPath"], format!("/nix/store/{}", told["drv"].as_str().unwrap()));
    assert!(shown[0]["memoryBytes"].as_u64().unwrap() > 0, "{shown}");
    assert!(shown[0]["processes"].as_u64().unwrap() >= 1, "{shown}");
    fs::write(scene.path("gate"), "\n").unwrap();
    assert_eq!(running.wait().code, Some(0));
    assert_eq!(scene.ok(&["ps", "--json"]), "[]");
}

#[test]
fn ps_shows_others_what_they_may_see() {
    if !is_root() {
        // The other one would have to be somebody else.
        return;
    }
    let scene = Scene::new();
    let (mut running, told) = start(&scene);
    let store = scene.command(&["ps"]);
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=61000", "--regid=61000", "--clear-groups"]).arg(store.get_program());
    stranger.env_clear().env("HOME", "/");
    let shown: Run = stranger.args(store.get_args()).current_dir("/").output().unwrap().into();
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains(told["id"].as_str().unwrap()), "{}", shown.stdout);
    fs::write(scene.path("gate"), "\n").unwrap();
    assert_eq!(running.wait().code, Some(0));
}

#[test]
fn a_watcher_sees_them_come_and_go() {
    let scene = Scene::new();
    let (mut running, told) = start(&scene);
    let seen = |word: &str| within(SOON, || fs::read_to_string(scene.path("seen")).unwrap().contains(word));
    let to = File::create(scene.path("seen")).unwrap();
    let mut watcher = Running::start_telling(&scene, &["ps", "--watch"], &to);
    assert!(seen(told["id"].as_str().unwrap()));
    fs::write(scene.path("gate"), "\n").unwrap();
    running.wait();
    assert!(seen("no build is running"));
    Command::new("kill").args(["-INT", &watcher.id().to_string()]).status().unwrap();
    assert!(watcher.ends_within(SOON), "it goes on");
    assert_eq!(watcher.wait().code, Some(0));
}

#[test]
fn each_build_has_one_line_however_wide_its_phase_is() {
    let phase = "漢".repeat(30);
    let says = format!("echo '@nix {{\"action\":\"setPhase\",\"phase\":\"{phase}\"}}'");
    let gated = Gated::with(&format!("{says}; echo here; read line < /gate; echo made > $out"));
    let run = gated.start("run", "here", &["-L"]);
    let mut person = Person::at(&gated.scene, &gated.scene.command(&["ps", "--watch"]), 10, 60);
    let seen = person.looks(|lines| lines.iter().any(|line| line.contains('漢')));
    assert!(seen.len() == 2 && seen[1].ends_with('…'), "{seen:#?}");
    person.signals(Signal::SIGINT);
    assert_eq!(person.stays(), Some(0));
    gated.open();
    assert_eq!(run.ends().0, Some(0));
}
