//! `store export`, beside `nix-store --export`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Output;

use crate::peer::{nix_store, nix_store_command};
use crate::scene::{Scene, derivation, has_nix};

/// Runs the program with a file for stdout, as a stream is no text.
pub(crate) fn export(scene: &Scene, arguments: &[&str], to: &str) -> PathBuf {
    let output = export_output(scene, arguments, to);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    scene.path(to)
}

fn export_output(scene: &Scene, arguments: &[&str], to: &str) -> Output {
    let file = File::create(scene.path(to)).unwrap();
    let mut command = scene.command(&[&["export"], arguments].concat());
    command.stdout(file).output().unwrap()
}

/// Paths with references, a derivation among them.
pub(crate) fn some_paths(scene: &Scene) -> Vec<String> {
    let out = scene.build("chain").remove(0);
    let drv = scene.ok(&["derivation", "add", &derivation("chain")]);
    let two = scene.build("two-outputs");
    let own = scene.build("self");
    let file = scene.write("file", "text");
    let added = scene.ok(&["add", &file]);
    [vec![out, drv, added], two, own].concat()
}

#[test]
fn it_is_what_nix_prints() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let paths = some_paths(&scene);
    let mut chosen: Vec<&str> = paths.iter().map(String::as_str).collect();
    let closure = scene.ok(&[&["query", "--requisites"], &chosen[..]].concat());
    for round in 0..2 {
        if round == 1 {
            chosen = closure.lines().rev().collect();
        }
        let ours = fs::read(export(&scene, &chosen, "ours")).unwrap();
        let nixs = nix_store_command(&scene, &[&["--export"], &chosen[..]].concat()).output().unwrap();
        assert!(nixs.status.success(), "{}", String::from_utf8_lossy(&nixs.stderr));
        assert!(ours == nixs.stdout, "round {round}: {} and {} bytes", ours.len(), nixs.stdout.len());
    }
    let recursive = [&["--recursive"], &paths.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
    let ours = fs::read(export(&scene, &recursive, "recursive")).unwrap();
    assert!(ours == fs::read(scene.path("ours")).unwrap());
}

#[test]
fn nix_takes_it() {
    if !has_nix() {
        return;
    }
    let (here, there) = (Scene::new(), Scene::new());
    let paths = some_paths(&here);
    let arguments = [&["-R"], &paths.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
    let stream = export(&here, &arguments, "stream");
    let mut import = nix_store_command(&there, &["--import"]);
    let output = import.stdin(File::open(stream).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    nix_store(&there, &["--verify", "--check-contents"]);
    there.ok(&["verify", "--contents"]);
    for path in &paths {
        assert_eq!(there.ok(&["query", "--requisites", path]), here.ok(&["query", "--requisites", path]));
    }
}

#[test]
fn a_damaged_path_is_not_exported() {
    let scene = Scene::new();
    let file = scene.write("file", "text");
    let path = scene.ok(&["add", &file]);
    let whole = fs::read(export(&scene, &[&path], "whole")).unwrap();
    fs::remove_file(scene.real(&path)).unwrap();
    fs::write(scene.real(&path), "tent").unwrap();
    let output = export_output(&scene, &[&path], "stream");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("has the hash `sha256:") && said.contains("-file"), "{said}");
    let stream = fs::read(scene.path("stream")).unwrap();
    assert!(stream.len() < whole.len(), "it has no end");
}

#[test]
fn what_the_other_side_has_is_left_out() {
    let scene = Scene::new();
    let paths = some_paths(&scene);
    let arguments = [&["-R"], &paths.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
    let closure = scene.ok(&[&["query", "--requisites"], &arguments[1..]].concat());
    scene.write("all", &closure);
    let nothing = export(&scene, &[&arguments[..], &["--except-from", "all"]].concat(), "nothing");
    assert_eq!(fs::read(nothing).unwrap(), [0; 8]);
    let (first, rest) = closure.split_once('\n').unwrap();
    scene.write("rest", rest);
    let one = export(&scene, &[&arguments[..], &["--except-from", "rest"]].concat(), "one");
    assert_eq!(fs::read(one).unwrap(), fs::read(export(&scene, &[first], "first")).unwrap());
    scene.write("wrong", "/nix/store/x");
    let said = scene.fails(1, &["export", &paths[0], "--except-from", "wrong"]);
    assert!(said.contains("cannot read line 1 of the list `wrong`"), "{said}");
}

#[test]
fn a_stream_can_begin_later() {
    let scene = Scene::new();
    let paths = some_paths(&scene);
    let arguments =
        [&["-R", "--format", "2"], &paths.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
    let whole = fs::read(export(&scene, &arguments, "whole")).unwrap();
    assert!(whole.starts_with(b"NARIO2\0\0"));
    let from = |byte: usize| {
        let text = byte.to_string();
        let output = export_output(&scene, &[&arguments[..], &["--from-byte", &text]].concat(), "rest");
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
            fs::read(scene.path("rest")).unwrap(),
        )
    };
    let (mut begins, mut looked_for) = (vec![8], 9);
    // Each is told by what is said of the byte behind the one before.
    while looked_for < whole.len() - 8 {
        let (code, said, rest) = from(looked_for);
        assert!(code == Some(1) && rest.is_empty(), "{looked_for}: {said}");
        let told = said.trim_end().rsplit_once(" and ").unwrap().1.parse().unwrap();
        begins.push(told);
        looked_for = told + 1;
    }
    assert_eq!(begins.last(), Some(&(whole.len() - 8)), "{begins:?}");
    for byte in begins {
        assert!(from(byte) == (Some(0), String::new(), whole[byte..].to_vec()), "from {byte}");
    }
    for beyond in [whole.len() - 7, whole.len(), usize::MAX] {
        let (code, said, rest) = from(beyond);
        let told = format!("whose paths end at byte {}\n", whole.len() - 8);
        assert!(code == Some(1) && said.ends_with(&told) && rest.is_empty(), "{beyond}: {said}");
    }
    let said = scene.fails(2, &["export", &paths[0], "--from-byte", "8"]);
    assert!(said.contains("needs `--format 2`"), "{said}");
}
