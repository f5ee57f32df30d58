//! Every generation of the format, on files that this project keeps.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use store_path::{Name, StoreDir, StorePath};
use test_support::{fixture, shared};

use crate::json::{self as drv_json, Format};
use crate::{Derivation, Modulo, aterm, check, own_path};

fn read(file: &Path) -> Derivation {
    drv_json::parse(&fs::read(file).unwrap(), &StoreDir::default()).unwrap().remove(0).1
}

/// What each form makes of one derivation with everything in it that most forms can hold.
#[test]
fn every_form_prints_as_recorded() {
    let store_dir = StoreDir::default();
    for (name, oldest) in
        [("structured", Format::Nix2_3), ("fixed-output", Format::Nix2_3), ("floating", Format::Nix2_4)]
    {
        let file = fixture(&format!("derivations/{name}.json"));
        let derivations = drv_json::parse(&fs::read(file).unwrap(), &store_dir).unwrap();
        let own = |(path, derivation): &(Option<StorePath>, Derivation)| {
            path.clone().unwrap_or_else(|| own_path(derivation, &store_dir).unwrap())
        };
        let list: Vec<_> = derivations.iter().map(|drv| (own(drv), &drv.1)).collect();
        let mut printed = String::new();
        for format in Format::ALL {
            let text = drv_json::print(format, &store_dir, &list);
            assert_eq!(text.is_ok(), format >= oldest, "{name} {format}");
            let text = text.unwrap_or_else(|error| format!("{error}\n"));
            writeln!(printed, "--- {format}\n{text}").unwrap();
            if format >= oldest {
                let again = drv_json::parse(text.as_bytes(), &store_dir).unwrap();
                assert!(again.iter().map(|drv| &drv.1).eq(derivations.iter().map(|drv| &drv.1)), "{format}");
            }
        }
        test_support::check(&format!("formats/{name}.txt"), printed);
    }
}

/// Files of this project that Nix printed, byte for byte.
#[test]
fn fixtures_of_nix_are_printed_byte_for_byte() {
    let folders = [("nix-2.24", "nix-2.24"), ("nix-2.32", "v3"), ("nix-2.36", "v4")];
    for (folder, format) in folders {
        check_folder(&fixture(&format!("aterm/{folder}/")), format.parse().unwrap(), 2);
    }
}

/// All derivations of Nix's own test data, in both directions.
#[test]
fn golden_files_are_printed_byte_for_byte() {
    let folders = [
        ("2.24.0/tests/unit/libstore/data/derivation", Format::Nix2_23, 5),
        ("2.32.0/src/libstore-tests/data/derivation", Format::Nix2_32, 2),
        ("2.32.0/src/libstore-tests/data/derivation/ia", Format::Nix2_32, 4),
        ("2.32.0/src/libstore-tests/data/derivation/ca", Format::Nix2_32, 5),
        ("master/src/libstore-tests/data/derivation", Format::V4, 2),
        ("master/src/libstore-tests/data/derivation/ia", Format::V4, 4),
        ("master/src/libstore-tests/data/derivation/ca", Format::V4, 5),
        ("master/src/libstore-tests/data/derivation/hash-modulo", Format::V4, 6),
        ("master/src/libstore-tests/data/derivation/invariants", Format::V4, 9),
    ];
    for (folder, format, least) in folders {
        let Some(folder) = shared(&format!("corpus/nix-golden/{folder}")) else { return };
        check_folder(&folder, format, least);
    }
}

/// Prints each file of a folder as it is, and as the `.drv` beside it, if there is one.
fn check_folder(folder: &Path, format: Format, least: usize) {
    let store_dir = StoreDir::default();
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_whole = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.ends_with(".json") && !name.starts_with("output-")
    };
    let mut count = 0;
    for file in files.filter(is_whole) {
        let derivation = read(&file);
        let printed = drv_json::print_bare(format, &store_dir, &derivation).unwrap();
        assert_eq!(printed, fs::read_to_string(&file).unwrap(), "{}", file.display());
        if let Ok(text) = fs::read(file.with_extension("drv")) {
            assert_eq!(aterm::print(&derivation, &store_dir), text, "{}", file.display());
            assert_eq!(aterm::parse(&text, &store_dir, &derivation.name).unwrap(), derivation);
        }
        count += 1;
    }
    assert!(count >= least, "{} has only {count} derivations", folder.display());
}

