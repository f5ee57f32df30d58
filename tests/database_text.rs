//! `store dump-db`, `store load-db` and `store register-validity`, beside Nix's.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::export::some_paths;
use crate::peer::{nix_store, nix_store_command};
use crate::scene::{Run, Scene, has_nix};

fn with_input(scene: &Scene, arguments: &[&str], input: &str) -> Run {
    let file = scene.write("input", input);
    scene.command(arguments).stdin(File::open(file).unwrap()).output().unwrap().into()
}

fn dump(scene: &Scene) -> String {
    scene.run(&["dump-db"]).stdout
}

/// Copies the files of a store, and nothing of its database.
fn copy_files(from: &Scene, to: &Scene) {
    fs::create_dir_all(to.root().join("nix")).unwrap();
    let (from, to) = (from.root().join("nix/store"), to.root().join("nix/store"));
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn it_is_what_nix_prints() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let paths = some_paths(&scene);
    assert_eq!(dump(&scene), nix_store(&scene, &["--dump-db"]));
    let chosen: Vec<&str> = paths.iter().rev().map(String::as_str).collect();
    let ours = scene.run(&[&["dump-db"], &chosen[..]].concat()).stdout;
    assert_eq!(ours, nix_store(&scene, &[&["--dump-db"], &chosen[..]].concat()));
}

#[test]
fn what_was_dumped_is_loaded() {
    let here = Scene::new();
    let paths = some_paths(&here);
    let text = dump(&here);
    let there = Scene::new();
    copy_files(&here, &there);
    let run = with_input(&there, &["load-db"], &text);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""), "{}", run.stderr);
    assert_eq!(dump(&there), text);
    there.ok(&["verify", "--contents"]);
    assert_eq!(there.ok(&["query", "--outputs", &paths[1]]), paths[0]);
    if has_nix() {
        nix_store(&there, &["--verify", "--check-contents"]);
        assert_eq!(
            nix_store(&there, &["-q", "--deriver", &paths[0]]).trim(),
            here.ok(&["query", "--deriver", &paths[0]])
        );
        let nixs = Scene::new();
        copy_files(&here, &nixs);
        here.write("text", &text);
        let mut load = nix_store_command(&nixs, &["--load-db"]);
        assert!(load.stdin(File::open(here.path("text")).unwrap()).status().unwrap().success());
        assert_eq!(dump(&nixs), text);
    }
    // What such a text does not say is kept.
    let before = here.ok(&["path-info", "--json", &paths[0]]);
    assert_eq!(with_input(&here, &["load-db"], &text).code, Some(0));
    assert_eq!(here.ok(&["path-info", "--json", &paths[0]]), before);
}

#[test]
fn all_or_nothing_is_loaded() {
    let here = Scene::new();
    let paths = some_paths(&here);
    let text = dump(&here);
    let there = Scene::new();
    copy_files(&here, &there);
    let lines: Vec<&str> = text.lines().collect();
    let refused = |text: &str, reason: &str| {
        let run = with_input(&there, &["load-db"], text);
        assert_eq!(run.code, Some(1), "{reason}: {}", run.stdout);
        assert!(
            run.stderr.contains("nothing is registered") && run.stderr.contains(reason),
            "{reason}: {}",
            run.stderr
        );
        assert_eq!(dump(&there), "");
    };
    refused(&lines[..lines.len() - 1].join("\n"), "cannot read line");
    refused(&format!("{text}/nix/store/x\n"), &format!("cannot read line {}", lines.len() + 1));
    refused(&(text.clone() + &text), "already");
    refused(&text.replacen(lines[1], "00", 1), "cannot read line 2");
    // A path that others refer to is not there.
    let base = there.real(&paths[0]);
    fs::rename(&base, there.path("aside")).unwrap();
    refused(&text, "is not on disk");
    fs::rename(there.path("aside"), &base).unwrap();
    assert_eq!(with_input(&there, &["load-db"], &text).code, Some(0));
    assert_eq!(dump(&there), text);
}

#[test]
fn files_that_are_there_become_valid() {
    let scene = Scene::new();
    let file = scene.write("file", "text");
    let path = scene.ok(&["add", &file]);
    let text = dump(&scene);
    let there = Scene::new();
    fs::create_dir_all(there.root().join("nix/store")).unwrap();
    fs::write(there.real(&path), "text").unwrap();
    fs::set_permissions(there.real(&path), fs::Permissions::from_mode(0o644)).unwrap();
    let said = format!("{path}\n\n0\n");
    let run = with_input(&there, &["register-validity"], &said);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(dump(&there), text, "it was hashed");
    assert_eq!(fs::metadata(there.real(&path)).unwrap().permissions().mode() & 0o777, 0o444);
    if has_nix() {
        nix_store(&there, &["--verify", "--check-contents"]);
    }
    // What is valid is left alone, unless it is to be registered again.
    let wrong = text.replacen(text.lines().nth(1).unwrap(), &"0".repeat(64), 1);
    assert_eq!(with_input(&there, &["register-validity", "--hash-given"], &wrong).code, Some(0));
    assert_eq!(dump(&there), text);
    let run = with_input(&there, &["register-validity", "--hash-given", "--reregister"], &wrong);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(dump(&there), wrong);
    assert_eq!(with_input(&there, &["register-validity", "--reregister"], &said).code, Some(0));
    assert_eq!(dump(&there), text);
    let absent = said.replace("-file", "-other");
    let run = with_input(&there, &["register-validity"], &absent);
    assert!(run.code == Some(1) && run.stderr.contains("is not on disk"), "{}", run.stderr);
    let dangling = format!("{path}\n\n1\n/nix/store/00000000000000000000000000000000-absent\n");
    let run = with_input(&there, &["register-validity", "--reregister"], &dangling);
    assert!(run.code == Some(1) && run.stderr.contains("which is not valid"), "{}", run.stderr);
}
