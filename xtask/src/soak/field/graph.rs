//! Random graphs of small derivations. Some are of a pool, from which everybody takes; others are built once.

use serde_json::{Map, Value, json};

use super::SHELL;
use super::chance::Chance;

/// So many derivations are in a pool.
const POOL: usize = 40;

/// A derivation with all that it needs.
pub(super) struct Goal {
    pub(super) name: String,
    /// JSON, as `store build` takes it.
    pub(super) text: String,
}

/// Returns a goal that takes inputs from the pool of that number: one of the pool, or one that nobody else has.
pub(super) fn goal(chance: &mut Chance, seed: u64, pool: u64, own: u64) -> Goal {
    let mut all = Map::new();
    let top = chance.below(POOL);
    if chance.once_in(2) {
        let name = add(&mut all, seed, pool, top);
        return finish(all, name);
    }
    let inputs: Vec<usize> = (0..1 + chance.below(3)).map(|_| chance.below(POOL)).collect();
    let inputs = inputs.into_iter().map(|input| key(&add(&mut all, seed, pool, input))).collect();
    let name = format!("own-{seed}-{own}");
    let kind = chance.below(KINDS.len());
    all.insert(key(&name), derivation(&name, kind, inputs));
    finish(all, name)
}

fn finish(all: Map<String, Value>, name: String) -> Goal {
    Goal { name, text: Value::Object(all).to_string() }
}

/// Adds one of a pool and what it needs; it is the same whoever asks.
fn add(all: &mut Map<String, Value>, seed: u64, pool: u64, number: usize) -> String {
    let name = format!("pool-{seed}-{pool}-{number}");
    if all.contains_key(&key(&name)) {
        return name;
    }
    let mut chance = Chance::new(seed ^ pool << 20, number);
    let count = if number == 0 { 0 } else { chance.below(4) };
    let inputs: Vec<usize> = (0..count).map(|_| chance.below(number)).collect();
    let kind = chance.below(KINDS.len());
    let inputs = inputs.into_iter().map(|input| key(&add(all, seed, pool, input))).collect();
    all.insert(key(&name), derivation(&name, kind, inputs));
    name
}

/// What outputs are made of. Each has its name in `name`, and in `needs` what of its inputs it refers to; many files are
/// like those of others, and some inputs are needed to build only.
const KINDS: &[&str] = &[
    "b mkdir $out; echo /nix/store/* > $out/needs; b seq 1 3000 > $out/same; b cp $out/same $out/again",
    "b mkdir -p $out/a/b/c; echo > $out/needs; echo /nix/store/* > $out/a/b/c/list; b seq 1 200 > $out/a/same; b ln -s a/same $out/link",
    "b mkdir $out; : > $out/needs; b seq 1 9000 > $out/same; b chmod 755 $out/same",
    "b mkdir $out; set -- /nix/store/*; echo $1 > $out/needs; echo $out > $out/self; for i in 1 2 3 4 5 6 7 8; do echo $i $name > $out/file-$i; done",
];

fn derivation(name: &str, kind: usize, inputs: Vec<String>) -> Value {
    let inputs: Map<_, _> = inputs.into_iter().map(|input| (input, json!(["out"]))).collect();
    let script = format!("set -e; b() {{ {SHELL} \"$@\"; }}; {}; echo $name > $out/name", KINDS[kind]);
    json!({
        "name": name,
        "outputs": { "out": {} },
        "inputSrcs": [],
        "inputDrvs": inputs,
        "system": format!("{}-linux", std::env::consts::ARCH),
        "builder": "/bin/sh",
        "args": ["-c", script],
        "env": { "name": name },
    })
}

/// A name for the file only; the path follows from what is in it.
fn key(name: &str) -> String {
    let digest: String = name.bytes().rev().chain(std::iter::repeat(b'-')).take(32).map(digit).collect();
    format!("/nix/store/{digest}-{name}.drv")
}

fn digit(byte: u8) -> char {
    if byte.is_ascii_digit() { byte as char } else { 'z' }
}
