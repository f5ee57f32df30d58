//! `store optimise`, and the setting `auto-optimise-store`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::scene::{Run, Scene, has_nix, is_root, say};

/// Adds a directory with files that are in others, too.
fn add(scene: &Scene, name: &str) -> String {
    let tree = scene.path(name);
    fs::create_dir_all(tree.join("bin/deep")).unwrap();
    fs::write(tree.join("name"), name).unwrap();
    for (file, contents) in
        [("text", "hello"), ("bin/text", "hello"), ("bin/deep/other", "another"), ("empty", "")]
    {
        fs::write(tree.join(file), contents).unwrap();
    }
    fs::write(tree.join("bin/tool"), "hello").unwrap();
    fs::set_permissions(tree.join("bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("text", tree.join("link")).unwrap();
    scene.ok(&["add", name])
}

/// Returns for each file in the store which name has the same file first; and its mode and time.
fn picture(scene: &Scene) -> Vec<(String, String, u32, i64)> {
    let top = scene.root().join("nix/store");
    let mut files = Vec::new();
    let mut ahead = vec![top.clone()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                ahead.push(path.clone());
            }
            files.push(path);
        }
    }
    files.sort();
    let mut firsts: BTreeMap<u64, String> = BTreeMap::new();
    let tell = |path: &Path| {
        let name = path.strip_prefix(&top).unwrap().display().to_string();
        let metadata = fs::symlink_metadata(path).unwrap();
        let time = if name == ".links" { 0 } else { metadata.mtime() };
        let first = firsts.entry(metadata.ino()).or_insert(name.clone()).clone();
        (name, first, metadata.mode(), time)
    };
    files.iter().map(|path| path.as_path()).map(tell).collect()
}

fn nix(scene: &Scene, arguments: &[&str]) -> String {
    let mut command = Command::new("nix-store");
    command.arg("--store").arg(scene.root()).args(["--option", "build-users-group", ""]).args(arguments);
    let output = command.env("HOME", scene.path("home")).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "nix-store {arguments:?}: {said}");
    said
}

#[test]
fn what_would_be_saved_is_saved_and_modes_and_times_stay() {
    let scene = Scene::new();
    for name in ["one", "two", "three"] {
        add(&scene, name);
    }
    let before = picture(&scene);
    let would: serde_json::Value =
        serde_json::from_str(&scene.ok(&["optimise", "--dry-run", "--json"])).unwrap();
    assert_eq!(picture(&scene), before);
    let saved: serde_json::Value = serde_json::from_str(&scene.ok(&["optimise", "--json"])).unwrap();
    for key in ["paths", "files", "bytes"] {
        assert_eq!(saved[key], would[key], "{key}");
    }
    // Of each three the text five times more, the tool, the other, the link and the empty one twice.
    assert_eq!(
        (saved["files"].as_u64(), saved["bytes"].as_u64()),
        (Some(13), Some(5 * 5 + 2 * 5 + 2 * 7 + 2 * 4))
    );
    let after = picture(&scene);
    let stays = |before: &(String, String, u32, i64)| {
        after.iter().any(|after| (&after.0, after.2, after.3) == (&before.0, before.2, before.3))
    };
    assert!(before.iter().all(stays), "{before:?}\n{after:?}");
    assert!(after.iter().all(|file| file.0 == ".links" || file.3 == 1), "{after:?}");
    assert_eq!(scene.ok(&["optimize"]), "0 B saved by linking 0 files");
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn nix_and_store_leave_each_other_nothing_to_do() {
    if !has_nix() {
        return;
    }
    let (ours, theirs) = (Scene::new(), Scene::new());
    for scene in [&ours, &theirs] {
        for name in ["one", "two", "three"] {
            add(scene, name);
        }
    }
    ours.ok(&["optimise"]);
    nix(&theirs, &["--optimise"]);
    // The first file with some contents is another one, as directories are in no order.
    let links = |scene: &Scene| -> Vec<(String, u64)> {
        let count = |entry: fs::DirEntry| {
            (entry.file_name().into_string().unwrap(), fs::symlink_metadata(entry.path()).unwrap().nlink())
        };
        let mut links: Vec<_> =
            fs::read_dir(scene.root().join("nix/store/.links")).unwrap().flatten().map(count).collect();
        links.sort();
        links
    };
    assert_eq!(links(&ours), links(&theirs));
    let (before_ours, before_theirs) = (picture(&ours), picture(&theirs));
    assert!(nix(&ours, &["--optimise"]).contains("hard-linking 0 files"));
    assert_eq!(theirs.ok(&["optimise"]), "0 B saved by linking 0 files");
    assert_eq!((picture(&ours), picture(&theirs)), (before_ours, before_theirs));
    nix(&ours, &["--verify", "--check-contents"]);
    theirs.ok(&["verify", "--contents"]);
}

#[test]
fn a_file_that_is_held_open_to_write_stays_alone() {
    let scene = Scene::new();
    let [one, two] = ["one", "two"].map(|name| scene.real(&add(&scene, name)));
    let held = two.join("bin/deep/other");
    fs::set_permissions(&held, fs::Permissions::from_mode(0o644)).unwrap();
    // Another process, as a builder has left it.
    let mut writer = Command::new("sh")
        .args(["-c", "exec 3>>\"$0\"; echo; read word; printf x >&3"])
        .arg(&held)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0];
    std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut line).unwrap();
    fs::set_permissions(&held, fs::Permissions::from_mode(0o444)).unwrap();
    let run = scene.run(&["optimise"]);
    assert_eq!(run.code, Some(0));
    assert!(run.stderr.contains("1 files stay alone"), "{}", run.stderr);
    drop(writer.stdin.take());
    writer.wait().unwrap();
    assert_eq!(fs::read_to_string(one.join("bin/deep/other")).unwrap(), "another");
    assert_eq!(fs::read_to_string(&held).unwrap(), "anotherx");
}

