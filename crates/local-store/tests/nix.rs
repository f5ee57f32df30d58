//! Nix opens what we made, and we open what Nix made.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use local_store::{LocalStore, Location, Options, Root};
use store_path::{PathInfo, StorePath};
use test_support::Scratch;

use crate::helper;

/// Whether Nix is on this machine; says so where it is not.
fn has_nix() -> bool {
    let found = Command::new("nix-store").arg("--version").output().is_ok();
    if !found {
        // Past the test harness, which would show it for failing tests only.
        let _ = writeln!(std::io::stderr(), "skipped: no `nix-store` on this machine");
    }
    found
}

/// Runs `nix-store` on the store below `root`; neither network, nor build users, nor settings of the machine.
fn nix_store(root: &Path, arguments: &[&str]) -> Output {
    let command = Command::new("nix-store")
        .arg("--store")
        .arg(root)
        .args(["--option", "substitute", "false", "--option", "build-users-group", ""])
        .args(arguments)
        .env("HOME", root)
        // Nix wants a name for whoever runs it, and a test user may have no account.
        .env("USER", "builder")
        .env("NIX_CONF_DIR", root)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&command.stderr).into_owned();
    assert!(command.status.success(), "{arguments:?}: {text}");
    command
}

fn lines(output: &Output) -> BTreeSet<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn open(root: &Path) -> LocalStore {
    LocalStore::open(Location::below(root), Options::default()).unwrap()
}

fn full(store: &LocalStore, paths: &BTreeSet<StorePath>) -> BTreeSet<String> {
    paths.iter().map(|path| store.store_dir().print(path)).collect()
}

#[test]
fn nix_accepts_our_store() {
    if !has_nix() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.path();
    let store = open(root);
    helper::make_all(&store, root, 0);
    let (output, Root::Link(link)) = store.lasting_roots().unwrap().roots.remove(0) else {
        panic!("a link is the root")
    };
    assert_eq!(link, root.join("result-0"));
    // While ours is open: Nix takes the same locks.
    let verified = nix_store(root, &["--verify", "--check-contents"]);
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(!said.contains("error") && !said.contains("warning"), "{said}");
    let printed = store.store_dir().print(&output);
    let closure = full(&store, &store.closure(&BTreeSet::from([output.clone()])).unwrap());
    assert_eq!(lines(&nix_store(root, &["-qR", &printed])), closure);
    let info = store.path_info(&output).unwrap().unwrap();
    assert_eq!(lines(&nix_store(root, &["-q", "--hash", &printed])), [info.nar_hash.to_string()].into());
    let deriver = store.store_dir().print(&info.deriver.unwrap());
    assert_eq!(lines(&nix_store(root, &["-q", "--deriver", &printed])), [deriver.clone()].into());
    assert!(lines(&nix_store(root, &["--gc", "--print-roots"])).iter().any(|line| line.ends_with(&printed)));
    drop(store);
    nix_store(root, &["--gc"]);
    let store = open(root);
    let kept = full(&store, &store.all_valid().unwrap());
    // Nix keeps the derivation of what it keeps.
    assert_eq!(kept, &closure | &BTreeSet::from([deriver]), "the root and what it needs stay");
    drop(store);
    fs::remove_file(&link).unwrap();
    // Ours forgets that root; then nothing is left for Nix to keep.
    let store = open(root);
    store.delete(&[output], local_store::Keep::default()).unwrap();
    drop(store);
    nix_store(root, &["--gc"]);
    assert!(open(root).all_valid().unwrap().is_empty());
}

#[test]
fn we_accept_the_store_of_nix() {
    if !has_nix() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.path();
    fs::write(scratch.join("hello.txt"), "hello\n").unwrap();
    fs::create_dir_all(scratch.join("tree/a")).unwrap();
    fs::write(scratch.join("tree/a/file"), "x").unwrap();
    let (file, tree) = (scratch.join("hello.txt"), scratch.join("tree"));
    nix_store(root, &["--add", file.to_str().unwrap(), tree.to_str().unwrap()]);
    let store = open(root);
    assert_eq!(fs::read(store.location().state_dir.join("db/schema")).unwrap(), b"10");
    let infos: Vec<PathInfo> = store.path_infos(&store.all_valid().unwrap()).unwrap().into_values().collect();
    assert_eq!(infos.len(), 2);
    assert!(store.verify(true).unwrap().damaged.is_empty());
    for (name, source) in [("hello.txt", &file), ("tree", &tree)] {
        let own = store.add_path(&name.parse().unwrap(), source).unwrap();
        assert!(infos.contains(&own), "Nix gave it the same path, hash and address: {own:?}");
    }
    helper::make_all(&store, root, 0);
    drop(store);
    nix_store(root, &["--verify", "--check-contents"]);
}
