#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use super::*;
use crate::add::hash_tree;
use crate::store::tests::scratch_store;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use test_support::Scratch;

/// Adds a tree with a file, an executable, a symlink and an empty file in two directories; each path is another one.
fn add(scratch: &Scratch, store: &LocalStore, name: &str) -> PathBuf {
    let tree = scratch.join(name);
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::write(tree.join("name"), name).unwrap();
    for file in ["text", "bin/text", "bin/tool"] {
        fs::write(tree.join(file), "hello").unwrap();
    }
    fs::set_permissions(tree.join("bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("text", tree.join("link")).unwrap();
    File::create(tree.join("empty")).unwrap();
    store.real_path(&store.add_path(&name.parse().unwrap(), &tree).unwrap().path)
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

fn run(store: &LocalStore) -> Savings {
    store.optimise(&Optimisation::default()).unwrap()
}

#[test]
fn equal_files_become_one_and_nothing_else_changes() {
    let (scratch, store) = scratch_store();
    let [one, two] = ["one", "two"].map(|name| add(&scratch, &store, name));
    let would = store.optimise(&Optimisation { dry_run: true, ..Optimisation::default() }).unwrap();
    assert_ne!(inode(&one.join("text")), inode(&two.join("text")), "nothing is changed yet");
    assert_eq!(fs::read_dir(store.location().links()).unwrap().count(), 0);
    let saved = run(&store);
    assert_eq!(saved, would);
    // Three texts, a tool, a link and an empty file; the names are not the same.
    assert_eq!((saved.paths, saved.files, saved.bytes), (2, 6, 5 * 4 + 4));
    for file in ["text", "bin/text", "bin/tool", "link", "empty"] {
        assert_eq!(inode(&one.join(file)), inode(&two.join(file)), "{file}");
    }
    assert_eq!(inode(&one.join("text")), inode(&one.join("bin/text")));
    assert_ne!(inode(&one.join("bin/tool")), inode(&one.join("bin/text")));
    let report = store.verify(true).unwrap();
    assert!(report.damaged.is_empty() && report.links.is_empty(), "{report:?}");
    assert_eq!(fs::read_dir(store.location().links()).unwrap().count(), 6);
    let again = run(&store);
    assert_eq!((again.files, again.bytes), (0, 0));
}

#[test]
fn what_somebody_writes_to_stays_alone() {
    let (scratch, store) = scratch_store();
    let [one, two] = ["one", "two"].map(|name| add(&scratch, &store, name));
    let open = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        let file = File::options().append(true).open(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
        file
    };
    let held = open(&two.join("text"));
    if sandbox::is_open_to_write(std::os::fd::AsFd::as_fd(&File::open(two.join("text")).unwrap())).is_none() {
        println!("skipped: the file system for temporary files has no leases");
        return;
    }
    let saved = run(&store);
    assert_eq!(saved.written_to, 1);
    assert_ne!(inode(&one.join("text")), inode(&two.join("text")));
    drop(held);
    assert_eq!(run(&store).files, 1);
    assert_eq!(inode(&one.join("text")), inode(&two.join("text")));
    // Nor is anything linked to a link that somebody writes to.
    let held = open(&one.join("text"));
    let three = add(&scratch, &store, "three");
    assert_eq!(run(&store).written_to, 2);
    assert_ne!(inode(&one.join("text")), inode(&three.join("text")));
    drop(held);
}

#[test]
fn what_may_be_written_to_is_passed_by() {
    let (scratch, store) = scratch_store();
    let [one, two] = ["one", "two"].map(|name| add(&scratch, &store, name));
    fs::set_permissions(two.join("text"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run(&store).writable, 1);
    assert_ne!(inode(&one.join("text")), inode(&two.join("text")));
}

#[test]
fn a_damaged_link_is_not_linked_to() {
    for damage in ["other", "a longer text"] {
        let (scratch, store) = scratch_store();
        let one = add(&scratch, &store, "one");
        run(&store);
        let link = store.location().links().join(hash_tree(&one.join("text")).unwrap().0.to_nix32());
        fs::set_permissions(&link, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&link, &damage[..5.max(damage.len())]).unwrap();
        fs::set_permissions(&link, fs::Permissions::from_mode(0o444)).unwrap();
        let two = add(&scratch, &store, "two");
        assert_eq!(run(&store).bad_links, 1);
        assert_eq!(fs::read(two.join("text")).unwrap(), b"hello");
        assert_eq!(inode(&link), inode(&two.join("text")));
    }
}

#[test]
fn what_a_killed_one_has_left_is_put_right() {
    let (scratch, store) = scratch_store();
    let one = add(&scratch, &store, "one");
    let path: StorePath = one.file_name().unwrap().to_str().unwrap().parse().unwrap();
    // No process has this number: the kernel's limit is 2^22.
    let aside = store.location().real_store.join(".tmp-2147483647-12345");
    let roots = store.location().state_dir.join("temproots/2147483647-1");
    let leave = |named: &[&StorePath]| {
        fs::set_permissions(one.join("bin"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::hard_link(one.join("text"), &aside).unwrap();
        let named: String = named.iter().map(|path| store.store_dir().print(path) + "\0").collect();
        fs::write(&roots, named).unwrap();
        drop(LocalStore::open(store.location().clone(), crate::Options::default()).unwrap());
        assert!(!aside.exists() && !roots.exists());
    };
    leave(&[&path]);
    assert_eq!(store.verify(true).unwrap().damaged.len(), 1, "whoever has named it has not linked it");
    leave(&[&being_linked(), &path]);
    assert!(store.verify(true).unwrap().damaged.is_empty());
}

#[test]
fn new_paths_are_linked_if_that_is_wanted() {
    let (scratch, store) = scratch_store();
    let one = add(&scratch, &store, "one");
    let location = store.location().clone();
    drop(store);
    let options = crate::Options { auto_optimise_store: true, ..crate::Options::default() };
    let store = LocalStore::open(location, options).unwrap();
    let [two, three] = ["two", "three"].map(|name| add(&scratch, &store, name));
    assert_eq!(inode(&two.join("text")), inode(&three.join("bin/text")));
    assert_ne!(inode(&one.join("text")), inode(&two.join("text")), "what was there stays as it was");
    assert!(store.verify(true).unwrap().damaged.is_empty());
}

#[test]
fn many_may_do_it_at_once() {
    let (scratch, store) = scratch_store();
    let paths: Vec<PathBuf> = (0..20).map(|number| add(&scratch, &store, &format!("p{number}"))).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                LocalStore::open(store.location().clone(), crate::Options::default())
                    .unwrap()
                    .optimise(&Optimisation::default())
                    .unwrap()
            });
        }
    });
    assert!(paths.iter().all(|path| inode(&path.join("text")) == inode(&paths[0].join("text"))));
    let report = store.verify(true).unwrap();
    assert!(report.damaged.is_empty() && report.links.is_empty(), "{report:?}");
    let left = fs::read_dir(&store.location().real_store).unwrap();
    assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with(".tmp-")));
}

