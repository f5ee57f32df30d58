//! `external-builders`: programs that run the builders of some systems.

use std::fs;

use crate::scene::{Run, Scene, shell_derivation, text};

/// Writes a program that runs builders, and a derivation for it; `$json` is its file, `$out` where the output is to be.
fn build(scene: &Scene, script: &str, options: &[&str]) -> Run {
    let value = r#"value() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$json"; }"#;
    let out = "out=$(value realStoreDir)/$(value out | sed s,.*/,,)";
    let program = scene.program("run-builder", format!("#!/bin/sh\njson=$2\n{value}\n{out}\n{script}\n"));
    let setting =
        format!(r#"[{{"systems":["x-linux","riscv64-linux"],"program":"{program}","args":["first"]}}]"#);
    let json = shell_derivation("foreign", "echo \"$text\" > $out").replace("x86_64-linux", "riscv64-linux");
    let file = scene.write("foreign.json", json.replace(r#""env": {}"#, r#""env": { "text": "hello" }"#));
    let verb = ["build", "--no-link", "-L", "--option", "external-builders", &setting, &file];
    scene.run(&[&verb, options].concat())
}

#[test]
fn a_program_runs_the_builder_of_a_foreign_system() {
    let scene = Scene::new();
    let copy = text(scene.path("copy.json"));
    let script = format!("cp $json {copy}; echo $1 runs $(value system); pwd; echo made > $out");
    let run = build(&scene, &script, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("foreign> first runs riscv64-linux"), "{}", run.stderr);
    let output = run.stdout.trim();
    assert_eq!(fs::read_to_string(scene.real(output)).unwrap(), "made\n");
    let told: serde_json::Value = serde_json::from_slice(&fs::read(&copy).unwrap()).unwrap();
    assert_eq!(told["version"], 1);
    assert_eq!(told["builder"], "/bin/sh");
    assert_eq!(told["args"], serde_json::json!(["-c", "echo \"$text\" > $out"]));
    assert_eq!(told["env"]["text"], "hello");
    assert_eq!(told["env"]["NIX_BUILD_TOP"], "/build");
    assert_eq!(told["outputs"]["out"], output);
    assert_eq!(told["storeDir"], "/nix/store");
    assert_eq!(told["realStoreDir"], text(scene.root().join("nix/store")));
    assert_eq!(told["tmpDirInSandbox"], "/build");
    assert_eq!(told["inputPaths"], serde_json::json!([]));
    let (top, tmp) = (told["topTmpDir"].as_str().unwrap(), told["tmpDir"].as_str().unwrap());
    assert_eq!(tmp, format!("{top}/build"));
    assert!(run.stderr.contains(&format!("foreign> {tmp}")), "it runs there: {}", run.stderr);
    assert!(!std::path::Path::new(top).exists(), "it is removed");
    let info = scene.ok(&["path-info", "--json", output]);
    assert!(info.contains("it was run by `") && info.contains("run-builder`"), "it is written down: {info}");
    scene.ok(&["verify"]);
}

#[test]
fn what_the_program_does_wrong_is_a_failed_build() {
    let scene = Scene::new();
    let run = build(&scene, "echo no kernel; exit 7", &[]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(run.stderr.contains("returned 7") && run.stderr.contains("> no kernel"), "{}", run.stderr);
    let run = build(&scene, "exit 0", &[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("did not make its output `out`"), "{}", run.stderr);
    let run = build(&scene, "sleep 600", &["--max-silent-time", "1"]);
    assert_eq!(run.code, Some(101), "{}", run.stderr);
    let wrong = scene.fails(2, &["config", "show", "--option", "external-builders", "{}"]);
    assert!(wrong.contains("expected a list in JSON"), "{wrong}");
}
