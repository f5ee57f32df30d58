//! Nix and `store` on the same derivations, which nobody has chosen: both have to make the same of each.
//!
//! A few hundred by default; `STORE_TEST_DIFFERENTIAL=full` takes 2,000, builds 200 of
//! others, and takes real ones by the ten thousand.

mod builds;
mod corpus;
mod language;
mod rival;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;

use derivation::json::{self, Format};
use derivation::{Checked, Derivation, Output, aterm, check_closure};
use store_path::{Name, StoreDir, StorePath};

use crate::scene::{Scene, say};
use language::Language;
use rival::Rival;

/// How many derivations are compared, and how many of them are built.
fn sizes() -> (usize, usize) {
    if is_full() { (2000, 200) } else { (200, 20) }
}

fn is_full() -> bool {
    std::env::var_os("STORE_TEST_DIFFERENTIAL").is_some_and(|size| size == "full")
}

/// As many as one command line of Nix takes.
const AT_ONCE: usize = 250;

#[test]
fn both_make_the_same_of_random_derivations() {
    let scene = Scene::new();
    let Some(rival) = Rival::of(&scene) else { return };
    scene.write("file", "a source");
    fs::create_dir_all(scene.path("tree/below")).unwrap();
    scene.write("tree/below/it", "another");
    let mut language = Language::seeded(4);
    let mut count = 0;
    while count < sizes().0 {
        count += rival.paths(&language.expression(AT_ONCE.min(sizes().0))).len();
    }
    let texts = texts(&rival);
    assert!(texts.len() >= sizes().0 * 9 / 10, "{} of {count}: they are not all alike", texts.len());
    let checked = compute(&texts);
    compare_json(&scene, &rival, &checked);
    compare_mutants(&scene, &rival, &checked);
    say(&format!("compared with Nix: {} derivations, and as many spoilt ones", texts.len()));
}

/// Reads what Nix wrote.
fn texts(rival: &Rival) -> BTreeMap<StorePath, Vec<u8>> {
    let store_dir = StoreDir::default();
    let paths = rival.derivations().into_iter();
    paths
        .map(|path| (store_dir.parse(&path).unwrap(), fs::read(rival.root().join(&path[1..])).unwrap()))
        .collect()
}

fn name(path: &StorePath) -> Name {
    path.name().as_str().strip_suffix(".drv").unwrap().parse().unwrap()
}

fn nothing_else(path: &StorePath) -> Result<Derivation, Infallible> {
    panic!("`{path}` is missing from a closed graph");
}

/// Takes away every path that Nix has computed, has them computed here, and compares all bytes.
fn compute(texts: &BTreeMap<StorePath, Vec<u8>>) -> Vec<Checked> {
    let store_dir = StoreDir::default();
    let strip = |(path, text): (&StorePath, &Vec<u8>)| {
        let mut derivation = aterm::parse(text, &store_dir, &name(path)).unwrap();
        assert!(aterm::print(&derivation, &store_dir) == *text, "{path} is not printed as it was read");
        strip(&mut derivation);
        compare_formats(path, &derivation);
        (Some(path.clone()), derivation)
    };
    let stripped = texts.iter().map(strip).collect();
    let checked = check_closure(stripped, &store_dir, &mut nothing_else).unwrap();
    assert_eq!(checked.len(), texts.len());
    for checked in &checked {
        let text = texts.get(checked.path()).map(|text| String::from_utf8_lossy(text));
        assert!(
            text.as_deref() == Some(&String::from_utf8_lossy(checked.aterm())),
            "{}: {}\nis not what Nix has: {text:?}",
            checked.path(),
            String::from_utf8_lossy(checked.aterm())
        );
    }
    checked
}

fn strip(derivation: &mut Derivation) {
    for (name, output) in &mut derivation.outputs {
        if let Output::InputAddressed(_) | Output::Fixed { .. } = output {
            derivation.env.insert(name.as_str().into(), Vec::new());
        }
        if let Output::InputAddressed(_) = output {
            *output = Output::Deferred;
        }
    }
}

/// Goes through every form of JSON and back.
fn compare_formats(path: &StorePath, derivation: &Derivation) {
    let store_dir = StoreDir::default();
    for format in Format::ALL {
        let Ok(printed) = json::print(format, &store_dir, &[(path.clone(), derivation)]) else {
            let text = aterm::print(derivation, &store_dir);
            let is_too_old = format.or_later([derivation]) != format;
            assert!(is_too_old || str::from_utf8(&text).is_err(), "{path} can be printed as {format:?}");
            continue;
        };
        let read = json::parse(printed.as_bytes(), &store_dir).unwrap();
        assert_eq!(read, [(Some(path.clone()), derivation.clone())], "{format:?}");
    }
}

/// Compares what both print; Nix prints bytes that are not text too, which no reader of JSON takes.
fn compare_json(scene: &Scene, rival: &Rival, checked: &[Checked]) {
    let paths: Vec<String> = checked
        .iter()
        .filter(|checked| str::from_utf8(checked.aterm()).is_ok())
        .map(|checked| StoreDir::default().print(checked.path()))
        .collect();
    let root = crate::scene::text(rival.root());
    for paths in paths.chunks(AT_ONCE) {
        let nixs = rival.ok("nix", [&["show-derivation".to_owned()], paths].concat());
        let mut ours = scene.elsewhere();
        ours.args(["--store", &root, "derivation", "show"]).args(paths);
        let ours = ours.output().unwrap();
        assert!(ours.status.success(), "{}", String::from_utf8_lossy(&ours.stderr));
        let (ours, nixs) = (String::from_utf8(ours.stdout).unwrap(), String::from_utf8(nixs).unwrap());
        let first = ours.lines().zip(nixs.lines()).find(|(ours, nixs)| ours != nixs);
        assert!(ours == nixs, "`store` and Nix print different things: {first:?}");
    }
}

/// Changes each in ways that the language of Nix knows no words for. Nix has to agree with the paths that follow.
fn compare_mutants(scene: &Scene, rival: &Rival, checked: &[Checked]) {
    let store_dir = StoreDir::default();
    let mutants: Vec<_> = checked.iter().map(|checked| (None, mutant(checked.derivation()))).collect();
    let known: BTreeMap<&StorePath, &Derivation> =
        checked.iter().map(|checked| (checked.path(), checked.derivation())).collect();
    let mut known = |path: &StorePath| -> Result<Derivation, Infallible> { Ok(known[path].clone()) };
    let mutants = check_closure(mutants, &store_dir, &mut known).unwrap();
    let files: Vec<_> = mutants
        .iter()
        .map(|mutant| {
            let references = mutant.derivation().references();
            let references = references.iter().map(|path| store_dir.print(path)).collect();
            (store_dir.print(mutant.path()), mutant.aterm().to_vec(), references)
        })
        .collect();
    rival.load(&files);
    compare_json(scene, rival, &mutants);
}

fn mutant(derivation: &Derivation) -> Derivation {
    let mut mutant = derivation.clone();
    strip(&mut mutant);
    let size = mutant.env.len() as u8;
    mutant.args.push(vec![0, b'"', size % 128]);
    mutant.env.insert(b"nul\0name".to_vec(), b"nul\0value".to_vec());
    mutant.env.insert(b"controls".to_vec(), (0..32).collect());
    mutant.builder.push(b'\\');
    mutant
}