#[test]
fn new_paths_are_linked_if_the_setting_says_so() {
    let scene = Scene::new();
    let option = ["--option", "auto-optimise-store", "true"];
    for name in ["one", "two"] {
        fs::write(scene.path(name), "the same").unwrap();
    }
    let paths = ["one", "two"].map(|name| scene.ok(&[&["add", name], &option[..]].concat()));
    let inode = |path: &str| fs::metadata(scene.real(path)).unwrap().ino();
    assert_eq!(inode(&paths[0]), inode(&paths[1]));
    // What is built, too.
    let built = scene.script("printf 'the same' > $out", &option);
    assert_eq!(built, "the same");
    let names = fs::read_dir(scene.root().join("nix/store")).unwrap().flatten();
    let built =
        names.map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with("-script")).unwrap();
    assert_eq!(fs::metadata(built).unwrap().ino(), inode(&paths[0]));
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn killed_in_the_middle_it_is_done_again() {
    for step in ["optimise.linked:3", "optimise.aside:2", "optimise.renamed:2", "optimise.replaced:2"] {
        let scene = Scene::new();
        for name in ["one", "two"] {
            add(&scene, name);
        }
        let mut command = scene.command(&["optimise"]);
        let run: Run = command.env("STORE_FAILPOINT", format!("{step}=kill")).output().unwrap().into();
        assert_eq!(run.code, None, "{step}: {}", run.stderr);
        // Every file is whole at every moment.
        for name in ["one", "two"] {
            let path = scene.ok(&["add", name]);
            assert_eq!(
                fs::read_to_string(scene.real(&path).join("bin/deep/other")).unwrap(),
                "another",
                "{step}"
            );
        }
        // The next start, whatever it is for, puts right what has not been.
        scene.ok(&["verify", "--contents"]);
        scene.ok(&["optimise"]);
        scene.ok(&["verify", "--contents"]);
        assert_eq!(scene.ok(&["optimise"]), "0 B saved by linking 0 files", "{step}");
        let left = fs::read_dir(scene.root().join("nix/store")).unwrap().flatten();
        assert!(
            left.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with(".tmp")),
            "{step}"
        );
    }
}

#[test]
fn a_file_system_may_keep_equal_bytes_once() {
    let scene = Scene::new();
    let image = scene.path("image");
    let mounted = scene.path("mounted");
    if !is_root() || !has_tool("mkfs.xfs") {
        return;
    }
    fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
    fs::create_dir(&mounted).unwrap();
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let made = run("mkfs.xfs", &["-q".as_ref(), image.as_ref()])
        && run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), mounted.as_ref()]);
    if !made {
        say("skipped: cannot mount an image of xfs");
        return;
    }
    let unmount = Unmount(mounted.clone());
    let store = |arguments: &[&str]| -> String {
        let output = scene.elsewhere().arg("--store").arg(&mounted).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    for name in ["one", "two"] {
        fs::write(scene.path(name), vec![7; 20 << 20]).unwrap();
    }
    let paths = ["one", "two"].map(|name| mounted.join(&store(&["add", name])[1..]));
    assert_eq!(store(&["optimise", "--reflink"]), "20 MiB saved by sharing the bytes of 1 files");
    let inodes = paths.each_ref().map(|path| fs::metadata(path).unwrap().ino());
    assert_ne!(inodes[0], inodes[1]);
    store(&["verify", "--contents"]);
    drop(unmount);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn has_tool(name: &str) -> bool {
    let directories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    let found = directories.iter().any(|directory| Path::new(directory).join(name).exists());
    if !found {
        say(&format!("skipped: no `{name}` on this machine"));
    }
    found
}
