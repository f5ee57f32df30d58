//! The archives that Nix tests itself with (`libutil-tests` and `functional`, 2.36 before its release).

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::rewrite;
use crate::{Problem, dump, restore};
use test_support::Scratch;

/// Where they are in the Nix repository.
const UPSTREAM: [&str; 3] =
    ["src/libutil-tests/data/nars", "src/libutil-tests/fuzz/data/nars", "tests/functional"];

fn archives(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "nar"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

fn is_as_expected(name: &str, problem: &Problem) -> bool {
    match name {
        "dot" | "dotdot" | "slash" | "empty" | "nul-character" => matches!(problem, Problem::Name { .. }),
        "executable-after-contents" | "name-after-node" | "invalid-tag-instead-of-contents" => {
            matches!(problem, Problem::Token { .. } | Problem::Length { .. })
        }
        "regular-one-byte-non-zero-padding" => matches!(problem, Problem::Padding),
        "regular-truncated-padding" | "regular-truncated-large-contents" => {
            matches!(problem, Problem::Truncated)
        }
        "duplicate" => matches!(problem, Problem::Order { .. }),
        _ => false,
    }
}

fn refuse(directory: &Path, name: &str, archive: &[u8]) {
    let problem = rewrite(archive).expect_err(name).problem;
    assert!(is_as_expected(name, &problem), "{name}: {problem:?}");
    let scratch = Scratch::new();
    restore(&mut &archive[..], &scratch.join("tree")).expect_err(&format!("{}/{name}", directory.display()));
}

fn accept(name: &str, archive: &[u8]) {
    let with_more = [archive, b"what follows"].concat();
    assert_eq!(rewrite(&with_more).expect(name), (archive.to_vec(), &b"what follows"[..]), "{name}");

    let scratch = Scratch::new();
    let tree = scratch.join("tree");
    restore(&mut &archive[..], &tree).expect(name);
    let mut dumped = Vec::new();
    assert_eq!(dump(&tree, &mut dumped).expect(name), archive.len() as u64, "{name}");
    assert_eq!(dumped, archive, "{name}");
}

#[test]
fn bad_archives_are_refused() {
    let directory = test_support::fixture("nars/bad/");
    let archives = archives(&directory);
    assert_eq!(archives.len(), 12);
    archives.iter().for_each(|(name, archive)| refuse(&directory, name, archive));
}

#[test]
fn good_archives_come_back_the_same() {
    let archives = archives(&test_support::fixture("nars/good/"));
    assert_eq!(archives.len(), 7);
    archives.iter().for_each(|(name, archive)| accept(name, archive));
}

#[test]
fn all_of_upstream_is_judged_like_our_copies() {
    let bad = archives(&test_support::fixture("nars/bad/"));
    for directory in UPSTREAM {
        let Some(directory) = test_support::shared(&format!("corpus/nix-golden/master/{directory}")) else {
            return;
        };
        for (name, archive) in archives(&directory) {
            if bad.contains_key(&name) {
                refuse(&directory, &name, &archive);
            } else {
                accept(&name, &archive);
            }
        }
    }
}