/// The same outputs, as three releases print them.
#[test]
fn golden_outputs_are_printed_by_each_release() {
    let folders = [
        ("2.24.0/tests/unit/libstore", Format::Nix2_23),
        ("2.32.0/src/libstore-tests", Format::Nix2_32),
        ("master/src/libstore-tests", Format::V4),
    ];
    for (folder, format) in folders {
        let Some(folder) = shared(&format!("corpus/nix-golden/{folder}/data/derivation")) else { return };
        for kind in
            ["inputAddressed", "caFixedFlat", "caFixedNAR", "caFixedText", "caFloating", "deferred", "impure"]
        {
            let text = fs::read(folder.join(format!("output-{kind}.json"))).unwrap();
            let output: Value = serde_json::from_slice(&text).unwrap();
            let whole = json!({ "name": "drv-name", "system": "x", "builder": "y",
                "outputs": { "output-name": output } });
            let derivation =
                drv_json::parse(whole.to_string().as_bytes(), &StoreDir::default()).unwrap().remove(0).1;
            let printed = drv_json::print_bare(format, &StoreDir::default(), &derivation).unwrap();
            let printed: Value = serde_json::from_str(&printed).unwrap();
            assert_eq!(printed["outputs"]["output-name"], output, "{format} {kind}");
        }
    }
}

#[test]
fn golden_files_that_are_bad_are_refused() {
    for release in ["2.24.0/tests/unit/libstore", "2.32.0/src/libstore-tests", "master/src/libstore-tests"] {
        let folder = format!("corpus/nix-golden/{release}/data/derivation");
        let Some(folder) = shared(&folder) else { return };
        for name in ["bad-version", "bad-old-version-dyn-deps", "bad-ca-fixed-path"] {
            let Ok(text) = fs::read(folder.join(format!("{name}.drv"))) else {
                assert!(name == "bad-ca-fixed-path" && !release.starts_with("master"), "{release} {name}");
                continue;
            };
            let name: Name = "fixed".parse().unwrap();
            assert!(aterm::parse(&text, &StoreDir::default(), &name).is_err(), "{release} {name}");
        }
    }
}

/// What the two spellings say about each other in a resolved derivation, and in one that fills in its paths.
#[test]
fn resolved_derivations_have_a_list_of_inputs() {
    let text = br#"{ "version": 4, "name": "x", "system": "s", "builder": "b", "outputs": { "out": {} },
        "env": { "out": "" }, "inputs": ["c015dhfh5l0lp6wxyvdn7bmwhbbr6hr9-dep1"] }"#;
    let derivation = drv_json::parse(text, &StoreDir::default()).unwrap().remove(0).1;
    assert_eq!(derivation.input_srcs.len(), 1);
    check(derivation, &mut Modulo::new(StoreDir::default())).unwrap();
}

#[test]
fn what_a_form_cannot_hold_is_refused_by_name() {
    let store_dir = StoreDir::default();
    let dynamic = read(&fixture("aterm/nix-2.36/dyn-dep-derivation.json"));
    let path = own_path(&dynamic, &store_dir).unwrap();
    let error = drv_json::print(Format::Nix2_15, &store_dir, &[(path, &dynamic)]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("the form `nix-2.15`, which has no outputs that are derivations themselves")
    );
    assert_eq!(Format::Nix2_8.or_later([&dynamic]), Format::Nix2_18);
    assert!(
        drv_json::print_bare(Format::Nix2_12, &store_dir, &read(&fixture("derivations/hello.json"))).is_err()
    );
}
