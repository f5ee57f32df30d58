//! What derivations say about their outputs: no output becomes valid that breaks a rule, and one is told how.

use std::fs;

use serde_json::{Value, json};

use crate::attributes::{derivation, refused, source};
use crate::failures;
use crate::scene::{Scene, text};

/// Three objects, each of which refers to the next: `top`, `middle` and a source, `leaf`.
struct Chain {
    scene: Scene,
    leaf: String,
    middle: String,
    /// The inputs of a derivation that takes in `middle`.
    inputs: Value,
}

impl Chain {
    fn new() -> Self {
        let scene = Scene::new();
        let leaf = source(&scene, "leaf", "leaf");
        let mut drv = derivation("middle", &format!("echo {leaf} > $out"), false, &json!({}));
        drv["inputSrcs"] = json!([leaf]);
        let file = scene.write("middle.json", drv.to_string());
        let middle = scene.ok(&["build", "--no-link", &file]);
        let drv = scene.ok(&["derivation", "add", &file]);
        Self { scene, leaf, middle, inputs: json!({ drv: ["out"] }) }
    }

    /// A derivation of the outputs `out`, which refers to `middle`, and `dev`, which refers to `out` and itself.
    fn top(&self, structured: bool, attributes: &Value) -> Value {
        let script = format!("echo {} > {OUT}; echo {OUT} {DEV} > {DEV}", self.middle);
        let mut drv = derivation("top", &script, structured, attributes);
        drv["outputs"]["dev"] = json!({});
        drv["inputDrvs"] = self.inputs.clone();
        drv
    }

    fn accepts(&self, structured: bool, attributes: &Value) {
        let file = self.scene.write("top.json", self.top(structured, attributes).to_string());
        self.scene.ok(&["build", "--no-link", &file]);
    }

    /// Refuses outputs by one rule, and lets none become valid.
    fn rejects(&self, structured: bool, attributes: &Value, output: &str, rule: &str) -> String {
        let said = refused(&self.scene, 1, &self.top(structured, attributes), &[]);
        let head = format!("store: the output `{output}` of `");
        let line = said.lines().find(|line| line.starts_with(&head)).unwrap_or_else(|| panic!("{said}"));
        assert!(line.contains(&format!("-top.drv` breaks its rule `{rule}`: ")), "{said}");
        // What is valid is in place.
        let names = fs::read_dir(self.scene.root().join("nix/store")).unwrap();
        let names: Vec<String> = names.map(|entry| text(entry.unwrap().file_name())).collect();
        assert!(names.iter().all(|name| !name.ends_with("-top") && !name.ends_with("-top-dev")), "{names:?}");
        said
    }
}

const OUT: &str = "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9";
const DEV: &str = "/02qcpld1y6xhs5gz9bchpxaw0xdhmsp5dv88lh25r2ss44kh8dxz";

/// Rules of one kind in variables, for all outputs.
#[test]
fn rules_in_variables_are_for_every_output() {
    let chain = Chain::new();
    let Chain { leaf, middle, .. } = &chain;
    for (rule, value, output) in [
        ("allowedReferences", format!("{middle} dev"), "dev"),
        ("allowedReferences", String::new(), "dev"),
        ("disallowedReferences", middle.clone(), "out"),
        ("disallowedReferences", "dev".to_owned(), "dev"),
        ("disallowedReferences", OUT.to_owned(), "dev"),
        ("allowedRequisites", format!("{middle} {leaf}"), "dev"),
        ("disallowedRequisites", leaf.clone(), "dev"),
        ("disallowedRequisites", "out".to_owned(), "dev"),
    ] {
        chain.rejects(false, &json!({ rule: value }), output, rule);
    }
    for (rule, value) in [
        ("allowedReferences", format!("{middle} out {DEV}")),
        ("disallowedReferences", leaf.clone()),
        // In its own closure an output may be, whatever is said.
        ("allowedRequisites", format!("{middle} {leaf} out")),
        ("disallowedRequisites", "dev".to_owned()),
        // A size is a rule in structured attributes only.
        ("maxSize", "1".to_owned()),
    ] {
        chain.accepts(false, &json!({ rule: value }));
    }
}

