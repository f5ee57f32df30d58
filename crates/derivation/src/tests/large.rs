//! Whole package sets, 69,022 derivations: the same as for the smaller corpus, on demand.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::fs;

use super::corpus::{check_folder, unpack};

/// Takes half a minute, half a gibibyte of disk and as much memory: `cargo test -p derivation --release -- --ignored`.
#[test]
#[ignore = "takes long; `cargo test -p derivation --release -- --ignored` runs it"]
fn everything_is_as_the_index_says() {
    let Some(corpus) = unpack("drvs-large") else { return };
    let mut count = 0;
    for folder in fs::read_dir(corpus.path()).unwrap().map(|entry| entry.unwrap().path()) {
        count += check_folder(&folder);
    }
    assert_eq!(count, 69_022);
}
