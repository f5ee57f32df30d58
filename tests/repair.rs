//! `store verify --repair` and `store build --repair`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::content_addressed::{FLOATING, add};
use crate::peer::nix_store_command;
use crate::scene::{Run, Scene, derivation, has_nix, shell_derivation};
use crate::verify::damage;

fn repair(scene: &Scene) -> Run {
    scene.run(&["verify", "--contents", "--repair"])
}

/// Removes what may be read only.
fn remove(path: &Path) {
    if path.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

fn left_over(scene: &Scene) -> Vec<String> {
    let entries = fs::read_dir(scene.root().join("nix/store")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names
        .filter(|name| name.ends_with(".repair") || name.ends_with(".chroot") || name.starts_with(".tmp"))
        .collect()
}

/// Builds a chain of four links and returns their paths, by number.
fn chain(scene: &Scene) -> Vec<String> {
    let last = scene.build("chain").remove(0);
    let drv = scene.ok(&["query", "--deriver", &last]);
    let drvs = scene.ok(&["query", "--requisites", &drv]);
    let drv_of = |number: usize| drvs.lines().find(|drv| drv.ends_with(&format!("-link-{number}.drv")));
    (1..=4).filter_map(drv_of).map(|drv| scene.ok(&["query", "--outputs", drv])).collect()
}

#[test]
fn what_was_built_is_built_again() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    let before = fs::read(scene.real(&path)).unwrap();
    damage(&scene.real(&path));
    let run = repair(&scene);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("-hello: its hash is") && run.stdout.contains("was built again"),
        "{}",
        run.stdout
    );
    assert_eq!(fs::read(scene.real(&path)).unwrap(), before);
    scene.ok(&["verify", "--contents"]);
    assert_eq!(left_over(&scene), [""; 0]);
    assert_eq!(repair(&scene).stdout, "");
}

