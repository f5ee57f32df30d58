//! By what names builds go on the command line, while they run.

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::gated::Gated;
use crate::scene::text;

#[test]
fn a_running_build_goes_by_many_names() {
    let gated = Gated::new();
    let scene = &gated.scene;
    let first = gated.start("first", "here", &["-L"]);
    let ps: Value = serde_json::from_str(&scene.ok(&["ps", "--json"])).unwrap();
    let [id, drv, out] = [&ps[0]["id"], &ps[0]["drvPath"], &ps[0]["outputs"]["out"]]
        .map(|text| text.as_str().unwrap().to_owned());
    // As an earlier build might have left it.
    symlink(&out, scene.path("result")).unwrap();
    let real = text(scene.real(&out));
    for name in [&id, &drv, &out, &real, "result", "./result"] {
        assert_eq!(scene.ok(&["log", name]), "here", "{name}");
    }
    let said = scene.fails(1, &["log", "bcdfghjk"]);
    assert!(said.contains("is called `bcdfghjk`"), "{said}");
    assert!(said.contains(&format!("what runs: `{id}` (gated)")), "{said}");
    let said = scene.fails(1, &["log", "./nothing"]);
    assert!(said.contains("there is no `") && said.contains(&format!("what runs: `{id}` (gated)")), "{said}");
    gated.open();
    assert_eq!(first.ends().0, Some(0));
    let said = scene.fails(1, &["log", &id]);
    assert!(said.contains("no build is running"), "{said}");
}