#[test]
fn nothing_is_linked_to_what_was_not_read_to_its_end() {
    const SIZE: usize = 9 << 20;
    let (scratch, store) = scratch_store();
    let contents = vec![b'x'; SIZE];
    fs::write(scratch.join("file"), &contents).unwrap();
    let info = store.add_path(&"file".parse().unwrap(), &scratch.join("file")).unwrap();
    let file = store.real_path(&info.path);
    // Somebody has damaged it, at its end.
    let link = store.location().links().join(hash_tree(&file).unwrap().0.to_nix32());
    fs::write(&link, [&contents[1..], b"y"].concat()).unwrap();
    fs::set_permissions(&link, fs::Permissions::from_mode(0o444)).unwrap();
    let (word, speaker) = std::io::pipe().unwrap();
    let stop = |now: Progress| {
        // The file was read, and half of the link.
        if now.bytes > SIZE as u64 {
            std::io::Write::write_all(&mut &speaker, b"!").unwrap();
        }
    };
    let until = Until::readable(Some(std::os::fd::AsFd::as_fd(&word)));
    let saved = store.optimise(&Optimisation { until, progress: &stop, ..Optimisation::default() }).unwrap();
    assert!(saved.stopped && saved.files == 0, "{saved:?}");
    assert!(fs::read(&file).unwrap() == contents);
}

#[test]
fn a_file_that_was_repaired_meanwhile_stays() {
    let (scratch, store) = scratch_store();
    let damaged = vec![b'x'; 9 << 20];
    let whole = vec![b'y'; 9 << 20];
    let add = |name: &str, contents: &[u8]| {
        fs::write(scratch.join(name), contents).unwrap();
        store.add_path(&name.parse().unwrap(), &scratch.join(name)).unwrap().path
    };
    add("other", &damaged);
    run(&store);
    let path = add("file", &whole);
    let place = store.real_path(&path);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&place, &damaged).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o444)).unwrap();
    let is_repaired = std::sync::Once::new();
    // While it is read.
    let repair = |_: Progress| {
        is_repaired.call_once(|| {
            let new = store.location().real_store.join("new");
            fs::write(&new, &whole).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(0o444)).unwrap();
            let _lock = store.lock(std::slice::from_ref(&path)).unwrap();
            store.replace(&path, &new).unwrap();
        });
    };
    store.optimise(&Optimisation { progress: &repair, ..Optimisation::default() }).unwrap();
    assert!(is_repaired.is_completed());
    assert!(fs::read(&place).unwrap() == whole);
}