#[test]
fn what_a_build_takes_in_is_repaired_first() {
    let scene = Scene::new();
    let links = chain(&scene);
    assert_eq!(links.len(), 4);
    // They repeat each other, so from what is damaged comes something else.
    links.iter().for_each(|path| damage(&scene.real(path)));
    let run = scene.run(&["verify", "--contents", "--repair", "--json"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let repaired = report["damaged"].as_array().unwrap().iter();
    assert_eq!(repaired.filter(|one| one["repaired"].as_str().unwrap().contains("built again")).count(), 4);
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn what_is_missing_is_made_again_or_forgotten() {
    let scene = Scene::new();
    let greeter =
        scene.ok(&["build", "--no-link", &derivation("references")]).lines().next().unwrap().to_owned();
    let closure = scene.ok(&["query", "--requisites", &greeter]);
    let needed = closure.lines().find(|path| **path != greeter && !path.ends_with(".drv"));
    let alone = scene.ok(&["add", &scene.write("alone", "alone")]);
    remove(&scene.real(&alone));
    if let Some(needed) = needed {
        remove(&scene.real(needed));
    }
    assert_eq!(scene.run(&["verify"]).code, Some(1), "looking changes nothing");
    let run = scene.run(&["verify", "--repair"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("-alone: it is not on disk; not valid any more"), "{}", run.stdout);
    assert!(scene.fails(1, &["query", "--references", &alone]).contains("is not valid"));
    needed.iter().for_each(|needed| assert!(scene.real(needed).exists()));
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn modes_and_times_are_put_right_in_place() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    let real = scene.real(&path);
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    fs::File::open(&real).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    let run = repair(&scene);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("has the mode 0640, not 0444; repaired"), "{}", run.stdout);
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o444);
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn what_has_no_source_is_left_and_told() {
    let scene = Scene::new();
    let added = scene.ok(&["add", &scene.write("added", "added")]);
    damage(&scene.real(&added));
    let run = repair(&scene);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("not repaired: no substituter has it"), "{}", run.stdout);
    assert!(run.stderr.contains("`store delete` it and add it again"), "{}", run.stderr);
}

#[test]
fn what_comes_out_otherwise_is_not_put_there() {
    let scene = Scene::new();
    let chance = "read line < /proc/sys/kernel/random/uuid; echo $line > $out";
    let file = scene.write("chance.json", shell_derivation("chance", chance));
    let path = scene.ok(&["build", "--no-link", &file]);
    damage(&scene.real(&path));
    let damaged = fs::read(scene.real(&path)).unwrap();
    let run = repair(&scene);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("again did not give it"), "{}", run.stdout);
    assert!(run.stderr.contains("cannot repair"), "{}", run.stderr);
    assert_eq!(fs::read(scene.real(&path)).unwrap(), damaged);
    assert_eq!(left_over(&scene), [""; 0]);
}

#[test]
fn outputs_named_by_their_contents_are_repaired() {
    let scene = Scene::new();
    let drv = add(&scene, "floating", "echo says > $out", FLOATING, &[]);
    let path = scene.ok(&["build", "--no-link", &drv]);
    damage(&scene.real(&path));
    let run = repair(&scene);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert_eq!(fs::read_to_string(scene.real(&path)).unwrap(), "says\n");
}

#[test]
fn links_that_hold_something_else_are_removed() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    scene.ok(&["optimise"]);
    // The link and the path are one file.
    damage(&scene.real(&path));
    assert_eq!(scene.run(&["verify", "--contents"]).stdout.matches("its hash is").count(), 2);
    let run = repair(&scene);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    // That of the derivation is as it was.
    assert_eq!(fs::read_dir(scene.root().join("nix/store/.links")).unwrap().count(), 1);
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn a_build_repairs_what_it_takes() {
    let scene = Scene::new();
    let links = chain(&scene);
    damage(&scene.real(&links[0]));
    damage(&scene.real(&links[3]));
    let run = scene.run(&["build", "--no-link", "--repair", &derivation("chain")]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    scene.ok(&["verify", "--contents"]);
    let drv = scene.ok(&["add", &scene.write("source", "source")]);
    damage(&scene.real(&drv));
    let run = scene.run(&["build", "--no-link", "--repair", &drv]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("cannot repair"), "{}", run.stderr);
}

#[test]
fn a_reader_never_finds_it_missing() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    let real = scene.real(&path);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let length = fs::read(&real).expect("it is there").len();
                assert!(length > 0);
            }
        });
        for _ in 0..5 {
            // Another file in one step, as a writer of ours would be seen half-way.
            let other = scene.root().join("nix/store/other");
            fs::write(&other, "damaged").unwrap();
            fs::rename(&other, &real).unwrap();
            assert_eq!(repair(&scene).code, Some(0));
        }
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
}

#[test]
fn killed_in_the_middle_it_is_done_again() {
    for step in ["repair.aside", "repair.synced", "repair.exchanged"] {
        let scene = Scene::new();
        let path = scene.build("hello").remove(0);
        let before = fs::read(scene.real(&path)).unwrap();
        damage(&scene.real(&path));
        let damaged = fs::read(scene.real(&path)).unwrap();
        let mut command = scene.command(&["verify", "--contents", "--repair"]);
        let run: Run = command.env("STORE_FAILPOINT", format!("{step}=kill")).output().unwrap().into();
        assert_eq!(run.code, None, "{step}: {}", run.stderr);
        let now = fs::read(scene.real(&path)).unwrap();
        assert_eq!(now, if step == "repair.exchanged" { &before[..] } else { &damaged[..] }, "{step}");
        let run = repair(&scene);
        assert_eq!(run.code, Some(0), "{step}: {}{}", run.stdout, run.stderr);
        assert_eq!(fs::read(scene.real(&path)).unwrap(), before, "{step}");
        scene.ok(&["verify", "--contents"]);
    }
}

#[test]
fn nix_finds_nothing_wrong_afterwards() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let links = chain(&scene);
    damage(&scene.real(&links[1]));
    remove(&scene.real(&links[2]));
    assert_eq!(repair(&scene).code, Some(0));
    let checked = nix_store_command(&scene, &["--verify", "--check-contents"]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
