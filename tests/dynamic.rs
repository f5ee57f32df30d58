//! Derivations that builds make: `x.drv^out^out`.

use std::fs;
use std::process::{Child, Stdio};

use store_path::{Placeholder, StoreDir};

use crate::content_addressed::{FLOATING, add, builds, json};
use crate::scene::{Run, Scene, text};
use crate::stopping::assert_nothing_is_left;

/// An output addressed as a text, as derivations are.
const TEXT: &str = r#"{ "hashAlgo": "text:sha256" }"#;

/// Adds a derivation whose build makes a derivation that runs `script`, and returns its path.
fn maker(scene: &Scene, name: &str, script: &str) -> String {
    // What it makes is written by a store of its own, so that this one does not know it.
    let other = Scene::new();
    let inner = add(&other, name, script, FLOATING, &[]);
    let made = fs::read_to_string(other.real(&inner)).unwrap();
    // By way of a file: in the maker itself, what stands for the outputs of the other one would be its own.
    let source = scene.ok(&["add", &scene.write("text", made)]);
    let script = format!("read -r line < {source} || :; printf %s \"$line\" > $out");
    let maker = json(&format!("{name}.drv"), &script, TEXT, &[]);
    let maker = maker.replace("\"inputSrcs\": []", &format!("\"inputSrcs\": [{source:?}]"));
    scene.ok(&["derivation", "add", &scene.write("maker.json", maker)])
}

#[test]
fn what_a_build_makes_is_built() {
    let scene = Scene::new();
    let maker = maker(&scene, "inner", "echo from inside; echo inner > $out");
    let word = format!("{maker}^out^out");
    let said = scene.fails(1, &["sandbox", "show", &word]);
    assert!(said.contains("is not built yet"), "{said}");
    let link = text(scene.path("result"));
    let run = scene.run(&["build", "--out-link", &link, &word]);
    assert_eq!((run.code, builds(&run)), (Some(0), 2), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("{maker}^out is the derivation /nix/store/")), "{}", run.stderr);
    let out = run.stdout.trim_end();
    assert_eq!(fs::read_to_string(scene.real(out)).unwrap(), "inner\n");
    assert_eq!(fs::read_link(&link).unwrap(), scene.real(out));
    // Once more, all of it is known.
    let printed: serde_json::Value =
        serde_json::from_str(&scene.ok(&["build", "--no-link", "--json", &word])).unwrap();
    assert_eq!(printed[0]["outputs"]["out"], out);
    let inner = printed[0]["drvPath"].as_str().unwrap();
    assert_eq!(scene.ok(&["query", "--outputs", &maker]), inner);
    assert_eq!(scene.ok(&["log", inner]), "from inside");
    assert_eq!(builds(&scene.run(&["build", "--no-link", &word])), 0);
    assert!(scene.ok(&["sandbox", "show", &word]).starts_with("# the sandbox of"));
    assert_eq!(scene.ok(&["sandbox", "run", &word, "--", "/bin/sh", "-c", "echo here"]), "here");
}

#[test]
fn it_is_taken_in_like_any_other() {
    let scene = Scene::new();
    let maker = maker(&scene, "inner", "echo inner > $out");
    let path = StoreDir::default().parse(&maker).unwrap();
    let inner = Placeholder::of_output(&path, "out").and_its_output("out");
    let user = json("user", &format!("read line < {inner}; echo $line user > $out"), FLOATING, &[]);
    let wanted =
        r#"{ "outputs": [], "dynamicOutputs": { "out": { "outputs": ["out"], "dynamicOutputs": {} } } }"#;
    let user = user.replace("\"inputDrvs\": {", &format!("\"inputDrvs\": {{ {maker:?}: {wanted}"));
    let user = scene.ok(&["derivation", "add", &scene.write("user.json", user)]);
    assert!(fs::read(scene.real(&user)).unwrap().starts_with(b"DrvWithVersion(\"xp-dyn-drv\","));
    let run = scene.run(&["build", "--no-link", &user]);
    assert_eq!((run.code, builds(&run)), (Some(0), 3), "{}", run.stderr);
    assert_eq!(fs::read_to_string(scene.real(run.stdout.trim_end())).unwrap(), "inner user\n");
    assert_eq!(builds(&scene.run(&["build", "--no-link", &user])), 0);
}

#[test]
fn what_is_no_derivation_is_refused_by_name() {
    let scene = Scene::new();
    let evil = add(&scene, "evil.drv", "echo 'Derive([' > $out", TEXT, &[]);
    for word in [format!("{evil}^out^out"), format!("{evil}^out^out^out")] {
        let run = scene.run(&["build", "--no-link", &word]);
        assert_ne!(run.code, Some(0));
        assert!(run.stderr.contains("cannot understand the derivation"), "{}", run.stderr);
    }
    let said = scene.fails(1, &["build", "--no-link", &format!("{evil}^out,dev^out")]);
    assert!(said.contains("cannot take the output `out,dev` for a derivation"), "{said}");
}

#[test]
fn several_processes_build_it_once_together() {
    let scene = Scene::new();
    let busy = "n=0; while [ $n -lt 100000 ]; do n=$((n+1)); done; echo inner > $out";
    let word = format!("{}^out^out", maker(&scene, "inner", busy));
    let start = || {
        let mut command = scene.command(&["build", "--no-link", &word]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let all: Vec<Child> = (0..6).map(|_| start()).collect();
    let runs: Vec<Run> = all.into_iter().map(|child| child.wait_with_output().unwrap().into()).collect();
    let said: Vec<&str> = runs.iter().map(|run| run.stderr.as_str()).collect();
    assert!(runs.iter().all(|run| run.code == Some(0) && run.stdout == runs[0].stdout), "{said:#?}");
    let built: usize = said.iter().map(|said| said.matches("\nbuilt ").count()).sum();
    assert_eq!(built, 2, "{said:#?}");
    assert_nothing_is_left(&scene, "six processes");
}
