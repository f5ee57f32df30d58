//! Builds that a hook has carried out elsewhere are seen, followed and remembered as those here.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::build_hook::hook;
use crate::gated::Gated;
use crate::processes::{Running, SOON, within};
use crate::scene::derivation;

#[test]
fn a_build_elsewhere_is_followed_and_remembered() {
    let gated = Gated::new();
    let scene = &gated.scene;
    let gate = scene.path("gate");
    let script = format!(
        "next; answer accept; echo mars >&2; read_strings; read_strings; echo far away >&4; read line < {}; exit 101",
        gate.display()
    );
    let hook = hook(scene, &script);
    let arguments = ["build", "--no-link", "--option", "build-hook", &hook, &derivation("hello")];
    let mut build = Running::start(scene, &arguments);
    let mut told = Value::Null;
    let mut is_told = || {
        told = serde_json::from_str(&scene.ok(&["ps", "--json"])).unwrap();
        told[0]["state"] == "elsewhere"
    };
    assert!(within(SOON, &mut is_told), "{told}");
    assert_eq!(told[0]["machine"], "mars");
    assert!(told[0]["outputs"]["out"].as_str().unwrap().ends_with("-hello"), "{told}");
    assert!(scene.ok(&["ps"]).contains("building on mars"));
    let id = told[0]["id"].as_str().unwrap();
    let followed = gated.run("followed", "far away", &mut scene.command(&["log", "-f", id]));
    fs::write(&gate, "\n").unwrap();
    assert_eq!(build.wait().code, Some(101));
    let (code, said) = followed.ends();
    assert_eq!(code, Some(101), "{said}");
    assert!(said.starts_with("far away\n[store] timed-out: the build hook could not have `"), "{said}");
    assert!(scene.ok(&["log", "--failed"]).contains("-hello.drv"));
    assert_eq!(scene.ok(&["ps", "--json"]), "[]");
}

#[test]
fn a_build_elsewhere_that_is_cancelled_has_not_failed() {
    let gated = Gated::new();
    let scene = &gated.scene;
    let hook =
        hook(scene, "next; answer accept; echo mars >&2; echo far away >&4; while :; do sleep 1; done");
    let arguments = ["build", "--no-link", "--option", "build-hook", &hook, &derivation("hello")];
    let mut build = Running::start(scene, &arguments);
    assert!(within(SOON, || scene.ok(&["ps"]).contains("building on mars")));
    Command::new("kill").args(["-INT", &build.id().to_string()]).status().unwrap();
    assert_eq!(build.wait().code, Some(130));
    assert_eq!(scene.ok(&["log", "--failed"]), "");
}
