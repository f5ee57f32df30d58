//! The small derivations in `fixtures`, which every checkout has.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use store_path::{Name, StoreDir, StorePath};
use test_support::fixture;

use crate::json::{self, Format};
use crate::{Derivation, aterm, check_closure};

/// Returns the files of one kind in a directory of the fixtures, by name.
fn files(directory: &str, extension: &str) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(fixture(directory)).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|found| found == extension));
    let files = files.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path));
    files.collect()
}

fn read_one(json: &Path) -> (Option<StorePath>, Derivation) {
    let mut derivations = json::parse(&fs::read(json).unwrap(), &StoreDir::default()).unwrap();
    assert_eq!(derivations.len(), 1, "{}", json.display());
    derivations.remove(0)
}

/// Both files of each pair hold the same derivation.
fn check_pairs(directory: &str) {
    let store_dir = StoreDir::default();
    let pairs = files(directory, "json");
    assert!(!pairs.is_empty());
    for (name, json) in pairs {
        let (_, derivation) = read_one(&json);
        let text = fs::read(json.with_extension("drv")).unwrap();
        assert_eq!(aterm::parse(&text, &store_dir, &derivation.name).unwrap(), derivation, "{name}");
        assert_eq!(aterm::print(&derivation, &store_dir), text, "{name}");
    }
}

fn label() -> StorePath {
    "00000000000000000000000000000000-label.drv".parse().unwrap()
}

#[test]
fn pairs_of_nix_2_8_print_the_same_bytes() {
    check_pairs("aterm/nix-2.8/");
    for (name, json) in files("aterm/nix-2.8/", "json") {
        let (path, derivation) = read_one(&json);
        let printed = json::print(Format::Nix2_8, &StoreDir::default(), &[(path.unwrap(), &derivation)]);
        assert_eq!(printed.unwrap(), fs::read_to_string(&json).unwrap(), "{name}");
    }
}

#[test]
fn pairs_of_nix_2_24_agree() {
    check_pairs("aterm/nix-2.24/");
}

#[test]
fn pairs_of_nix_2_32_agree() {
    check_pairs("aterm/nix-2.32/");
}

#[test]
fn pairs_of_nix_2_36_print_the_same_value() {
    check_pairs("aterm/nix-2.36/");
    for (name, json) in files("aterm/nix-2.36/", "json") {
        let (_, derivation) = read_one(&json);
        let printed = json::print(Format::V4, &StoreDir::default(), &[(label(), &derivation)]);
        let printed: Value = serde_json::from_str(&printed.unwrap()).unwrap();
        let expected: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        assert_eq!(printed["derivations"][label().to_string()], expected, "{name}");
        assert_eq!(printed["version"], 4);
    }
}

#[test]
fn files_of_nix_2_8_have_their_own_paths() {
    let store_dir = StoreDir::default();
    for (name, file) in files("aterm/nix-2.8/", "drv") {
        let path: StorePath = format!("{name}.drv").parse().unwrap();
        let drv_name: Name = path.name().as_str().strip_suffix(".drv").unwrap().parse().unwrap();
        let derivation = aterm::parse(&fs::read(&file).unwrap(), &store_dir, &drv_name).unwrap();
        assert_eq!(aterm::print(&derivation, &store_dir), fs::read(&file).unwrap());
        let inputs = |path: &StorePath| -> Result<Derivation, std::io::Error> {
            let file = file.with_file_name(path.to_string());
            let drv_name = path.name().as_str().strip_suffix(".drv").unwrap().parse().unwrap();
            aterm::parse(&fs::read(file)?, &store_dir, &drv_name).map_err(std::io::Error::other)
        };
        // The inputs of most are not here; those are read and printed only.
        let is_closed = derivation.input_drvs.keys().all(|input| inputs(input).is_ok());
        if is_closed {
            check_closure(vec![(Some(path), derivation)], &store_dir, &mut &inputs).unwrap();
        }
    }
}

#[test]
fn bad_files_are_refused() {
    let mut refusals = String::new();
    for (name, file) in files("aterm/bad/", "drv") {
        let name_in_file: Name = if name.contains("ca-fixed") { "fixed" } else { "bad" }.parse().unwrap();
        let error = aterm::parse(&fs::read(file).unwrap(), &StoreDir::default(), &name_in_file).unwrap_err();
        writeln!(refusals, "{name}: {}", chain(&error)).unwrap();
    }
    test_support::check("aterm/bad/refusals.txt", refusals);
}

/// What becomes of each file of `fixtures/derivations`: paths, or a refusal.
#[test]
fn derivations_come_out_as_recorded() {
    let mut outcomes = String::new();
    for (name, file) in files("derivations/", "json") {
        writeln!(outcomes, "{name}").unwrap();
        for line in outcome(&fs::read(file).unwrap()) {
            writeln!(outcomes, "  {line}").unwrap();
        }
    }
    test_support::check("derivations/outcomes.txt", outcomes);
}

fn outcome(json: &[u8]) -> Vec<String> {
    let store_dir = StoreDir::default();
    let known = |_: &StorePath| Err(std::io::Error::other("nothing is in the store"));
    let checked = match json::parse(json, &store_dir).map(|list| check_closure(list, &store_dir, &mut &known))
    {
        Ok(Ok(checked)) => checked,
        Ok(Err(error)) => return vec![chain(&error)],
        Err(error) => return vec![chain(&error)],
    };
    let line = |checked: &crate::Checked| {
        let outputs = checked.output_paths().into_iter().map(|(name, path)| {
            let path = path.map_or_else(|| "not known yet".to_owned(), |path| path.to_string());
            format!(" {name}={path}")
        });
        format!("{}{}", checked.path(), outputs.collect::<String>())
    };
    checked.iter().map(line).collect()
}

fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
