//! Outside packages belong to the crates that are listed here, and to no other.

use cargo_metadata::{DependencyKind, Metadata};

/// An outside package and the crates that may depend on it outside their tests.
///
/// `thiserror` is everybody's: an error enum is the same habit on each floor. The reason for each package is in
/// the root `Cargo.toml`.
const OWNERS: &[(&str, &[&str])] = &[
    ("anyhow", &["cli", "xtask"]),
    ("blake3", &["store-path"]),
    ("bzip2", &["builder", "builtins"]),
    ("cargo_metadata", &["xtask"]),
    ("clap", &["cli"]),
    ("data-encoding", &["store-path", "builtins", "binary-cache", "cli"]),
    ("ed25519-dalek", &["binary-cache"]),
    ("flate2", &["builtins"]),
    ("goblin", &["sandbox"]),
    ("ignore", &["local-store"]),
    ("libc", &["sandbox"]),
    ("libtest-mimic", &["test-support"]),
    ("lzma-rust2", &["builtins"]),
    ("md-5", &["store-path"]),
    ("foldhash", &["derivation"]),
    ("memchr", &["derivation"]),
    ("nix", &["nar", "builder", "engine", "cli", "xtask"]),
    ("postcard", &["sandbox", "builtins"]),
    ("rusqlite", &["store-db", "xtask"]),
    ("rustix", &["sandbox", "local-store", "builtins"]),
    ("rustls", &["builtins"]),
    ("ruzstd", &["builtins"]),
    ("litemap", &["derivation"]),
    ("schemars", &["recipe"]),
    ("serde", &["sandbox", "derivation", "settings", "local-store", "recipe", "builder", "builtins"]),
    (
        "serde_json",
        &[
            "derivation",
            "settings",
            "binary-cache",
            "local-store",
            "recipe",
            "builder",
            "remote-builder",
            "cli",
            "xtask",
            "builtins",
        ],
    ),
    ("sha1", &["store-path"]),
    ("sha2", &["store-path", "xtask"]),
    ("similar", &["cli"]),
    ("smallvec", &["derivation"]),
    ("smol_str", &["store-path"]),
    ("strsim", &["recipe"]),
    ("tar", &["builtins"]),
    ("tempfile", &["test-support", "xtask"]),
    ("unicode-width", &["cli"]),
    ("ureq", &["builtins"]),
];
const EVERYBODYS: &str = "thiserror";
/// What tests of every crate may use.
const FOR_TESTS: &[&str] =
    &["avt", "proptest", "tempfile", "nix", "serde_json", "libtest-mimic", "jsonschema", "rustls"];

/// Complains of outside packages in crates that do not own them, and of owners that have no use for theirs.
pub(super) fn complaints(metadata: &Metadata) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut used = Vec::new();
    for package in metadata.workspace_packages() {
        for dependency in package.dependencies.iter().filter(|one| one.path.is_none()) {
            let (user, outside) = (package.name.as_str(), dependency.name.as_str());
            used.push((outside.to_owned(), user.to_owned()));
            let for_tests = dependency.kind == DependencyKind::Development && FOR_TESTS.contains(&outside);
            if !for_tests && !owns(user, outside) {
                complaints.push(format!("owners: `{outside}` does not belong in `{user}`"));
            }
        }
    }
    for (outside, owners) in OWNERS {
        for owner in *owners {
            if !used.iter().any(|(name, user)| name == outside && user == owner) {
                complaints.push(format!("owners: `{owner}` is listed for `{outside}` and does not use it"));
            }
        }
    }
    complaints
}

fn owns(user: &str, outside: &str) -> bool {
    outside == EVERYBODYS || OWNERS.iter().any(|(name, owners)| *name == outside && owners.contains(&user))
}

#[cfg(test)]
mod tests {
    use super::owns;

    #[test]
    fn sql_has_one_owner() {
        assert!(owns("store-db", "rusqlite"));
        assert!(!owns("local-store", "rusqlite"));
        assert!(!owns("cli", "tokio"), "a package nobody listed");
    }
}