#[test]
fn rules_in_structured_attributes_are_for_one_output() {
    let chain = Chain::new();
    let Chain { leaf, middle, .. } = &chain;
    let of = |output: &str, rule: &str, value: Value| json!({ "outputChecks": { output: { rule: value } } });
    for (output, rule, value) in [
        ("out", "allowedReferences", json!([])),
        ("dev", "allowedReferences", json!(["out"])),
        ("out", "disallowedReferences", json!([middle])),
        ("dev", "disallowedReferences", json!(["dev"])),
        // Here an output is in its own closure.
        ("out", "allowedRequisites", json!([middle, leaf])),
        ("out", "disallowedRequisites", json!(["out"])),
        ("out", "disallowedRequisites", json!([leaf])),
        ("out", "maxSize", json!(1)),
        ("dev", "maxClosureSize", json!(600)),
    ] {
        chain.rejects(true, &of(output, rule, value), output, rule);
    }
    for (output, rule, value) in [
        ("out", "allowedReferences", json!([middle])),
        ("dev", "allowedReferences", json!([OUT, "dev"])),
        ("out", "allowedRequisites", json!(["out", middle, leaf])),
        ("out", "disallowedReferences", json!([leaf, "out", "dev"])),
        ("out", "disallowedRequisites", json!(["dev"])),
        ("out", "maxSize", json!(1000)),
        ("dev", "maxClosureSize", json!(10000)),
    ] {
        chain.accepts(true, &of(output, rule, value));
    }
    // Of rules for all outputs nothing is left.
    chain.accepts(true, &json!({ "allowedReferences": [], "outputChecks": {} }));
}

/// Rules name outputs whose paths are not known before they are built.
#[test]
fn rules_hold_for_outputs_that_are_named_by_their_contents() {
    let chain = Chain::new();
    let floating = |structured, attributes: &Value| {
        let mut top = chain.top(structured, attributes);
        for output in ["out", "dev"] {
            top["outputs"][output] = json!({ "hashAlgo": "r:sha256" });
        }
        top
    };
    for (structured, attributes) in [
        (false, json!({ "disallowedReferences": "out" })),
        (false, json!({ "disallowedReferences": OUT })),
        (true, json!({ "outputChecks": { "dev": { "disallowedReferences": ["dev"] } } })),
        (
            true,
            json!({ "outputChecks": { "dev": { "allowedRequisites": ["dev", chain.middle, chain.leaf] } } }),
        ),
    ] {
        let said = refused(&chain.scene, 1, &floating(structured, &attributes), &[]);
        assert!(said.contains("store: the output `dev` of `") && !said.contains(OUT), "{said}");
    }
    let allowed = json!({ "outputChecks": { "dev": { "allowedReferences": ["dev", OUT] } } });
    let file = chain.scene.write("top.json", floating(true, &allowed).to_string());
    chain.scene.ok(&["build", "--no-link", &file]);
}

#[test]
fn one_is_told_by_which_way_something_is_in_a_closure() {
    let chain = Chain::new();
    let attributes = json!({ "outputChecks": { "dev": { "disallowedRequisites": [chain.leaf] } } });
    let file = chain.scene.write("top.json", chain.top(true, &attributes).to_string());
    failures::check(&chain.scene, "rejected-closure", &chain.scene.run(&["build", "--no-link", &file]));
    let attributes = json!({ "allowedReferences": "dev" });
    let file = chain.scene.write("top.json", chain.top(false, &attributes).to_string());
    failures::check(&chain.scene, "rejected-reference", &chain.scene.run(&["build", "--no-link", &file]));
    let attributes = json!({ "outputChecks": { "dev": { "maxClosureSize": 500 } } });
    let file = chain.scene.write("top.json", chain.top(true, &attributes).to_string());
    failures::check(&chain.scene, "rejected-closure-size", &chain.scene.run(&["build", "--no-link", &file]));
}

#[test]
fn a_rule_about_an_output_that_is_not_there_is_refused_before_anything_runs() {
    let chain = Chain::new();
    let attributes = json!({ "disallowedRequisites": "lib" });
    let file = chain.scene.write("top.json", chain.top(false, &attributes).to_string());
    failures::check(&chain.scene, "rule-without-output", &chain.scene.run(&["build", "--no-link", &file]));
}

#[test]
fn references_that_are_discarded_are_not_registered() {
    let chain = Chain::new();
    let attributes = json!({ "unsafeDiscardReferences": { "dev": true, "out": false } });
    chain.accepts(true, &attributes);
    let file = chain.scene.path("top.json");
    let paths = chain.scene.ok(&["build", "--no-link", &text(file)]);
    let references = |name: &str| {
        let path = paths.lines().find(|path| path.ends_with(name)).unwrap();
        chain.scene.ok(&["query", "--references", path])
    };
    assert_eq!(references("-top"), chain.middle);
    assert_eq!(references("-top-dev"), "");
    // Nor has a rule anything to find then.
    let mut attributes = attributes;
    attributes["outputChecks"] = json!({ "dev": { "allowedReferences": [] } });
    chain.accepts(true, &attributes);
}

#[test]
fn a_rule_that_is_broken_does_not_hide_a_builder_that_failed() {
    let chain = Chain::new();
    let attributes = json!({ "disallowedReferences": chain.middle });
    let top = chain.scene.write("top.json", chain.top(false, &attributes).to_string());
    let failing =
        chain.scene.write("failing.json", derivation("failing", "exit 1", false, &json!({})).to_string());
    chain.scene.fails(1, &["build", "--no-link", "--keep-going", &top]);
    chain.scene.fails(100, &["build", "--no-link", "--keep-going", &top, &failing]);
}
