//! Two thousand real and generated derivations, each with all its hashes as Nix 2.8 computes them.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::process::Command;

use store_path::{StoreDir, StorePath};
use test_support::{Scratch, shared};

use super::layouts;
use crate::aterm::Text;
use crate::json::{self, Format};
use crate::{CheckError, Checked, ClosureError, Derivation, Modulo, Output, aterm, check_closure};

#[test]
fn everything_is_as_the_index_says() {
    let Some(corpus) = unpack("drvs-train") else { return };
    let mut count = 0;
    for folder in fs::read_dir(corpus.join("drvs-train")).unwrap().map(|entry| entry.unwrap().path()) {
        if folder.is_dir() {
            count += check_folder(&folder);
        }
    }
    assert_eq!(count, 2046, "it is complete");
}

/// Checks all that a folder has, and returns how many derivations that are.
pub(super) fn check_folder(folder: &Path) -> usize {
    let texts = read(folder);
    let checked = check_all(&texts);
    let mut modulo = Modulo::new(StoreDir::default());
    for checked in &checked {
        modulo.insert(checked.path(), checked.derivation()).unwrap();
    }
    let checked = checked.into_iter().map(|checked| (checked.path().clone(), checked)).collect();
    compare_with_index(&checked, &mut modulo, &fs::read_to_string(folder.join("index.tsv")).unwrap());
    // Whole package sets come without it, as it is larger than they are.
    let shown = folder.join("show-derivation.json");
    if shown.exists() {
        compare_json(&checked, &fs::read(shown).unwrap());
    }
    spoil(&texts);
    texts.len()
}

/// Unpacks an archive of the corpus, if it is there and can be.
pub(super) fn unpack(name: &str) -> Option<Scratch> {
    let archive = shared(&format!("corpus/{name}.tar.zst"))?;
    let scratch = Scratch::new();
    let unpack = Command::new("tar")
        .arg("--use-compress-program=zstd -d --long=27")
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(scratch.path())
        .output();
    match unpack {
        Ok(output) if output.status.success() => Some(scratch),
        Ok(output) => {
            eprintln!("skipped: cannot unpack the corpus: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            eprintln!("skipped: cannot run `tar`: {error}");
            None
        }
    }
}

fn read(folder: &Path) -> BTreeMap<StorePath, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let drvs = files.filter_map(|file| {
        let name = file.file_name().into_string().ok().filter(|name| name.ends_with(".drv"))?;
        Some((name.parse().unwrap(), fs::read(file.path()).unwrap()))
    });
    drvs.collect()
}

fn name(path: &StorePath) -> store_path::Name {
    path.name().as_str().strip_suffix(".drv").unwrap().parse().unwrap()
}

fn nothing_else(path: &StorePath) -> Result<Derivation, Infallible> {
    panic!("`{path}` is missing from a closed graph");
}

/// Reads, prints and checks; every derivation comes out under its own path.
fn check_all(texts: &BTreeMap<StorePath, Vec<u8>>) -> Vec<Checked> {
    let store_dir = StoreDir::default();
    let parse = |(path, text): (&StorePath, &Vec<u8>)| {
        let derivation = aterm::parse(text, &store_dir, &name(path)).unwrap();
        assert_eq!(aterm::print(&derivation, &store_dir), *text, "{path}");
        assert!(layouts::is_seen(text, &derivation.name), "{path}");
        (Some(path.clone()), derivation)
    };
    let all: Vec<_> = texts.iter().map(parse).collect();
    // Whatever order they come in.
    let reversed = all.iter().rev().cloned().collect();
    let reversed = check_closure(reversed, &store_dir, &mut nothing_else).unwrap();
    let paths = |checked: &[Checked]| -> BTreeSet<StorePath> {
        checked.iter().map(|checked| checked.path().clone()).collect()
    };
    let checked = check_closure(all, &store_dir, &mut nothing_else).unwrap();
    assert_eq!(paths(&reversed), paths(&checked));
    assert_eq!(checked.len(), texts.len());
    for checked in &checked {
        assert_eq!(checked.aterm(), texts[checked.path()], "{}", checked.path());
    }
    checked
}

