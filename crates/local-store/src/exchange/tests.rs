//! Streams that lie, and what is left of them in the store.
#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use binary_cache::stream::Format;
use store_path::{HashAlgorithm, HashSink, PathInfo, StorePath};

use super::arrivals::Cause;
use super::{Arrival, Arrivals, ReceiveError, Start};
use crate::store::LocalStore;
use crate::store::tests::{scratch_store, some_path};

/// Takes whatever comes, and remembers it.
#[derive(Default)]
struct Everybody {
    came: Vec<(StorePath, bool)>,
    end: u64,
}

impl Arrivals for Everybody {
    fn outputs(&mut self, _: &StorePath, _: &[u8]) -> Result<BTreeMap<String, StorePath>, Cause> {
        Ok(BTreeMap::new())
    }

    fn trust(&mut self, _: &PathInfo) -> Result<(), Cause> {
        Ok(())
    }

    fn arrived(&mut self, arrival: Arrival<'_>) {
        self.came.push((arrival.path.clone(), arrival.was_here));
        self.end = arrival.end;
    }
}

/// A path and its archive: one file with these contents.
fn file(name: &str, contents: &[u8], references: &[&str]) -> (PathInfo, Vec<u8>) {
    let mut archive = Vec::new();
    let mut writer = nar::Writer::new(&mut archive);
    writer.regular(false, contents.len() as u64, &mut &contents[..]).unwrap();
    writer.finish().unwrap();
    let mut sink = HashSink::new(HashAlgorithm::Sha256);
    std::io::Write::write_all(&mut sink, &archive).unwrap();
    let (nar_hash, nar_size) = sink.finish();
    let info = PathInfo {
        path: some_path(name),
        nar_hash,
        nar_size,
        references: references.iter().map(|name| some_path(name)).collect(),
        deriver: None,
        registration_time: 1,
        ultimate: true,
        signatures: Vec::new(),
        content_address: None,
    };
    (info, archive)
}

fn stream(format: Format, store: &LocalStore, paths: &[(PathInfo, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = format.start();
    for (info, archive) in paths {
        bytes.extend([&format.before(info)[..], archive, &format.after(info, store.store_dir())].concat());
    }
    bytes.extend(format.end());
    bytes
}

fn import(store: &LocalStore, bytes: impl Read) -> (Everybody, Result<u64, ReceiveError>) {
    let mut all = Everybody::default();
    let outcome = store.import_stream(bytes, Start::Beginning, &mut all);
    (all, outcome)
}

/// Whether there is nothing but these in the store directory.
fn holds_only(store: &LocalStore, names: &[&str]) {
    let mut found: Vec<String> = fs::read_dir(&store.location().real_store)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".links")
        .collect();
    let mut wanted: Vec<String> = names.iter().map(|name| some_path(name).to_string()).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    assert!(store.verify(true).unwrap().damaged.is_empty());
}

#[test]
fn what_comes_is_valid_and_nobody_says_it_was_built_here() {
    for format in [Format::Nix, Format::Nario] {
        let (_scratch, store) = scratch_store();
        let paths = [file("a", b"a", &["a"]), file("b", b"b", &["a"]), file("a", b"a", &["a"])];
        let bytes = stream(format, &store, &paths);
        let (all, outcome) = import(&store, &bytes[..]);
        assert_eq!(outcome.unwrap(), bytes.len() as u64);
        let names = [("a", false), ("b", false), ("a", true)];
        assert_eq!(all.came, names.map(|(name, was_here)| (some_path(name), was_here)));
        let info = store.path_info(&some_path("b")).unwrap().unwrap();
        assert!(!info.ultimate && info.registration_time > 1);
        assert_eq!((info.nar_hash, info.nar_size), (paths[1].0.nar_hash, paths[1].0.nar_size));
        holds_only(&store, &["a", "b"]);
    }
}

#[test]
fn large_archives_are_unpacked_on_the_way() {
    for format in [Format::Nix, Format::Nario] {
        let (_scratch, store) = scratch_store();
        let paths = [file("a", &vec![7; 5 << 20], &[]), file("b", b"b", &["a"])];
        let bytes = stream(format, &store, &paths);
        for was_here in [false, true] {
            let (all, outcome) = import(&store, &bytes[..]);
            assert_eq!(outcome.unwrap(), bytes.len() as u64);
            assert_eq!(all.came, [(some_path("a"), was_here), (some_path("b"), was_here)]);
            holds_only(&store, &["a", "b"]);
        }
    }
}

#[test]
fn sizes_and_hashes_that_are_not_right_keep_what_came_before() {
    type Lie = fn(&mut PathInfo);
    let lies: [(Lie, &str); 4] = [
        (|info| info.nar_size += 8, "bytes that are stated"),
        (|info| info.nar_size -= 8, "cannot read the archive"),
        (|info| info.nar_size = u64::MAX, "bytes that are stated"),
        (|info| info.nar_hash = store_path::Hash::of(HashAlgorithm::Sha256, b"other"), "has the hash"),
    ];
    for (lie, reason) in lies {
        let (_scratch, store) = scratch_store();
        let mut paths = [file("a", b"a", &[]), file("b", b"b", &["a"])];
        lie(&mut paths[1].0);
        let bytes = stream(Format::Nario, &store, &paths);
        let (all, outcome) = import(&store, &bytes[..]);
        let error = outcome.unwrap_err();
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |cause| cause.source());
        let text: Vec<String> = causes.map(ToString::to_string).collect();
        assert!(text.join(": ").contains(reason), "{reason}: {text:?}");
        assert_eq!(all.came, [(some_path("a"), false)], "{reason}");
        assert_eq!(bytes[all.end as usize..][..8], 1_u64.to_le_bytes(), "there the next path begins");
        holds_only(&store, &["a"]);
    }
}

