//! Stores that nothing may be written to: read without a byte that changes, and refused to whoever writes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::confined;
use crate::scene::{Run, Scene, is_root, text};

/// Everything below a directory: what kind, how large, and when it was changed.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, i64, u64)> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let times = (metadata.mtime(), metadata.mtime_nsec());
        found.insert(path, (metadata.mode(), metadata.size(), times.0, times.1, metadata.ino()));
    }
    found
}

/// A store with something built and something added; returns a derivation and what was built.
fn filled(scene: &Scene) -> (String, String) {
    let built = scene.build("hello").remove(0);
    scene.ok(&["add", &scene.write("file", "x")]);
    (scene.ok(&["query", "--deriver", &built]), built)
}

/// Asks all that can be asked.
fn ask(scene: &Scene, drv: &str, built: &str, run: impl Fn(&[&str]) -> Run) {
    let before = snapshot(&scene.root());
    let questions = [
        &["query", "--requisites", built][..],
        &["query", "--outputs", drv],
        &["path-info", "--json", "--recursive", built],
        &["derivation", "show", drv],
        &["log", drv],
        &["log", "--about", built],
        &["verify"],
        &["verify", "--contents"],
        &["verify", "--isolated"],
        &["query", "--roots", built],
        &["query", "--tree", built],
        &["ls", built],
        &["cat", built],
        &["export", built],
        &["gc", "--print-dead"],
        &["root", "list"],
        &["ps"],
        &["dump", built],
    ];
    for question in questions {
        let run = run(question);
        assert_eq!(run.code, Some(0), "{question:?}: {}", run.stderr);
        assert_eq!(snapshot(&scene.root()), before, "{question:?}");
    }
}

/// Wants what cannot be done.
fn refuses(scene: &Scene, built: &str, why: &str, run: impl Fn(&[&str]) -> Run) {
    let before = snapshot(&scene.root());
    for demand in [&["add", "file"][..], &["delete", built], &["build", "--no-link", "other.json"]] {
        let run = run(demand);
        assert_eq!(run.code, Some(1), "{demand:?}: {}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains("cannot write to `"), "{demand:?}: {}", run.stderr);
        assert!(run.stderr.contains(why), "{demand:?}: {}", run.stderr);
        assert_eq!(snapshot(&scene.root()), before, "{demand:?}");
    }
}

fn options<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["--option", "read-only", "true"], arguments].concat()
}

#[test]
fn the_setting_is_kept() {
    let scene = Scene::new();
    let (drv, built) = filled(&scene);
    ask(&scene, &drv, &built, |question| scene.run(&options(question)));
    refuses(&scene, &built, "the setting `read-only`", |demand| scene.run(&options(demand)));
}

#[test]
fn a_file_system_that_is_mounted_read_only_is_read() {
    let scene = Scene::new();
    let (drv, built) = filled(&scene);
    let place = text(scene.root());
    let confined =
        |arguments: &[&str]| confined::run(&scene, &["user", "1000", "read-only", &place], arguments);
    ask(&scene, &drv, &built, confined);
    refuses(&scene, &built, &format!("mount -o remount,rw {place}"), confined);
}

#[test]
fn the_store_of_somebody_else_is_read() {
    if is_root() {
        // Whom no mode keeps out.
        return;
    }
    let scene = Scene::new();
    let (drv, built) = filled(&scene);
    let closed = ["nix/store", "nix/var/nix", "nix/var/nix/db"].map(|path| scene.root().join(path));
    let allow = |mode| {
        closed.iter().for_each(|path| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap())
    };
    allow(0o555);
    ask(&scene, &drv, &built, |question| scene.run(question));
    refuses(&scene, &built, "this user may not write there", |demand| scene.run(demand));
    allow(0o755);
    scene.ok(&["delete", &built]);
}
