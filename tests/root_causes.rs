//! What is told of failures: one block for each that has a cause of its own, and a list in the end.

use crate::failures;
use crate::scene::{Run, Scene, derivation, shell_derivation};

/// Returns an entry of a file of derivations, whose inputs are others of it.
fn entry(name: &str, script: &str, inputs: &[&str]) -> String {
    let path = |name: &str| format!("/nix/store/{:0>32}-{name}.drv", name.len());
    let inputs: Vec<String> = inputs.iter().map(|input| format!("{:?}: [\"out\"]", path(input))).collect();
    let inputs = format!("\"inputDrvs\": {{ {} }}", inputs.join(", "));
    format!("{:?}: {}", path(name), shell_derivation(name, script).replace("\"inputDrvs\": {}", &inputs))
}

fn file(scene: &Scene, entries: &[String]) -> String {
    scene.write("graph.json", format!("{{ {} }}", entries.join(",\n")))
}

/// A library that fails in a phase, what needs it up to a program, and something else.
fn graph(scene: &Scene) -> String {
    let phase = "echo '@nix { \"action\": \"setPhase\", \"phase\": \"checkPhase\" }'; echo no luck; exit 3";
    let tools = ["b", "bb", "bbb", "bbbb"].map(|name| entry(name, "", &["library"]));
    let program = entry("program-1.0", "", &["b", "bb", "bbb", "bbbb", "fine"]);
    let fine = entry("fine", "echo fine > $out", &[]);
    file(scene, &[&[entry("library", phase, &[]), program, fine][..], &tools].concat())
}

fn build(scene: &Scene, file: &str, options: &[&str]) -> Run {
    scene.run(&[&["build", "--no-link", "-j", "1", file], options].concat())
}

#[test]
fn a_block_says_what_failed_in_which_phase_why_it_was_wanted_and_what_next() {
    let scene = Scene::new();
    let file = graph(&scene);
    failures::check(&scene, "root-cause", &build(&scene, &file, &[]));
    let verbose = build(&scene, &file, &["-v"]).stderr;
    let named = verbose.lines().filter(|line| line.starts_with("not building /nix/store/")).count();
    assert_eq!(named, 5, "{verbose}");
}

#[test]
fn under_keep_going_the_root_causes_are_summed_up() {
    let scene = Scene::new();
    let other = entry("last", "exit 4", &["fine"]);
    let graph = graph(&scene);
    let text = std::fs::read_to_string(graph).unwrap();
    let file = scene.write("more.json", format!("{{ {other}, {}", text.trim_start_matches('{')));
    let run = build(&scene, &file, &["--keep-going"]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    let (blocks, list) = run.stderr.split_once("store: 2 builds failed").unwrap();
    assert_eq!(blocks.matches("store: the builder of ").count(), 2, "{}", run.stderr);
    assert!(list.starts_with(", and 5 that need what failed were not tried:\n"), "{list}");
    let lines: Vec<&str> = list.trim_end().lines().skip(1).collect();
    assert_eq!(lines.len(), 2, "{list}");
    for name in ["-library.drv: failed", "-last.drv: failed"] {
        assert!(lines.iter().any(|line| line.ends_with(name)), "{list}");
    }
}

#[test]
fn ways_to_fail_add_up_in_the_exit_code() {
    let scene = Scene::new();
    let slow = scene.write("slow.json", shell_derivation("slow", "while :; do :; done"));
    let [failing, hash, rejected] = ["failing", "wrong-hash", "disallowed"].map(derivation);
    let kinds = [(failing, 100), (slow, 101), (hash, 102), (rejected, 0)];
    for chosen in 1..1 << kinds.len() {
        let chosen: Vec<_> =
            (0..kinds.len()).filter(|bit| chosen & (1 << bit) != 0).map(|bit| &kinds[bit]).collect();
        let files: Vec<&str> = chosen.iter().map(|(file, _)| file.as_str()).collect();
        let code = chosen.iter().fold(0, |code, (_, bits)| code | bits).max(1);
        let options = ["build", "--no-link", "--keep-going", "--quiet", "--timeout", "2"];
        let run = scene.run(&[&options[..], &files].concat());
        assert_eq!(run.code, Some(code), "{files:?}: {}", run.stderr);
    }
}
