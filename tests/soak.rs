//! Many processes on one store for some seconds: what `cargo xtask soak` does for half an hour.
//!
//! `STORE_TEST_SOAK=60` does it for a minute.

use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use test_support::Scratch;

use crate::scene::{has_nix, say};

#[path = "../xtask/src/soak/field/mod.rs"]
mod field;

use field::{Field, SHELL};

#[test]
fn many_at_once_lose_nothing() {
    if !Path::new(SHELL).exists() {
        say(&format!("skipped: no static `{SHELL}` for many builds at once"));
        return;
    }
    let scratch = Scratch::new();
    let seconds = env::var("STORE_TEST_SOAK").ok();
    let seconds: u64 = seconds.as_ref().map_or(4, |seconds| seconds.parse().unwrap());
    fs::create_dir(scratch.join("soak")).unwrap();
    let nix = has_nix();
    let field = Field {
        program: test_support::store_binary(env!("CARGO_BIN_EXE_store")),
        directory: scratch.join("soak"),
        seed: u64::from(std::process::id()),
        builders: 3,
        time: Duration::from_secs(seconds),
        with_nix: nix,
        has_nix: nix,
        kills: true,
    };
    let seed = field.seed;
    match field::run(field) {
        Ok(tally) => say(&format!("many at once: {tally}")),
        Err(failure) => panic!("seed {seed}: {failure}"),
    }
}
