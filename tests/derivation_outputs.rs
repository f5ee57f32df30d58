//! `store derivation outputs`.

use crate::scene::{Scene, derivation};

#[test]
fn paths_are_told_without_building() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("two-outputs")]);
    let all = scene.ok(&["derivation", "outputs", &drv]);
    assert_eq!(all, scene.ok(&["derivation", "outputs", &derivation("two-outputs")]), "of a file, too");
    assert_eq!(all.lines().count(), 2, "{all}");
    let one = scene.ok(&["derivation", "outputs", &format!("{drv}^out")]);
    assert!(all.contains(&one) && one.lines().count() == 1, "{one}");
    let said = scene.fails(1, &["derivation", "outputs", &format!("{drv}^nonsense")]);
    assert!(said.contains("has no output `nonsense`, only `"), "{said}");
}

#[test]
fn json_says_how_nix_writes_it() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("floating")]);
    let base = drv.strip_prefix("/nix/store/").unwrap();
    let json = scene.ok(&["derivation", "outputs", "--json", &drv, &format!("{drv}^out^dev")]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value[0]["derivedPath"], serde_json::json!({ "drvPath": base, "outputs": ["*"] }));
    let output = &value[0]["outputs"]["out"];
    assert_eq!(output["path"], serde_json::Value::Null);
    assert_eq!(output["placeholder"].as_str().map(str::len), Some(53), "{json}");
    let through = serde_json::json!({ "drvPath": { "drvPath": base, "output": "out" }, "outputs": ["dev"] });
    assert_eq!(value[1]["derivedPath"], through);
    assert_ne!(value[1]["outputs"]["dev"]["placeholder"], output["placeholder"]);
    let file = scene
        .write("wanted.json", serde_json::json!([through, { "drvPath": base, "output": "out" }]).to_string());
    let words = scene.ok(&["derivation", "outputs", "--from", &file]);
    assert_eq!(words, format!("{drv}^out^dev\n{drv}^out"));
}
