//! Real software, compiled from source in the sandbox.
//!
//! `../shared/workloads/make-workload.sh target/workload` downloads what this needs. The whole chain takes some
//! fifteen minutes; here it is built up to `zlib` and `lua`.

use std::fs;
use std::path::{Path, PathBuf};

use test_support::{project_root, shared};

use crate::scene::{Scene, say, text};

/// Returns the downloads, or says that the test is skipped.
fn downloads() -> Option<PathBuf> {
    let place = std::env::var_os("STORE_TEST_WORKLOAD")
        .map_or_else(|| project_root().join("target/workload"), PathBuf::from);
    if place.join("inputs.tsv").exists() {
        return Some(place);
    }
    say(&format!("skipped: no downloads of the workload in `{}`", place.display()));
    None
}

fn lines(file: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

#[test]
fn a_toolchain_compiles_packages_to_the_recorded_hashes() {
    let (Some(expected), Some(workload)) = (shared("workloads/expected"), downloads()) else { return };
    let scene = Scene::new();
    scene.ok(&["add", "--manifest", &text(workload.join("inputs.tsv"))]);
    scene.ok(&["derivation", "add", &text(workload.join("bootstrap.json"))]);
    let roots = lines(&expected.join("roots.tsv"));
    let wanted = |row: &&Vec<String>| {
        row[0] == "bootstrap.json" && (row[1].contains("-zlib-") || row[1].contains("-lua-"))
    };
    let mut build = vec!["build", "--no-link", "--option", "sandbox-shell", "none"];
    build.extend(roots.iter().filter(wanted).map(|row| row[1].as_str()));
    assert_eq!(build.len(), 7, "zlib and lua are among the roots");
    let built = scene.ok(&build);
    assert_eq!(scene.ok(&build), built, "a second run finds all of it");
    let mut query = vec!["path-info", "--recursive", "--json"];
    query.extend(built.lines());
    compare(&scene.ok(&query), &lines(&expected.join("outputs.tsv")));
}

/// Compares path, hash, size and references of everything with what Nix recorded.
fn compare(json: &str, recorded: &[Vec<String>]) {
    let infos: Vec<serde_json::Value> = serde_json::from_str(json).unwrap();
    for info in &infos {
        let path = info["path"].as_str().unwrap();
        let Some(row) = recorded.iter().find(|row| row[0] == path) else {
            panic!("`{path}` was not recorded")
        };
        assert_eq!(info["narHash"].as_str(), Some(&*row[1]), "{path}");
        assert_eq!(info["narSize"].to_string(), row[2], "{path}");
        let references = info["references"].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
        assert_eq!(references.collect::<Vec<_>>().join(" "), row[3], "{path}");
    }
    assert!(infos.len() > 2, "zlib and lua need a C library");
}