#[test]
fn references_come_first() {
    for format in [Format::Nix, Format::Nario] {
        let (_scratch, store) = scratch_store();
        let paths = [file("a", b"a", &["b"]), file("b", b"b", &[])];
        let (all, outcome) = import(&store, &stream(format, &store, &paths)[..]);
        assert!(
            matches!(outcome, Err(ReceiveError::Reference { reference, .. }) if reference == some_path("b"))
        );
        assert!(all.came.is_empty());
        holds_only(&store, &[]);
    }
}

#[test]
fn what_is_left_out_has_to_be_here_and_the_same() {
    let (_scratch, store) = scratch_store();
    let (a, archive) = file("a", b"a", &[]);
    let b = file("b", b"b", &["a"]);
    let present = |info: &PathInfo| {
        let mut bytes = Format::Nario.start();
        bytes.extend([&3_u64.to_le_bytes(), &Format::Nario.before(info)[8..]].concat());
        bytes.extend(&stream(Format::Nario, &store, std::slice::from_ref(&b))[8..]);
        bytes
    };
    let (_, outcome) = import(&store, &present(&a)[..]);
    assert!(matches!(outcome, Err(ReceiveError::Absent { .. })));
    let (_, outcome) = import(&store, &stream(Format::Nix, &store, &[(a.clone(), archive)])[..]);
    outcome.unwrap();
    let other = PathInfo { nar_hash: b.0.nar_hash, ..a.clone() };
    let (_, outcome) = import(&store, &present(&other)[..]);
    assert!(matches!(outcome, Err(ReceiveError::Absent { .. })));
    let (all, outcome) = import(&store, &present(&a)[..]);
    outcome.unwrap();
    assert_eq!(all.came, [(some_path("a"), true), (some_path("b"), false)]);
    holds_only(&store, &["a", "b"]);
}

#[test]
fn what_follows_the_end_is_not_passed_over() {
    let (_scratch, store) = scratch_store();
    let bytes = stream(Format::Nix, &store, &[file("a", b"a", &[])]);
    let (all, outcome) = import(&store, bytes.chain(&b"x"[..]));
    assert!(matches!(outcome, Err(ReceiveError::More { .. })));
    assert_eq!(all.came.len(), 1);
}
