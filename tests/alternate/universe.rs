//! All that a program may put into a store: sources, texts and derivations, with paths that are known from the beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Map, Value};
use test_support::Random;

use super::stores::Place;
use crate::scene::{Scene, text};

pub(super) const SOURCES: usize = 4;
pub(super) const DERIVATIONS: usize = 9;

/// What a builder does with its inputs, and what comes out is like what comes out of others, or not.
const SCRIPTS: &[&str] = &[
    "b mkdir $out; echo $inputs > $out/inputs; b cp -r $salted $out/text; b seq 1 2000 > $out/numbers",
    "echo $inputs > $out",
    "b mkdir -p $out/a/b; b seq 1 2000 > $out/a/b/numbers; b cp $out/a/b/numbers $out/copy; b chmod 755 $out/copy",
    "b mkdir $out; b ln -s $inputs $out/; b ln -s $out/self $out/self; echo $out > $out/own",
    "b cp -r $salted $out",
];

/// What there may be.
pub(super) struct Universe {
    /// The expression whose attributes are the derivations.
    pub(super) expression: String,
    pub(super) sources: Vec<Source>,
    pub(super) derivations: Vec<Derivation>,
    /// All store paths, those of derivations too.
    pub(super) paths: Vec<String>,
    /// Those among them that are no derivations. What Nix makes a root of a derivation is one of what that makes.
    pub(super) things: Vec<String>,
}

pub(super) struct Source {
    pub(super) file: String,
    pub(super) path: String,
}

pub(super) struct Derivation {
    pub(super) path: String,
    pub(super) outputs: Vec<String>,
    /// It and those that it needs, directly or through others.
    pub(super) closure: Vec<String>,
    /// Those that it needs, directly or through others, by number.
    pub(super) sources: Vec<usize>,
    /// JSON of it and all derivations that it needs.
    pub(super) json: String,
}

impl Universe {
    /// Thinks of one, and asks Nix for its paths.
    pub(super) fn new(scene: &Scene, seed: u64) -> Result<Self, String> {
        let workshop = Place::new(scene, "workshop");
        // Nix takes whatever a process of this machine names for a root, other runs of this test too.
        let salt = format!("{seed}-{}", std::process::id());
        let files = sources(scene, &salt);
        let expression = scene.write("universe.nix", expression(&mut Random::seeded(seed), &salt));
        let added = workshop.nix("nix-store", &[&["--add"], &refs(&files)[..]].concat())?;
        let sources = files.into_iter().zip(added.lines());
        let sources: Vec<Source> =
            sources.map(|(file, path)| Source { file, path: path.to_owned() }).collect();
        let drvs = workshop.nix("nix-instantiate", &["-A", "all", &expression])?;
        let drvs: Vec<&str> = drvs.lines().collect();
        let shown = workshop.nix("nix", &[&["show-derivation", "--recursive"], &drvs[..]].concat())?;
        let shown: Map<String, Value> = serde_json::from_str(&shown).unwrap();
        let derivations: Vec<Derivation> = drvs
            .iter()
            .enumerate()
            .map(|(number, drv)| derivation(scene, number, drv, &shown, &sources))
            .collect();
        let mut paths: Vec<String> = sources.iter().map(|source| source.path.clone()).collect();
        // Texts that refer to something, which `store` has from others only.
        let texts =
            workshop.nix("nix-instantiate", &["--eval", "--read-write-mode", "-A", "text", &expression])?;
        paths.push(texts.trim_matches('"').to_owned());
        paths.extend(derivations.iter().flat_map(|derivation| derivation.outputs.iter().cloned()));
        let things = paths.clone();
        paths.extend(derivations.iter().map(|derivation| derivation.path.clone()));
        Ok(Self { expression, sources, derivations, paths, things })
    }
}

impl Universe {
    /// Returns the derivation whose output a path is.
    pub(super) fn maker_of(&self, path: &str) -> Option<&Derivation> {
        let makes = |derivation: &&Derivation| derivation.outputs.iter().any(|output| output == path);
        self.derivations.iter().find(makes)
    }
}

fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Writes the files: two alike, and two trees with something of them in it.
fn sources(scene: &Scene, salt: &str) -> Vec<String> {
    let names: Vec<String> = (0..SOURCES).map(|number| format!("source-{number}-{salt}")).collect();
    scene.write(&names[0], salt);
    scene.write(&names[1], "of all the same");
    for (number, name) in names.iter().enumerate().skip(2) {
        fs::create_dir_all(scene.path(name).join("below")).unwrap();
        scene.write(&format!("{name}/below/same"), "of all the same");
        scene.write(&format!("{name}/program"), format!("program {number}"));
        fs::set_permissions(scene.path(name).join("program"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("below/same", scene.path(name).join("link")).unwrap();
    }
    names.iter().map(|name| text(scene.path(name))).collect()
}

/// Returns derivations that need those before them; some are promised, and some have two outputs.
fn expression(random: &mut Random, salt: &str) -> String {
    let mut all = format!(
        "let make = args: derivation ({{ system = \"{}-linux\"; builder = \"/bin/sh\"; }} // args);\n",
        std::env::consts::ARCH
    );
    for number in 0..DERIVATIONS {
        let before = (0..number).filter(|_| random.below(3) == 0);
        let mut inputs: Vec<String> = before.map(|input| format!("d{input}")).collect();
        let sources =
            (0..SOURCES).filter(|_| random.below(4) == 0).map(|source| format!("./source-{source}-{salt}"));
        inputs.extend(sources);
        let promised = number > 0 && number % 4 == 0;
        let (attributes, script) = match number % 4 {
            0 if promised => (
                "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = builtins.hashString \"sha256\" salted;",
                "printf %s \"$salted\" > $out".to_owned(),
            ),
            1 => (
                "outputs = [ \"out\" \"dev\" ];",
                "echo $dev $inputs > $out; b mkdir $dev; b seq 1 2000 > $dev/numbers".to_owned(),
            ),
            _ => ("", SCRIPTS[random.below(SCRIPTS.len())].to_owned()),
        };
        let salted = if promised {
            format!("\"promised {number} {salt}\"")
        } else {
            format!("./source-{}-{salt}", number % SOURCES)
        };
        writeln!(
            all,
            "d{number} = make rec {{ name = \"d{number}-{salt}\"; inputs = [ {} ]; salted = {salted}; {attributes} \
             args = [ \"-c\" ''b() {{ /bin/busybox \"$@\"; }}; set -e; {script}'' ]; }};",
            inputs.join(" ")
        )
        .unwrap();
    }
    let names: Vec<String> = (0..DERIVATIONS).map(|number| format!("d{number}")).collect();
    let text = format!(
        "builtins.toFile \"text-{salt}\" \"${{builtins.toFile \"inner-{salt}\" \"${{./source-0-{salt}}}\"}} ${{./source-2-{salt}}}\""
    );
    let names = names.join(" ");
    format!("{all}all = {{ inherit {names}; }};\nin all // {{ inherit all; text = {text}; }}\n")
}

fn derivation(
    scene: &Scene,
    number: usize,
    drv: &str,
    shown: &Map<String, Value>,
    sources: &[Source],
) -> Derivation {
    let mut closure: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut todo = vec![drv];
    while let Some(path) = todo.pop() {
        if closure.insert(path, &shown[path]).is_none() {
            todo.extend(shown[path]["inputDrvs"].as_object().unwrap().keys().map(String::as_str));
        }
    }
    let needed: BTreeSet<&str> = closure
        .values()
        .flat_map(|one| one["inputSrcs"].as_array().unwrap())
        .map(|path| path.as_str().unwrap())
        .collect();
    let sources = (0..sources.len()).filter(|number| needed.contains(&*sources[*number].path));
    let outputs = shown[drv]["outputs"].as_object().unwrap().values();
    Derivation {
        path: drv.to_owned(),
        outputs: outputs.map(|output| output["path"].as_str().unwrap().to_owned()).collect(),
        sources: sources.collect(),
        closure: closure.keys().map(|path| (*path).to_owned()).collect(),
        json: scene.write(&format!("d{number}.json"), serde_json::to_vec(&closure).unwrap()),
    }
}
