//! Nix's own test data: each file is read and printed again. Where it is not at hand, the fixtures do the same.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use store_path::{ContentAddress, Hash, HashAlgorithm, Method, PathInfo, Realisation, StoreDir, StorePath};
use test_support::{fixture, shared};

use crate::build_trace::{self, Entry};
use crate::path_info::{Extent, Version, parse, print};
use crate::{NarInfo, is_content_addressed};

/// The three generations, and where each has its data.
const GENERATIONS: [&str; 3] =
    ["2.24.0/tests/unit/libstore/data", "2.32.0/src/libstore-tests/data", "master/src/libstore-tests/data"];

fn data(generation: &str) -> Option<PathBuf> {
    shared(&format!("corpus/nix-golden/{generation}"))
}

fn value(file: &Path) -> Value {
    let text = fs::read(file).unwrap_or_else(|error| panic!("cannot read `{}`: {error}", file.display()));
    serde_json::from_slice(&text).unwrap()
}

fn path(base: &str) -> StorePath {
    base.parse().unwrap()
}

/// What Nix's own tests build their files from.
fn foo(signatures: &[&str]) -> NarInfo {
    let store_dir = StoreDir::default();
    let hash = Hash::of(HashAlgorithm::Sha256, b"(...)");
    let foo = path("n5wkd9frr45pa74if5gpz9j7mifg27fh-foo");
    let nar_hash = "sha256-FePFYIlMuycIXPZbWi7LGEiMmZSX9FMbaQenWBzm1Sc=";
    let info = PathInfo {
        path: foo.clone(),
        nar_hash: Hash::parse(nar_hash, None).unwrap(),
        nar_size: 34878,
        references: [path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar"), foo].into(),
        deriver: Some(path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar.drv")),
        registration_time: 23423,
        ultimate: true,
        signatures: signatures.iter().map(|text| (*text).to_owned()).collect(),
        content_address: Some(ContentAddress { method: Method::Nar, hash }),
    };
    assert!(
        is_content_addressed(&info, &store_dir),
        "the path follows from the address, with a self reference"
    );
    NarInfo { info, url: None, compression: None, file_hash: None, file_size: None }
}

fn with_download(mut nar_info: NarInfo) -> NarInfo {
    nar_info.url = Some("nar/1w1fff338fvdw53sqgamddn1b2xgds473pv6y13gizdbqjv4i5p3.nar.xz".to_owned());
    nar_info.compression = Some("xz".to_owned());
    nar_info.file_hash = Some(nar_info.info.nar_hash);
    nar_info.file_size = Some(4_029_176);
    nar_info
}

fn without_differences(mut nar_info: NarInfo) -> NarInfo {
    nar_info.info.deriver = None;
    nar_info.info.registration_time = 0;
    nar_info.info.ultimate = false;
    nar_info.info.signatures.clear();
    NarInfo { url: None, compression: None, file_hash: None, file_size: None, ..nar_info }
}

fn empty() -> NarInfo {
    let mut empty = without_differences(foo(&[]));
    empty.info.nar_size = 0;
    empty.info.references.clear();
    empty.info.content_address = None;
    empty
}

/// Older files do not say their version and store directory, but are otherwise of version 1.
fn says_version(mut value: Value, says: bool) -> Value {
    if !says {
        let fields = value.as_object_mut().unwrap();
        fields.shift_remove("version");
        fields.shift_remove("storeDir");
    }
    value
}

fn both_ways(file: &Path, expected: &NarInfo, version: Version, extent: Extent, is_versioned: bool) {
    let store_dir = StoreDir::default();
    let found = value(file);
    let read = parse(&found, expected.info.path.clone(), None, &store_dir).unwrap();
    assert_eq!(read, *expected, "{}", file.display());
    let printed = print(expected, version, extent, &store_dir).unwrap();
    assert_eq!(says_version(printed, is_versioned), found, "{}", file.display());
}

fn path_infos(folder: &Path, version: Version, is_versioned: bool, signatures: &[&str]) {
    let full = foo(signatures);
    let infos = folder.join("path-info");
    let nar_infos = folder.join("nar-info");
    let (infos, nar_infos) = match is_versioned {
        true => {
            let name = format!("json-{}", version.number());
            (infos.join(&name), nar_infos.join(&name))
        }
        false => (infos, nar_infos),
    };
    use Extent::{Contents, Everything};
    for (file, expected, extent) in [
        (infos.join("impure.json"), full.clone(), Everything),
        (infos.join("pure.json"), without_differences(full.clone()), Contents),
        (infos.join("empty_impure.json"), empty(), Everything),
        (infos.join("empty_pure.json"), empty(), Contents),
        (nar_infos.join("impure.json"), with_download(full.clone()), Everything),
        (nar_infos.join("pure.json"), without_differences(full.clone()), Contents),
    ] {
        both_ways(&file, &expected, version, extent, is_versioned);
    }
    if is_versioned && version == Version::One {
        for folder in [infos, nar_infos] {
            let file = folder.join("pure_noversion.json");
            both_ways(&file, &without_differences(full.clone()), version, Contents, false);
        }
    }
}

const ZEROS: &str =
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

#[test]
fn path_info_of_every_version() {
    let signatures = [format!("asdf:{ZEROS}"), format!("qwer:{ZEROS}")];
    let signatures: Vec<&str> = signatures.iter().map(String::as_str).collect();
    let ours = fixture("binary-cache/nix-2.36/");
    for folder in std::iter::once(ours).chain(data(GENERATIONS[2])) {
        for version in Version::ALL {
            path_infos(&folder, version, true, &signatures);
        }
    }
    for folder in GENERATIONS[..2].iter().filter_map(|generation| data(generation)) {
        path_infos(&folder, Version::One, false, &["asdf", "qwer"]);
    }
}

fn simple() -> Realisation {
    Realisation {
        drv: path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar.drv"),
        output: "foo".to_owned(),
        path: path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo"),
        signatures: Vec::new(),
    }
}

fn signed() -> Realisation {
    let path = path("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv");
    Realisation { path, signatures: vec![format!("asdf:{ZEROS}")], ..simple() }
}

#[test]
fn entries_of_the_build_trace() {
    let ours = fixture("binary-cache/nix-2.36/");
    for folder in std::iter::once(ours).chain(data(GENERATIONS[2])).map(|folder| folder.join("realisation")) {
        for (name, fingerprint, expected) in [
            ("simple", "simple-fingerprint.txt", simple()),
            ("with-signature", "with-signature-fingerprint.txt", signed()),
        ] {
            let found = value(&folder.join(format!("{name}.json")));
            assert_eq!(Entry::parse(&found).unwrap(), Entry::Current(expected.clone()), "{name}");
            assert_eq!(build_trace::print(&expected).unwrap(), found, "{name}");
            let fingerprint = fs::read_to_string(folder.join(fingerprint)).unwrap();
            assert_eq!(Entry::Current(expected).fingerprint(), fingerprint, "{name}");
        }
        // The older spelling of a signature is read only.
        let unstructured = value(&folder.join("with-signature-unstructured.json"));
        assert_eq!(Entry::parse(&unstructured).unwrap(), Entry::Current(signed()));
        for (name, expected) in [("unkeyed-simple", simple()), ("unkeyed-with-signature", signed())] {
            let found = value(&folder.join(format!("{name}.json")));
            let read = build_trace::parse_value(&found, expected.drv.clone(), expected.output.clone());
            assert_eq!(read.unwrap(), expected, "{name}");
            assert_eq!(build_trace::print(&expected).unwrap()["value"], found, "{name}");
        }
        for name in ["simple-sig", "with-signature-sig"] {
            let found = value(&folder.join(format!("{name}.json")));
            let text = crate::fields::signature(&found).unwrap();
            assert!(text.starts_with("test-key:"), "{text}");
            assert_eq!(crate::fields::structured_signature(&text).unwrap(), found, "{name}");
        }
    }
}

#[test]
fn entries_that_were_named_by_a_hash() {
    let ours = fixture("binary-cache/nix-2.32/");
    for folder in std::iter::once(ours).chain(data(GENERATIONS[1])).map(|folder| folder.join("realisation")) {
        for name in ["simple", "with-dependent-realisations", "with-signature"] {
            let found = value(&folder.join(format!("{name}.json")));
            let Entry::Legacy(entry) = Entry::parse(&found).unwrap() else { panic!("{name} is an old one") };
            assert_eq!(entry.id.hash, Hash::of(HashAlgorithm::Sha256, b"abc"));
            assert_eq!(entry.id.output, "foo");
            assert_eq!(entry.dependent.len(), usize::from(name == "with-dependent-realisations"));
            assert_eq!(entry.signatures.len(), usize::from(name == "with-signature"));
            assert_eq!(Entry::Legacy(entry).print().unwrap(), found, "{name}");
        }
    }
}

#[test]
fn single_values() {
    let ours = fixture("binary-cache/nix-2.36/");
    for folder in std::iter::once(ours).chain(data(GENERATIONS[2])) {
        for (name, method) in [("nar", Method::Nar), ("text", Method::Text)] {
            let found = value(&folder.join(format!("content-address/{name}.json")));
            let address = crate::path_info::parse_address(&found).unwrap();
            assert_eq!(address.method, method);
            assert_eq!(crate::path_info::print_address(&address), found, "{name}");
        }
        let found = value(&folder.join("store-path/simple.json"));
        assert_eq!(crate::fields::base_path(&found).unwrap().to_string(), found.as_str().unwrap());
    }
    let Some(hashes) = shared("corpus/nix-golden/master/src/libutil-tests/data/hash") else { return };
    for name in ["blake3", "sha256", "sha512"] {
        let found = value(&hashes.join(format!("{name}.json")));
        let hash = Hash::parse(found.as_str().unwrap(), None).unwrap();
        assert_eq!(hash.to_sri(), found.as_str().unwrap());
        assert_eq!(Hash::parse(&hash.prefixed_base16(), None), Ok(hash));
    }
}

/// The entries and paths inside the stores that other tests of Nix start from and end with.
#[test]
fn what_stores_as_values_hold() {
    let Some(data) = data(GENERATIONS[2]) else { return };
    let files = fs::read_dir(data.join("worker-substitution"))
        .unwrap()
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    let files = files.chain(fs::read_dir(data.join("dummy-store")).unwrap().map(|file| file.unwrap().path()));
    let (mut paths, mut entries) = (0, 0);
    for file in files {
        let store = value(&file);
        for (base, object) in store["contents"].as_object().unwrap() {
            let store_dir = StoreDir::default();
            let read = parse(&object["info"], path(base), None, &store_dir).unwrap();
            let number = object["info"]["version"].as_u64().unwrap();
            let version = Version::ALL.into_iter().find(|version| version.number() == number).unwrap();
            let again = print(&read, version, Extent::Everything, &store_dir).unwrap();
            assert_eq!(again, object["info"], "{}", file.display());
            paths += 1;
        }
        for (drv, outputs) in store["buildTrace"].as_object().unwrap() {
            for (output, found) in outputs.as_object().unwrap() {
                let entry = build_trace::parse_value(found, path(drv), output.clone()).unwrap();
                assert_eq!(build_trace::print(&entry).unwrap()["value"], *found, "{}", file.display());
                entries += 1;
            }
        }
    }
    assert!(paths > 3 && entries > 0, "{paths} paths, {entries} entries");
}
