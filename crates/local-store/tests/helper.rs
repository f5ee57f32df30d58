//! This test binary once more, doing to a store all that can be done to one.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use local_store::{Inodes, LocalStore, Location, NewDerivation, Options, canonicalise};
use store_path::{Hash, HashAlgorithm, HashSink, Name, PathInfo, StorePath};

const ROOT: &str = "LOCAL_STORE_TEST_ROOT";
const ROUNDS: &str = "LOCAL_STORE_TEST_ROUNDS";

/// Starts this binary again, to work on the store below `root` for some rounds, which begin at `first`.
pub(crate) fn start(root: &Path, first: usize, rounds: usize) -> Child {
    Command::new(env::current_exe().expect("a test knows its binary"))
        .args(["--exact", "helper::work", "--nocapture", "--quiet"])
        .env(ROOT, root)
        .env(ROUNDS, format!("{first} {rounds}"))
        .stdout(Stdio::null())
        .spawn()
        .expect("a test can run its binary")
}

/// Not a test by itself: does nothing unless it is started by [`start`].
#[test]
fn work() {
    let (Some(root), Ok(rounds)) = (env::var_os(ROOT), env::var(ROUNDS)) else { return };
    let (first, rounds) = rounds.split_once(' ').expect("two numbers");
    let first: usize = first.parse().expect("a number");
    let rounds: usize = rounds.parse().expect("a number");
    let root = PathBuf::from(root);
    let store = LocalStore::open(Location::below(&root), Options::default()).expect("the store opens");
    for round in first..first + rounds {
        make_all(&store, &root, round);
    }
}

/// Adds a text, a derivation and a tree, builds an output, and makes it a root.
pub(crate) fn make_all(store: &LocalStore, root: &Path, round: usize) {
    let name = |suffix: &str| format!("p{round}{suffix}").parse::<Name>().expect("a name");
    let text = store.add_text(&name("-text"), &[b'x'; 100_000], &BTreeSet::new()).expect("a text is added");
    let source = root.join(format!("source-{}-{round}", std::process::id()));
    fs::create_dir_all(source.join("a/b")).expect("a source can be made");
    fs::write(source.join("a/b/file"), vec![7; 50_000]).expect("a source can be made");
    let tree = store.add_path(&name("-tree"), &source).expect("a tree is added");
    fs::remove_dir_all(&source).expect("a source can be removed");
    let references = BTreeSet::from([text, tree.path]);
    let aterm = format!("Derive({round})");
    let hash = Hash::of(HashAlgorithm::Sha256, aterm.as_bytes());
    let drv = store.store_dir().text_path(&name(".drv"), &hash, &references);
    let output = output_of(store, round);
    let outputs = BTreeMap::from([("out".to_owned(), output.clone())]);
    let new =
        NewDerivation { path: drv.clone(), aterm: aterm.as_bytes(), references: references.clone(), outputs };
    store.add_derivations(&[new]).expect("a derivation is added");
    build(store, &drv, &output, references);
    let link = root.join(format!("result-{round}"));
    store.add_root(&link, &output).expect("a root is made");
}

fn output_of(store: &LocalStore, round: usize) -> StorePath {
    let hash = Hash::of(HashAlgorithm::Sha256, b"");
    store.store_dir().make_path("output:out", &hash, &format!("p{round}").parse().expect("a name"))
}

/// Does what a builder does.
fn build(store: &LocalStore, drv: &StorePath, output: &StorePath, references: BTreeSet<StorePath>) {
    let _lock = store.lock(std::slice::from_ref(output)).expect("a path is locked");
    if store.is_valid(output).expect("the database answers") {
        return;
    }
    let directory = store.make_build_dir(None).expect("a build directory is made");
    fs::write(directory.path().join("temporary"), "x").expect("a build directory can be written to");
    let scratch = store.make_scratch(drv, None).expect("a scratch directory is made");
    let built = scratch.store().join(output.to_string());
    fs::create_dir_all(built.join("bin")).expect("an output can be made");
    for number in 0..20 {
        fs::write(built.join(format!("bin/{number}")), vec![7; 1000]).expect("an output can be made");
    }
    canonicalise(&built, None, &mut Inodes::default(), local_store::Until::DONE)
        .expect("an output is made canonical");
    let mut sink = HashSink::new(HashAlgorithm::Sha256);
    nar::dump(&built, &mut sink).expect("an output is hashed");
    let (nar_hash, nar_size) = sink.finish();
    store.move_into_place(&built, output).expect("an output is moved");
    let info = PathInfo {
        path: output.clone(),
        nar_hash,
        nar_size,
        references,
        deriver: Some(drv.clone()),
        registration_time: 1_700_000_000,
        ultimate: true,
        signatures: Vec::new(),
        content_address: None,
    };
    store.register(&[info]).expect("an output is registered");
}
