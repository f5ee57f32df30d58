//! Where the project, its neighbours and its binary are.

#![expect(clippy::disallowed_methods, reason = "tests are told by the environment where things are")]

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Returns the project's root: the directory that holds `fixtures`.
pub fn project_root() -> PathBuf {
    env::var_os("STORE_TEST_ROOT").map_or_else(compiled_root, PathBuf::from)
}

fn compiled_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("test-support lies two levels below the root").to_owned()
}

/// Returns the developers' `../shared`, or says that a test is skipped.
///
/// `needed` is the part the caller wants, such as `corpus/nix-golden`; the path returned includes it. The line
/// goes straight to standard error, past the test harness, which would show it for failing tests only.
pub fn shared(needed: &str) -> Option<PathBuf> {
    let shared =
        env::var_os("STORE_TEST_SHARED").map_or_else(|| project_root().join("../shared"), PathBuf::from);
    let path = shared.join(needed);
    if path.exists() {
        return Some(path);
    }
    // A closed standard error is no reason to fail a test.
    let _ = writeln!(io::stderr(), "skipped: no `{}` on this machine", path.display());
    None
}

/// Returns the `store` binary to test; `compiled` is `env!("CARGO_BIN_EXE_store")` of the caller.
pub fn store_binary(compiled: &str) -> PathBuf {
    env::var_os("STORE_TEST_BIN").unwrap_or_else(|| compiled.into()).into()
}