/// Compares what was computed with all columns: drv, output, path, kind, method, hash, modulo, self.
fn compare_with_index(checked: &HashMap<StorePath, Checked>, modulo: &mut Modulo, index: &str) {
    let store_dir = StoreDir::default();
    let mut outputs = 0;
    for line in index.lines().skip(1) {
        let [drv, output, path, kind, method, hash, input_hash, output_hash] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let drv = store_dir.parse(drv).unwrap();
        let derivation = checked[&drv].derivation();
        let found = &derivation.outputs[&output.parse().unwrap()];
        let found_path = found.path().map_or("-".to_owned(), |path| store_dir.print(path));
        assert_eq!(
            (found_path.as_str(), describe(found)),
            (path, (kind, method.into(), hash.into())),
            "{line}"
        );
        assert_eq!(modulo.known_hash(&drv).unwrap(), input_hash, "{line}");
        let replaced = modulo.replace(derivation).unwrap();
        let own = replaced.output_hash(&Text::of(derivation, &store_dir));
        let own = own.map_or("-".to_owned(), |hash| hash.to_base16());
        if matches!(kind, "input" | "deferred") {
            assert_eq!(own, output_hash, "{line}");
        }
        outputs += 1;
    }
    assert_eq!(outputs, checked.values().map(|checked| checked.derivation().outputs.len()).sum::<usize>());
}

fn describe(output: &Output) -> (&'static str, String, String) {
    match output {
        Output::InputAddressed(_) => ("input", "-".into(), "-".into()),
        Output::Fixed { method, hash, .. } => {
            ("fixed", format!("{}{}", method.prefix(), hash.algorithm()), hash.to_base16())
        }
        Output::Floating { method, algorithm } => {
            ("floating", format!("{}{algorithm}", method.prefix()), "-".into())
        }
        Output::Deferred => ("deferred", "-".into(), "-".into()),
        Output::Impure { .. } => panic!("the corpus has none"),
    }
}

/// Goes from JSON to ATerm and back.
fn compare_json(checked: &HashMap<StorePath, Checked>, shown: &[u8]) {
    let store_dir = StoreDir::default();
    let expected: serde_json::Value = serde_json::from_slice(shown).unwrap();
    let read = json::parse(shown, &store_dir).unwrap();
    assert_eq!(read.len(), expected.as_object().unwrap().len());
    for (path, derivation) in &read {
        let path = path.as_ref().unwrap();
        assert_eq!(aterm::print(derivation, &store_dir), checked[path].aterm(), "{path}");
    }
    let shown: Vec<_> = read.iter().map(|(path, derivation)| (path.clone().unwrap(), derivation)).collect();
    let legacy = json::print(Format::Nix2_8, &store_dir, &shown).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&legacy).unwrap(), expected);
    let current = json::print(Format::V4, &store_dir, &shown).unwrap();
    assert_eq!(json::parse(current.as_bytes(), &store_dir).unwrap(), read);
    // What JSON cannot hold is refused.
    for checked in checked.values().filter(|checked| str::from_utf8(checked.aterm()).is_err()) {
        let derivations = [(checked.path().clone(), checked.derivation())];
        assert!(json::print(Format::Nix2_8, &store_dir, &derivations).is_err());
    }
}

/// Changes one character of an output's path, or of an input's: both have to be noticed.
fn spoil(texts: &BTreeMap<StorePath, Vec<u8>>) {
    let store_dir = StoreDir::default();
    // Each has its whole closure read, so not each gets its turn.
    for (path, text) in texts.iter().step_by(texts.len().div_ceil(10)) {
        let derivation = aterm::parse(text, &store_dir, &name(path)).unwrap();
        let output = derivation.outputs.values().find_map(Output::path);
        let input = derivation.input_drvs.keys().next();
        for (part, is_output) in
            output.map(|path| (path, true)).into_iter().chain(input.map(|path| (path, false)))
        {
            let place = find(text, store_dir.print(part).as_bytes()) + "/nix/store/".len();
            let mut spoilt = text.clone();
            spoilt[place] = if spoilt[place] == b'0' { b'1' } else { b'0' };
            let Ok(spoilt) = aterm::parse(&spoilt, &store_dir, &name(path)) else { continue };
            let known = |path: &StorePath| match texts.get(path) {
                Some(text) => Ok(aterm::parse(text, &store_dir, &name(path)).unwrap()),
                None => Err(std::io::Error::other("there is none")),
            };
            let spoilt = vec![(Some(path.clone()), spoilt)];
            let error = check_closure(spoilt, &store_dir, &mut &known).expect_err("it was spoilt");
            let names_both =
                matches!(error, ClosureError::Check { source: CheckError::OutputPath { .. }, .. });
            assert!(names_both || !is_output, "{path}: {error}");
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> usize {
    text.windows(part.len()).position(|window| window == part).unwrap()
}
