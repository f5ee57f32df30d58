//! `store query` beside `nix-store --query`, on stores of chance.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Map, Value, json};
use test_support::Random;

use crate::peer::{nix_store, nix_store_command};
use crate::scene::{Scene, has_nix};

/// A store with derivations, some of whose outputs are valid, and what there is in it.
pub(crate) struct Chance {
    pub(crate) scene: Scene,
    pub(crate) random: Random,
    pub(crate) derivations: Vec<String>,
    /// What is valid, and what that refers to.
    pub(crate) outputs: BTreeMap<String, Vec<String>>,
}

impl Chance {
    /// Makes a store with the numbers that follow from `seed`. Nix registers the outputs, which have no files.
    pub(crate) fn new(seed: u64, count: usize) -> Self {
        let (scene, mut random) = (Scene::new(), Random::seeded(seed));
        let file = scene.write("graph.json", derivations(&mut random, count).to_string());
        scene.ok(&["derivation", "add", &file]);
        let names = std::fs::read_dir(scene.root().join("nix/store")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let all: Vec<_> =
            names.filter(|name| name.ends_with(".drv")).map(|name| format!("/nix/store/{name}")).collect();
        let ordered = [&["query", "-R"][..], &all.iter().map(String::as_str).collect::<Vec<_>>()].concat();
        let derivations: Vec<String> = scene.ok(&ordered).lines().map(str::to_owned).collect();
        let mut chance = Self { scene, random, derivations, outputs: BTreeMap::new() };
        let text = chance.choose_outputs();
        chance.load(&text);
        chance
    }

    /// Chooses what is valid, inputs first, and returns it as Nix reads it.
    fn choose_outputs(&mut self) -> String {
        let (mut made, mut text) = (BTreeMap::new(), String::new());
        for drv in &self.derivations {
            let lines = |relation| -> Vec<String> {
                self.scene.ok(&["query", relation, drv]).lines().map(str::to_owned).collect()
            };
            let (outputs, inputs) = (lines("--outputs"), lines("--references"));
            let at_hand: Vec<String> = inputs
                .iter()
                .flat_map(|input: &String| made.get(input).cloned().unwrap_or_default())
                .collect();
            made.insert(drv.clone(), Vec::new());
            if self.random.below(4) == 0 {
                continue;
            }
            for output in outputs {
                let mut references: Vec<String> = made[drv].clone();
                references.extend(at_hand.iter().cloned());
                references.retain(|_| self.random.below(4) > 0);
                if self.random.below(3) == 0 {
                    references.push(output.clone());
                }
                references.sort();
                references.dedup();
                let deriver = if self.random.below(8) == 0 { "" } else { drv };
                let hash = format!("{:016x}", self.random.number()).repeat(4);
                let size = 8 * (1 + self.random.below(100_000));
                write!(text, "{output}\n{hash}\n{size}\n{deriver}\n{}\n", references.len()).unwrap();
                references.iter().for_each(|reference| writeln!(text, "{reference}").unwrap());
                self.outputs.insert(output.clone(), references);
                made.entry(drv.clone()).or_default().push(output);
            }
        }
        text
    }

    fn load(&self, text: &str) {
        let mut command = nix_store_command(&self.scene, &["--load-db"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns up to three of the paths that there are.
    fn some(&mut self) -> Vec<String> {
        let all: Vec<_> = self.derivations.iter().chain(self.outputs.keys()).cloned().collect();
        (0..1 + self.random.below(3)).map(|_| all[self.random.below(all.len())].clone()).collect()
    }
}

fn derivations(random: &mut Random, count: usize) -> Value {
    let names: Vec<_> = (0..count)
        .map(|number| match random.below(4) {
            0 => format!("alpha-1.{number}"),
            1 => format!("beta{number}"),
            2 => format!("gamma-{number}-x"),
            _ => format!("delta-lib-2.{number}"),
        })
        .collect();
    // For the file only: the real paths follow once those of outputs are filled in.
    let key = |number: usize| format!("/nix/store/{number:032}-{}.drv", names[number]);
    let one = |number: usize| {
        let inputs = (0..if number > 0 { random.below(4) } else { 0 }).map(|_| random.below(number));
        let inputs: Map<_, _> = inputs.map(|input| (key(input), json!(["out"]))).collect();
        let outputs =
            if random.below(3) == 0 { json!({ "out": {}, "dev": {} }) } else { json!({ "out": {} }) };
        let drv = json!({
            "name": names[number], "outputs": outputs, "inputSrcs": [], "inputDrvs": inputs,
            "system": "x86_64-linux", "builder": "/bin/sh", "args": [], "env": { "number": number.to_string() },
        });
        (key(number), drv)
    };
    (0..count).map(one).collect::<Map<_, _>>().into()
}

/// Relations whose text and order is Nix's.
const ALIKE: &[&[&str]] = &[
    &["--requisites"],
    &["--requisites", "--include-outputs"],
    &["--references"],
    &["--referrers"],
    &["--referrers-closure"],
    &["--outputs"],
    &["--deriver"],
    &["--hash"],
    &["--size"],
    &["--tree"],
    &["--graph"],
    &["--graphml"],
    &["--resolve"],
    &["--requisites", "--use-output"],
    &["--references", "--use-output"],
    &["--graph", "--use-output"],
];

#[test]
fn answers_are_those_of_nix() {
    if !has_nix() {
        return;
    }
    let mut told = 0;
    for seed in 0..3 {
        let mut chance = Chance::new(seed, 24);
        for relation in ALIKE {
            let paths = chance.some();
            let asked: Vec<&str> = relation.iter().copied().chain(paths.iter().map(String::as_str)).collect();
            let nixs =
                nix_store_command(&chance.scene, &[&["--query"], &asked[..]].concat()).output().unwrap();
            let ours = chance.scene.run(&[&["query"], &asked[..]].concat());
            // Outputs that are not there cannot be asked about, and both say so.
            let code = if nixs.status.success() { Some(0) } else { Some(1) };
            assert_eq!(ours.code, code, "{asked:?}: {}", ours.stderr);
            assert_eq!(ours.stdout, String::from_utf8(nixs.stdout).unwrap(), "{asked:?}");
            told += usize::from(!ours.stdout.is_empty());
        }
    }
    assert!(told > ALIKE.len(), "most of them have an answer: {told}");
}

#[test]
fn roots_are_those_of_nix() {
    if !has_nix() {
        return;
    }
    let mut chance = Chance::new(7, 20);
    let mut rooted: Vec<_> = chance.outputs.keys().take(3).cloned().collect();
    rooted.push(chance.derivations[5].clone());
    for (number, path) in rooted.iter().enumerate() {
        let link = chance.scene.root().join(format!("nix/var/nix/gcroots/root-{number}"));
        std::os::unix::fs::symlink(path, link).unwrap();
    }
    for _ in 0..8 {
        let paths = chance.some();
        let asked: Vec<&str> = ["--roots"].into_iter().chain(paths.iter().map(String::as_str)).collect();
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let nixs = nix_store(&chance.scene, &[&["--query"], &asked[..]].concat());
        let ours = chance.scene.ok(&[&["query"], &asked[..]].concat());
        assert_eq!(sorted(&ours), sorted(&nixs), "{asked:?}");
    }
}
