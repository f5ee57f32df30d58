//! `store add`.

use std::fs;
use std::os::unix::fs::symlink;

use crate::scene::Scene;

#[test]
fn a_file_has_the_path_that_nix_gives_it() {
    let scene = Scene::new();
    let file = scene.write("hello.txt", "hello");
    let path = scene.ok(&["add", &file]);
    // spec: a file that holds `hello`, without a line end.
    assert_eq!(path, "/nix/store/xfp2hphvk98rkk9ywlqpp587rjdcgnc2-hello.txt");
    assert_eq!(fs::read_to_string(scene.real(&path)).unwrap(), "hello");
    assert_eq!(scene.ok(&["add", &file]), path, "a second time changes nothing");
}

#[test]
fn a_directory_is_copied_with_its_links() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("tree/sub")).unwrap();
    scene.write("tree/sub/file", "text");
    symlink("sub/file", scene.path("tree/link")).unwrap();
    let path = scene.ok(&["add", "--name", "other", "tree"]);
    assert!(path.ends_with("-other"), "{path}");
    assert_eq!(fs::read_link(scene.real(&path).join("link")).unwrap().to_str(), Some("sub/file"));
    assert_eq!(fs::read_to_string(scene.real(&path).join("link")).unwrap(), "text");
}

#[test]
fn a_name_that_cannot_be_is_refused() {
    let scene = Scene::new();
    let file = scene.write("a b", "x");
    let said = scene.fails(1, &["add", &file]);
    assert!(said.contains("a b"), "{said}");
    assert!(scene.ok(&["add", "--name", "a-b", &file]).ends_with("-a-b"));
}

/// Returns lines for a manifest that are right.
fn manifest(scene: &Scene, names: &[&str]) -> String {
    let other = Scene::new();
    let line = |name: &&str| {
        let file = scene.write(name, format!("contents of {name}"));
        let path = other.ok(&["add", &file]);
        let hash = other.ok(&["hash", "path", &file]);
        format!("{path}\t{hash}\t{name}\n")
    };
    names.iter().map(line).collect()
}

#[test]
fn a_manifest_is_added_whole() {
    let scene = Scene::new();
    let lines = manifest(&scene, &["one", "two", "three"]);
    scene.write("inputs.tsv", &lines);
    scene.ok(&["add", "--manifest", "inputs.tsv"]);
    for line in lines.lines() {
        let path = line.split('\t').next().unwrap();
        assert_eq!(scene.ok(&["path-info", path]), path);
    }
}

#[test]
fn a_manifest_that_is_wrong_names_all_that_is() {
    let scene = Scene::new();
    let lines = manifest(&scene, &["one", "two", "three"]);
    scene.write("inputs.tsv", &lines);
    scene.write("one", "changed");
    scene.write("three", "changed too");
    let said = scene.fails(1, &["add", "--manifest", "inputs.tsv"]);
    assert!(said.contains("-one") && said.contains("-three") && !said.contains("-two"), "{said}");
    for line in lines.lines().filter(|line| !line.contains("-two")) {
        scene.fails(1, &["path-info", line.split('\t').next().unwrap()]);
    }
}
