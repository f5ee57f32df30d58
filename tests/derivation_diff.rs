//! `store derivation diff`.

use std::fs;

use crate::scene::{Scene, derivation, shell_derivation};

/// Makes a source and a derivation that prints it, in a store, and returns the derivation.
fn printer(scene: &Scene, folder: &str, contents: &str, more: &str) -> String {
    fs::create_dir_all(scene.path(folder).join("src/doc")).unwrap();
    let file = scene.path(folder).join("src");
    fs::write(file.join("doc/page"), contents).unwrap();
    fs::write(file.join("same"), "same").unwrap();
    let source = scene.ok(&["add", file.to_str().unwrap()]);
    let json = shell_derivation("printer", &format!("{more}echo {source}/doc/page > $out"));
    let json = json.replace(r#""inputSrcs": []"#, &format!(r#""inputSrcs": ["{source}"]"#));
    scene.ok(&["derivation", "add", &scene.write("printer.json", json)])
}

#[test]
fn a_source_is_followed_to_the_line_that_differs() {
    let scene = Scene::new();
    let old = printer(&scene, "old", "one\ntwo\nthree\n", "");
    let new = printer(&scene, "new", "one\n2\nthree\n", "");
    let run = scene.run(&["derivation", "diff", &old, &new]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let expected = ["printer:\n", "  source\n", "`doc/page`, line 2\n", "- two\n", "+ 2\n"];
    assert!(expected.iter().all(|part| run.stdout.contains(part)), "{}", run.stdout);
    assert!(!run.stdout.contains("argument"), "the argument follows from the source: {}", run.stdout);

    let other = printer(&scene, "new", "one\n2\nthree\n", "set -e; ");
    let stdout = scene.run(&["derivation", "diff", &new, &other]).stdout;
    assert!(stdout.contains("argument 2\n") && stdout.contains("+ set"), "{stdout}");
    assert!(!stdout.contains("source"), "{stdout}");
}

#[test]
fn what_is_the_same_prints_nothing() {
    let scene = Scene::new();
    let out = scene.build("hello").remove(0);
    assert_eq!(scene.ok(&["derivation", "diff", &out, &derivation("hello")]), "");
    let json = scene.ok(&["derivation", "diff", "--json", &out, &derivation("hello")]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&value["equal"], &value["pairs"]), (&true.into(), &serde_json::json!([])));
}

#[test]
fn files_are_compared_without_a_store() {
    let scene = Scene::new();
    let text = fs::read_to_string(derivation("diamond")).unwrap();
    // The paths that a file states are taken from it; those of changed derivations have to be other ones.
    let changed: String = {
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let all = value.as_object_mut().unwrap();
        for derivation in all.values_mut() {
            for output in derivation["outputs"].as_object_mut().unwrap().values_mut() {
                *output = serde_json::json!({});
            }
            derivation["env"].as_object_mut().unwrap().remove("out");
        }
        let (_, bottom) = all.iter_mut().find(|(path, _)| path.ends_with("-bottom.drv")).unwrap();
        bottom["env"]["word"] = "new".into();
        value.to_string()
    };
    let changed = scene.write("changed.json", changed);
    let run = scene.run(&["derivation", "diff", "--json", &derivation("diamond"), &changed]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let pairs = value["pairs"].as_array().unwrap();
    let differing: Vec<_> = pairs.iter().filter(|pair| pair["causes"] != serde_json::json!([])).collect();
    assert!(
        differing.iter().any(|pair| {
            pair["left"].as_str().unwrap().ends_with("-bottom.drv")
                && pair["changesOutputs"] == true
                && pair["causes"][0]
                    == serde_json::json!({ "kind": "variable", "name": "word", "left": null, "right": "new" })
                && pairs[pair["parent"].as_u64().unwrap() as usize]["left"].is_string()
        }),
        "{value:#}"
    );
    assert!(!scene.root().exists(), "looking makes no store");
}

#[test]
fn trouble_is_told_from_a_difference() {
    let scene = Scene::new();
    let said = scene.fails(2, &["derivation", "diff", "absent", &derivation("hello")]);
    assert!(said.contains("absent"), "{said}");
    let unknown = "/nix/store/00000000000000000000000000000000-x.drv";
    let said = scene.fails(2, &["derivation", "diff", unknown, &derivation("hello")]);
    assert!(said.contains("00000000000000000000000000000000-x.drv"), "{said}");
}

#[test]
fn recipes_are_compared_as_the_derivations_they_become() {
    let scene = Scene::new();
    let recipe = |word: &str| {
        let recipe = serde_json::json!({ "name": "r", "builder": "/bin/sh", "args": ["-c", word] });
        scene.write(&format!("{word}.json"), recipe.to_string())
    };
    let run = scene.run(&["derivation", "diff", &recipe("old"), &recipe("new")]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stdout.contains("  argument 2\n    - old\n    + new\n"), "{}", run.stdout);
}
