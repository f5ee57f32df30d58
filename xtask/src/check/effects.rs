//! Effects are done by the crate that owns them, and named nowhere else.
//!
//! clippy bans the calls one by one, but an `expect` with a reason lifts its ban; this list cannot be lifted
//! from inside a crate. It looks for words, not for meaning: good enough for code that is not out to deceive.

use super::source::Source;

/// A word, and where it may stand: whole crates (`engine`) or single files (`local-store/src/threads.rs`).
const EFFECTS: &[(&str, &[&str])] = &[
    ("nix::mount", &["sandbox"]),
    // On which processors a thread may be is no matter of isolation.
    ("nix::sched", &["sandbox", "cli/src/threads.rs"]),
    ("rustix::mount", &["sandbox"]),
    ("rustix::thread", &["sandbox"]),
    ("pivot_root", &["sandbox"]),
    ("libc::", &["sandbox"]),
    (
        "unsafe ",
        &[
            "sandbox/src/sys.rs",
            "sandbox/src/sys/files.rs",
            "sandbox/src/sys/observe.rs",
            "sandbox/src/sys/restrict.rs",
        ],
    ),
    ("rusqlite", &["store-db"]),
    ("thread::spawn", &["engine"]),
    (
        "thread::Builder",
        &["engine", "local-store/src/threads.rs", "cli/src/interrupt.rs", "cli/src/threads.rs"],
    ),
    (
        "thread::scope",
        &["engine", "local-store/src/threads.rs", "cli/src/interrupt.rs", "cli/src/threads.rs"],
    ),
    ("env::var", &["cli"]),
    ("env::args", &["cli", "sandbox/src/server.rs"]),
    ("env::current_dir", &["cli"]),
    ("env::temp_dir", &[]),
    ("Command::new", &["sandbox/src/launcher.rs", "sandbox/src/host_program.rs"]),
    ("process::exit", &["cli/src/interrupt.rs"]),
    // Engine reads derivations, and store-db how a database lies there that nobody may touch; both write nothing.
    (
        "fs::",
        &[
            "nar",
            "sandbox",
            "local-store",
            "builtins",
            "builder",
            "engine/src/read.rs",
            "store-db/src/untouched.rs",
            "cli",
        ],
    ),
    ("File::", &["nar", "sandbox", "local-store", "builtins", "builder", "store-db/src/untouched.rs", "cli"]),
    ("SystemTime", &["local-store", "builder", "engine", "cli"]),
    ("Instant", &["sandbox", "builtins", "builder", "engine", "cli"]),
    ("println!", &[]),
    ("anyhow", &["cli"]),
];

/// Crates that are no part of the product.
const TOOLS: &[&str] = &["xtask", "test-support"];

/// Complains of effects outside their owners.
pub(super) fn complaints(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| !TOOLS.contains(&source.owner.as_str())) {
        for (line, code) in &source.lines {
            for (word, owners) in EFFECTS {
                if names(code, word) && !owned(owners, source) {
                    let place = format!("{}/{}:{line}", source.owner, source.path);
                    complaints.push(format!("effects: `{word}` does not belong in {place}"));
                }
            }
        }
    }
    complaints
}

fn owned(owners: &[&str], source: &Source) -> bool {
    let file = format!("{}/{}", source.owner, source.path);
    owners.iter().any(|owner| *owner == source.owner || *owner == file)
}

/// Tells whether `word` stands in the code, and not as the end of a longer name.
fn names(code: &str, word: &str) -> bool {
    let part_of_name = |before: char| before.is_alphanumeric() || before == '_';
    code.match_indices(word).any(|(start, _)| !code[..start].ends_with(part_of_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(owner: &str, code: &str) -> Source {
        Source { owner: owner.into(), path: "src/lib.rs".into(), lines: vec![(1, code.into())] }
    }

    #[test]
    fn an_effect_has_its_owner() {
        assert_eq!(complaints(&[source("sandbox", "use nix::mount::mount;")]), [""; 0]);
        assert_eq!(
            complaints(&[source("builder", "use nix::mount::mount;")]),
            ["effects: `nix::mount` does not belong in builder/src/lib.rs:1"]
        );
    }

    #[test]
    fn longer_names_are_other_names() {
        assert!(names("std::fs::read(x)", "fs::"));
        assert!(!names("prefs::read(x)", "fs::"));
        assert!(!names("MyFile::new()", "File::"));
    }
}
