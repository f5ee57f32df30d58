//! Derivations to build: JSON in the form that `nix show-derivation` prints, output paths left open.

use serde_json::{Map, Value, json};

/// A derivation without inputs.
pub(super) fn independent(count: usize) -> Value {
    closure((0..count).map(|index| (index, trivial(Vec::new()))))
}

/// `chain` derivations one after the other, and `waiting` ones that all need the last of them.
pub(super) fn waiting(chain: usize, waiting: usize) -> Value {
    let input = |index: usize| index.checked_sub(1).into_iter().collect();
    let links = (0..chain).map(|index| (index, trivial(input(index))));
    closure(links.chain((chain..chain + waiting).map(|index| (index, trivial(vec![chain - 1])))))
}

/// Derivations that all need the same sources.
pub(super) fn consumers(count: usize, sources: &[String]) -> Value {
    let consumer = |index| {
        let mut one = trivial(Vec::new());
        one["inputSrcs"] = json!(sources);
        one["env"]["number"] = json!(format!("{index}"));
        (index, one)
    };
    closure((0..count).map(consumer))
}

/// Derivations like those of packages: a few inputs each, and some kilobytes of variables.
pub(super) fn packages(count: usize) -> Value {
    let package = |index: usize| {
        let inputs = [1, 2, 7, 20].into_iter().filter_map(|back| index.checked_sub(back));
        let mut one = trivial(inputs.collect());
        for variable in 0..20 {
            one["env"][format!("variable{variable}")] =
                json!(format!("line of {index}\n").repeat(10 + variable));
        }
        (index, one)
    };
    closure((0..count).map(package))
}

/// A derivation that copies its input, a file in the store.
pub(super) fn copying(input: &str) -> Value {
    let mut one = trivial(Vec::new());
    one["inputSrcs"] = json!([input]);
    one["args"] = json!(["-c", format!("/bin/cp -r {input} $out")]);
    closure([(0, one)].into_iter())
}

/// A derivation that runs a script.
pub(super) fn script(script: &str) -> Value {
    let mut one = trivial(Vec::new());
    one["args"] = json!(["-c", script]);
    one["env"] = json!({ "PATH": "/usr/bin:/bin" });
    closure([(0, one)].into_iter())
}

fn closure(derivations: impl Iterator<Item = (usize, Value)>) -> Value {
    Value::Object(derivations.map(|(index, one)| with_name(index, one)).collect::<Map<_, _>>())
}

fn with_name(index: usize, mut one: Value) -> (String, Value) {
    one["name"] = json!(name(index));
    one["env"]["name"] = json!(name(index));
    (key(index), one)
}

fn trivial(inputs: Vec<usize>) -> Value {
    let inputs: Map<_, _> = inputs.into_iter().map(|index| (key(index), json!(["out"]))).collect();
    json!({
        "outputs": { "out": {} },
        "inputSrcs": [],
        "inputDrvs": inputs,
        "system": format!("{}-linux", std::env::consts::ARCH),
        "builder": "/bin/sh",
        "args": ["-c", "echo done > $out"],
        "env": {},
    })
}

fn name(index: usize) -> String {
    format!("bench-{index}")
}

/// A name for the file only: the real path follows once the output paths are filled in.
fn key(index: usize) -> String {
    format!("/nix/store/{index:032}-{}.drv", name(index))
}
