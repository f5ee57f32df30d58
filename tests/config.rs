//! `store config show`, and where settings come from.

use std::fs;

use crate::scene::Scene;

fn value(scene: &Scene, command: &[&str], variables: &[(&str, &str)], name: &str) -> String {
    let output = scene.command(command).envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.unwrap_or_else(|| panic!("no `{name}` in: {text}")).split_once('=').unwrap().1.trim().to_owned()
}

#[test]
fn later_layers_win() {
    let scene = Scene::new();
    let show = &["config", "show"];
    fs::create_dir_all(scene.path("home/.config/store")).unwrap();
    scene.write("home/.config/store/store.conf", "cores = 2\nlog-lines = 7\n");
    assert_eq!(value(&scene, show, &[], "cores"), "2");
    let variables = [("STORE_CONFIG", "cores = 3")];
    assert_eq!(value(&scene, show, &variables, "cores"), "3");
    assert_eq!(value(&scene, &["config", "show", "--option", "build-cores", "4"], &variables, "cores"), "4");
    assert_eq!(value(&scene, show, &variables, "log-lines"), "7");
}

#[test]
fn the_sandbox_is_on_by_default() {
    let scene = Scene::new();
    assert_eq!(value(&scene, &["config", "show"], &[], "build-use-chroot"), "true");
    assert_eq!(value(&scene, &["config", "show"], &[], "build-chroot-dirs"), "/dev /proc");
}

#[test]
fn mistakes_name_their_place() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("home/.config/store")).unwrap();
    scene.write("home/.config/store/store.conf", "# mine\nbuild-use-chrot = false\n");
    let said = scene.fails(1, &["config", "show"]);
    assert!(said.contains("store.conf:2") && said.contains("`build-use-chroot`"), "{said}");
}

#[test]
fn json_has_every_setting() {
    let scene = Scene::new();
    let json = scene.ok(&["config", "show", "--json"]);
    assert!(json.contains("\"build-use-chroot\""), "{json}");
}
