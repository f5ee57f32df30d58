//! `store query`.

use serde_json::Value;

use crate::scene::{Scene, derivation};

fn names(scene: &Scene, relation: &str, path: &str) -> Vec<String> {
    let printed = scene.ok(&["query", relation, path]);
    let mut names: Vec<_> = printed.lines().map(|line| line["/nix/store/".len() + 33..].to_owned()).collect();
    names.sort();
    names
}

#[test]
fn relations_between_what_was_built() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    assert_eq!(names(&scene, "--references", &top), ["left", "right"]);
    assert_eq!(names(&scene, "--requisites", &top), ["bottom", "left", "right", "top"]);
    let requisites = scene.ok(&["query", "--requisites", &top]);
    let bottom = requisites.lines().find(|line| line.ends_with("-bottom")).unwrap();
    assert_eq!(names(&scene, "--referrers", bottom), ["left", "right"]);
    assert_eq!(names(&scene, "--referrers-closure", bottom), ["bottom", "left", "right", "top"]);
}

#[test]
fn from_a_derivation_to_its_outputs_and_back() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("two-outputs")]);
    assert_eq!(names(&scene, "--outputs", &drv), ["two-outputs", "two-outputs-doc"]);
    let out = scene.build("two-outputs").remove(0);
    assert_eq!(scene.ok(&["query", "--deriver", &out]), drv);
    assert_eq!(names(&scene, "--requisites", &drv), ["two-outputs.drv"]);
}

#[test]
fn what_was_added_has_no_deriver() {
    let scene = Scene::new();
    let file = scene.write("file", "x");
    let path = scene.ok(&["add", &file]);
    assert_eq!(scene.ok(&["query", "--deriver", &path]), "unknown-deriver");
}

fn name(path: &str) -> &str {
    &path["/nix/store/".len() + 33..]
}

#[test]
fn what_is_referred_to_comes_first() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let printed = scene.ok(&["query", "-R", &top]);
    let order: Vec<_> = printed.lines().map(name).collect();
    assert_eq!((order[0], order[3]), ("bottom", "top"));
}

#[test]
fn trees_and_graphs() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let tree = scene.ok(&["query", "--tree", &top]);
    let names: Vec<_> = tree.lines().map(|line| line.split_once("/nix/store/").unwrap()).collect();
    assert_eq!(
        names.iter().map(|(before, _)| *before).collect::<Vec<_>>(),
        ["", "├───", "│   └───", "└───", "    └───"]
    );
    assert!(tree.ends_with("-bottom [...]"), "{tree}");
    let dot = scene.ok(&["query", "--graph", &top]);
    assert_eq!(dot.matches(" -> ").count(), 4, "{dot}");
    let xml = scene.ok(&["query", "--graphml", &top]);
    assert_eq!((xml.matches("<node").count(), xml.matches("<edge").count()), (4, 4), "{xml}");
    for drawing in ["--tree", "--graph", "--graphml"] {
        let json: Value = serde_json::from_str(&scene.ok(&["query", drawing, &top, "--json"])).unwrap();
        assert_eq!(json["roots"], serde_json::json!([top]));
        let count = |list: &str| json[list].as_array().unwrap().len();
        assert_eq!((count("nodes"), count("edges")), (4, 4), "{json}");
        assert_eq!(json["nodes"][0]["name"], "bottom");
    }
}

#[test]
fn facts_about_paths() {
    let scene = Scene::new();
    let file = scene.write("hello.txt", "hello");
    let path = scene.ok(&["add", &file]);
    assert_eq!(scene.ok(&["query", "--size", &path]), "120");
    assert_eq!(scene.ok(&["query", "--size", "--json", &path]), "[\n  120\n]");
    let info: Value = serde_json::from_str(&scene.ok(&["path-info", "--json", &path])).unwrap();
    let hash = scene.ok(&["query", "--hash", &path]);
    let sri = scene.ok(&["hash", "convert", &hash]);
    assert_eq!(sri, info[0]["narHash"].as_str().unwrap(), "{hash}");
    std::os::unix::fs::symlink(&path, scene.path("link")).unwrap();
    assert_eq!(scene.ok(&["query", "--resolve", "link"]), path);
}

#[test]
fn variables_of_derivations_and_of_what_they_made() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("two-outputs")]);
    let out = scene.build("two-outputs").remove(0);
    for path in [&drv, &out] {
        assert_eq!(scene.ok(&["query", "--binding", "doc", path]), out);
    }
    let said = scene.fails(1, &["query", "--binding", "absent", &drv]);
    assert!(said.contains("has no variable `absent`"), "{said}");
    assert_eq!(scene.ok(&["query", "--valid-derivers", &out]), drv);
}

#[test]
fn outputs_in_place_of_derivations() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("diamond")]);
    let said = scene.fails(1, &["query", "--references", "--use-output", &drv]);
    assert!(said.contains("not valid"), "{said}");
    let top = scene.build("diamond").remove(0);
    let of = |arguments: &[&str]| scene.ok(&[&["query"], arguments].concat());
    assert_eq!(of(&["--references", "--use-output", &drv]), of(&["--references", &top]));
    let all = of(&["-R", "--include-outputs", &drv]);
    let (drvs, made): (Vec<_>, Vec<_>) = all.lines().partition(|line| line.ends_with(".drv"));
    assert_eq!((drvs.len(), made.len()), (4, 4), "{all}");
    assert_eq!(scene.run(&["query", "--size", "--include-outputs", &drv]).code, Some(2));
}

#[test]
fn roots_are_told_by_what_they_keep() {
    let scene = Scene::new();
    let link = crate::scene::text(scene.path("result"));
    scene.ok(&["build", "--out-link", &link, &derivation("diamond")]);
    let top = std::fs::read_link(&link).unwrap();
    let top = format!("/nix/store/{}", top.file_name().unwrap().to_str().unwrap());
    let requisites = scene.ok(&["query", "-R", &top]);
    let bottom = requisites.lines().next().unwrap();
    let expected = format!("{link} -> {top}");
    for path in [bottom, &top] {
        assert_eq!(scene.ok(&["query", "--roots", path]), expected);
    }
    let json: Value = serde_json::from_str(&scene.ok(&["query", "--roots", "--json", bottom])).unwrap();
    assert_eq!(json, serde_json::json!([{ "root": link, "path": top }]));
    let other = scene.ok(&["add", &scene.write("other", "x")]);
    assert_eq!(scene.ok(&["query", "--roots", &other]), "");
}
