//! What can be named on the command line: files, store paths, links to them, outputs; and how a wrong word is refused.

use std::fs;
use std::os::unix::fs::symlink;

use crate::failures::check;
use crate::scene::{Scene, derivation, shell_derivation, text};

const HELLO: &str = "/nix/store/kjnncln5fjjhiz3g4p4n15cccch70g8n-hello";

#[test]
fn a_drv_file_outside_the_store() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("hello")]);
    let contents = fs::read(scene.real(&drv)).unwrap();
    scene.write("hello.drv", &contents);
    scene.write(&drv["/nix/store/".len()..], &contents);
    let elsewhere = Scene::new();
    for name in ["hello.drv", &drv["/nix/store/".len()..]] {
        assert_eq!(elsewhere.ok(&["build", "--no-link", &text(scene.path(name))]), HELLO);
    }
}

#[test]
fn outputs_can_be_chosen() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("two-outputs")]);
    let file = derivation("two-outputs");
    for word in [format!("{drv}!doc"), format!("{drv}^doc"), format!("{file}^doc")] {
        let printed = scene.ok(&["build", "--no-link", &word]);
        assert!(printed.ends_with("-two-outputs-doc") && printed.lines().count() == 1, "{word}: {printed}");
    }
    assert_eq!(scene.ok(&["build", "--no-link", &format!("{drv}^*")]).lines().count(), 2);
}

#[test]
fn a_deleted_output_is_built_again_by_its_path() {
    let scene = Scene::new();
    let out = scene.build("hello").remove(0);
    scene.ok(&["delete", &out]);
    assert_eq!(scene.ok(&["build", "--no-link", &out]), out);
    assert!(scene.real(&out).exists());
}

#[test]
fn links_and_places_inside_lead_to_their_store_path() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("tree/sub")).unwrap();
    let path = scene.ok(&["add", "tree"]);
    symlink(scene.real(&path), scene.path("direct")).unwrap();
    symlink("direct", scene.path("indirect")).unwrap();
    let real = text(scene.real(&path).join("sub"));
    for word in ["direct", "indirect/sub", &real, &format!("{path}/sub")] {
        assert_eq!(scene.ok(&["path-info", word]), path, "{word}");
    }
}

#[test]
fn the_link_to_another_store_is_replaced() {
    let (scene, other) = (Scene::new(), Scene::new());
    let link = text(scene.path("result"));
    other.ok(&["build", "--out-link", &link, &derivation("hello")]);
    scene.ok(&["build", "--out-link", &link, &derivation("hello")]);
    assert_eq!(fs::read_link(link).unwrap(), scene.real(HELLO));
}

#[test]
fn an_output_that_is_not_there() {
    let scene = Scene::new();
    check(&scene, "absent-output", &scene.run(&["build", &format!("{}^dev", derivation("hello"))]));
}

#[test]
fn a_file_in_the_way_of_the_link() {
    let scene = Scene::new();
    scene.write("result", "precious");
    check(&scene, "link-in-the-way", &scene.run(&["build", &derivation("hello")]));
    assert_eq!(fs::read_to_string(scene.path("result")).unwrap(), "precious");
}

#[test]
fn a_store_path_that_nobody_can_make() {
    let scene = Scene::new();
    let path = "/nix/store/00000000000000000000000000000000-absent";
    check(&scene, "unknown-path", &scene.run(&["build", path]));
}

#[test]
fn a_file_that_is_no_derivation() {
    let scene = Scene::new();
    scene.write("default.nix", "{ pkgs ? import <nixpkgs> {} }: pkgs.hello");
    check(&scene, "no-derivation", &scene.run(&["build", "default.nix"]));
}

#[test]
fn a_file_that_is_not_in_the_store() {
    let scene = Scene::new();
    scene.build("hello");
    scene.write("plain", "text");
    check(&scene, "not-in-store", &scene.run(&["path-info", "plain"]));
}

#[test]
fn a_result_that_is_still_wanted() {
    let scene = Scene::new();
    scene.ok(&["build", &derivation("hello")]);
    check(&scene, "still-wanted", &scene.run(&["delete", HELLO]));
}

#[test]
fn settings_that_include_each_other() {
    let scene = Scene::new();
    scene.write("one.conf", "include two.conf\n");
    scene.write("two.conf", "include one.conf\n");
    let run = scene.command(&["config", "show"]).env("STORE_CONFIG", "include one.conf").output().unwrap();
    check(&scene, "include-loop", &run.into());
}

#[test]
fn what_was_not_started_after_a_failure() {
    let scene = Scene::new();
    let endings = ["exit 1", "echo > $out", "echo > $out"].into_iter().zip(["first", "second", "third"]);
    let files: Vec<String> = endings
        .map(|(ending, name)| scene.write(&format!("{name}.json"), shell_derivation(name, ending)))
        .collect();
    let words: Vec<&str> =
        ["build", "--no-link"].into_iter().chain(files.iter().map(String::as_str)).collect();
    check(&scene, "not-started", &scene.run(&words));
}
