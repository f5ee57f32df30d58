//! `store derivation graph`.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::scene::{Scene, derivation, has};

/// Returns what is left of a path's line: its name and what stands around it.
fn without_digests(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("/nix/store/") {
        Some((before, path)) => format!("{before}{}\n", &path[33..]),
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn a_tree_shows_inputs_once() {
    let scene = Scene::new();
    let tree = scene.ok(&["derivation", "graph", &derivation("diamond")]);
    test_support::check("cli/graph-diamond.txt", without_digests(&tree));
    assert!(!scene.root().exists(), "looking makes no store");
    let drv = scene.ok(&["derivation", "add", &derivation("diamond")]);
    assert_eq!(scene.ok(&["derivation", "graph", &drv]), tree);
    let near = scene.ok(&["derivation", "graph", "--depth", "1", &drv]);
    assert!(near.contains("-left.drv (…)") && !near.contains("bottom"), "{near}");
}

#[test]
fn what_is_not_at_hand_is_shown_by_its_path() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("diamond")]);
    let text = std::fs::read(scene.real(&drv)).unwrap();
    let file = scene.write(drv.rsplit('/').next().unwrap(), text);
    let elsewhere = ["--store", "elsewhere", "derivation", "graph", &file];
    let output = scene.elsewhere().args(elsewhere).output().unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("-left.drv (not at hand)"), "{tree}");
}

#[test]
fn json_has_nodes_and_edges() {
    let scene = Scene::new();
    let json = scene.ok(&["derivation", "graph", "--json", &derivation("diamond")]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let nodes = value["nodes"].as_array().unwrap();
    assert_eq!(value["roots"][0], nodes[0]["path"]);
    assert!(
        nodes.iter().all(|node| node["outputs"]["out"].is_string() && node["followed"] == true),
        "{value:#}"
    );
    let edges = value["edges"].as_array().unwrap();
    assert!(
        edges.len() >= 4 && edges.iter().all(|edge| edge["outputs"] == serde_json::json!(["out"])),
        "{value:#}"
    );
    assert_eq!(json, scene.ok(&["derivation", "graph", "--format", "json", &derivation("diamond")]));
}

#[test]
fn graphviz_reads_the_graph() {
    let scene = Scene::new();
    let dot = scene.ok(&["derivation", "graph", "--format", "dot", "--sources", &derivation("diamond")]);
    assert!(dot.starts_with("digraph derivations {\n") && dot.ends_with('}'), "{dot}");
    assert_eq!(dot.lines().filter(|line| line.contains(" -> \"")).count(), 4, "{dot}");
    if !has("dot") {
        return;
    }
    let mut graphviz =
        Command::new("dot").arg("-Tplain").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    graphviz.stdin.take().unwrap().write_all(dot.as_bytes()).unwrap();
    assert!(graphviz.wait().unwrap().success());
}
