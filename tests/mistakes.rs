//! What a person types wrongly, or pastes: `--help`, exit codes of usage errors, and what is said.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Command;

use crate::export::export;
use crate::scene::{Run, Scene, derivation, has, say, text};

/// Returns every verb with its `--help`, the verbs of verbs too.
fn helps(scene: &Scene) -> Vec<(Vec<String>, String)> {
    let mut left: Vec<Vec<String>> = vec![Vec::new()];
    let mut all = Vec::new();
    while let Some(verb) = left.pop() {
        let words: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
        let help = scene.ok(&words);
        let below = help.split("\nCommands:\n").nth(1).unwrap_or_default();
        let names = below.lines().take_while(|line| line.starts_with("  "));
        // What a verb is for may go on in a line of its own.
        let names =
            names.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
        let names = names.filter(|name| *name != "help");
        left.extend(names.map(|name| [&verb[..], &[name.to_owned()]].concat()));
        all.push((verb, help));
    }
    all
}

#[test]
fn what_help_gives_for_an_example_can_be_pasted_into_a_shell() {
    /// What an example may begin with, so that the rest of one is not taken for another.
    const FIRST: &[&str] = &["store", "ssh", "printf", "nix", "nix-store", "nix-instantiate", "#"];
    let scene = Scene::new();
    let mut seen = BTreeSet::new();
    for (verb, help) in helps(&scene) {
        let (_, examples) = help.split_once("\nExample").expect("every verb has an example");
        let examples = examples.lines().skip(1).take_while(|line| line.starts_with("  "));
        for example in examples.map(str::trim_start) {
            let first = example.split_whitespace().next().unwrap();
            assert!(FIRST.contains(&first), "{verb:?}: an example goes on in another line: {example}");
            let shell = Command::new("sh").args(["-n", "-c", example]).output().unwrap();
            assert!(
                shell.status.success(),
                "{verb:?}: {example}: {}",
                String::from_utf8_lossy(&shell.stderr)
            );
            seen.insert(verb.clone());
        }
        assert!(seen.contains(&verb), "{verb:?} has no example");
    }
    assert!(seen.len() > 50 && seen.contains(&vec!["root".to_owned(), "add".to_owned()]), "{seen:?}");
}

#[test]
fn what_is_wrong_on_the_command_line_is_a_usage_error() {
    let scene = Scene::new();
    let out = scene.build("hello").remove(0);
    for (arguments, says) in [
        (&["config", "show", "--option", "min-free", "5x"][..], "expected a whole number"),
        (&["config", "show", "--option", "read-only", "maybe"], "expected `true` or `false`"),
        (&["config", "show", "--option", "no-such-setting", "1"], "`store config show` lists all settings"),
        (&["config", "show", "--option", "extra-cores", "1"], "is not a list"),
        (&["config", "show", "--option", "cores", "99999999999999T"], "the number is too large"),
        (&["config", "show", "no-such-setting"], "`store config show` lists all settings"),
        (&["build", "-j", "0", "x.json"], "`--dry-run`"),
        (&["build", "--events", "-", "x.json"], "stdout is for results"),
        (&["build", "--timeout", "99999999999999999999h", "x.json"], "that is too long"),
        (&["key", "generate", "a:b"], "name"),
        (&["export", &out, "--from-byte", "8"], "needs `--format 2`"),
        (&["export", &out, "--format", "2", "--from-byte", "8x"], "expected a whole number"),
        (&["gc", "--max-freed", "10Gi"], "K, M, G or T"),
        (&["gc", "--max-freed", "99999999T"], "the number is too large"),
        (&["why-depends", &out, &out, "--limit", "5x"], "expected a whole number"),
        (&["log", &out, "--tail", "99999999999999999999"], "the number is too large"),
    ] {
        let said = scene.fails(2, arguments);
        assert!(said.contains(says) && !said.contains("invalid digit"), "{arguments:?}: {said}");
    }
    // Not what stands in a file.
    let file = scene.path("home/.config/store/store.conf");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "read-only = maybe\n").unwrap();
    scene.fails(1, &["config", "show"]);
}

#[test]
fn sizes_and_ages_are_read_as_people_write_them() {
    let scene = Scene::new();
    let out = scene.build("hello").remove(0);
    let shown = scene.ok(&["config", "show", "min-free", "--option", "min-free", "10GiB"]);
    assert!(shown.contains(&(10u64 << 30).to_string()), "{shown}");
    scene.ok(&["gc", "--max-freed", "1KiB", "--dry-run"]);
    // However long ago: nothing is that old.
    let run = scene.run(&["gc", "--older-than", "99999999999999999999d"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""), "{}", run.stderr);
    scene.ok(&["path-info", &out]);
}

/// Runs the program with a full disk in place of stdout.
fn on_full(scene: &Scene, arguments: &[&str]) -> Run {
    let full = File::options().write(true).open("/dev/full").unwrap();
    scene.command(arguments).stdout(full).output().unwrap().into()
}

#[test]
fn what_is_done_though_it_cannot_be_printed_is_said() {
    let scene = Scene::new();
    let out = scene.build("hello").remove(0);
    let file = scene.write("file", "text");
    let hello = derivation("hello");
    let added = scene.ok(&["add", &scene.write("other", "text")]);
    let link = text(scene.path("kept"));
    // More than is held back until it is written.
    let large = scene.ok(&["add", &scene.write("large", "x".repeat(200_000))]);
    fs::create_dir(scene.path("many")).unwrap();
    (0..2_000).for_each(|number| drop(scene.write(&format!("many/{number:0>60}"), "")));
    let many = scene.ok(&["add", &text(scene.path("many"))]);
    for (arguments, done) in [
        (&["build", "--no-link", &hello][..], "; what was built is there"),
        (&["build", "--dry-run", &derivation("two-outputs")], ""),
        (&["add", &file], "; what was added is there"),
        (&["root", "add", &link, &out], "; the roots are there"),
        (&["ls", &out], ""),
        (&["cat", &added], ""),
        (&["cat", &large], ""),
        (&["ls", &many], ""),
        (&["dump", &large], ""),
        (&["export", &large], ""),
        (&["query", "--roots", &out], ""),
        (&["key", "generate", "k-1"], ""),
        (&["key", "generate", "k-1", "--out", "secret"], "; the secret key is in its file"),
        (&["gc", "--dry-run"], ""),
        (&["gc", "--print-live"], ""),
        (&["root", "remove", &link], "; the roots are gone"),
        (&["gc"], "; what was deleted is gone"),
    ] {
        let run = on_full(&scene, arguments);
        assert_eq!(run.code, Some(1), "{arguments:?}: {}", run.stderr);
        let told = format!("takes no more{done}\n");
        assert!(run.stderr.ends_with(&told), "{arguments:?}: {}", run.stderr);
        assert!(!run.stderr.contains("store: No space"), "what could not be done is said: {}", run.stderr);
    }
    assert!(!scene.real(&out).exists(), "it is gone");
}

#[test]
fn what_is_not_found_is_named_and_so_is_the_store() {
    let scene = Scene::new();
    let file = scene.write("file", "text");
    let path = scene.ok(&["add", &file]);
    for verb in ["ls", "cat"] {
        let said = scene.fails(1, &[verb, &format!("{path}/no/such")]);
        assert!(said.contains(&format!("{path}/no/such`: Not a directory")), "{said}");
    }
    let absent = "/nix/store/00000000000000000000000000000000-absent";
    let said = scene.fails(1, &["path-info", absent]);
    assert!(said.contains(&format!("the store is at `{}`", text(scene.root().join("nix/store")))), "{said}");
    let said = scene.fails(1, &["root", "add", "no-such/keep", &path]);
    assert!(said.contains("make the directory first"), "{said}");
    let said = scene.fails(1, &["key", "generate", "k-1", "--out", "file"]);
    assert!(said.contains("name another file"), "{said}");
}

/// Runs the program with that file for stdin.
fn with_stdin(scene: &Scene, arguments: &[&str], file: &str) -> Run {
    scene.command(arguments).stdin(File::open(file).unwrap()).output().unwrap().into()
}

#[test]
fn what_cannot_be_imported_has_the_remedy_that_helps() {
    let (here, there) = (Scene::new(), Scene::new());
    let out = here.build("hello").remove(0);
    let streams = ["1", "2"].map(|format| text(export(&here, &["-R", "--format", format, &out], format)));
    for stream in &streams {
        let run = with_stdin(&there, &["import", "--check-signatures"], stream);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("`store sign`") && !run.stderr.contains("--from-byte"), "{}", run.stderr);
    }
    let run = with_stdin(&there, &["import"], &text(there.path("")));
    assert!(
        run.code == Some(1) && run.stderr.contains("that can be read: `store import <"),
        "{}",
        run.stderr
    );
    let garbage = there.write("garbage", "no path begins so, however long one looks at it");
    let run = with_stdin(&there, &["import", "--from-byte", "100"], &garbage);
    assert!(run.code == Some(1) && run.stderr.contains("does not begin at byte 100"), "{}", run.stderr);
    assert!(run.stderr.contains("export --format 2 … --from-byte 100`"), "{}", run.stderr);
}

#[test]
fn what_is_no_database_is_told_in_short() {
    let scene = Scene::new();
    for garbage in [&[0x7f, b'E', 0xff, 0, b'\n'][..], "{\"a\": \"€\"}\n".as_bytes(), &[b'x'; 5000]] {
        let file = scene.write("garbage", garbage);
        for verb in ["load-db", "register-validity"] {
            let run = with_stdin(&scene, &[verb], &file);
            assert!(run.code == Some(1) && run.stderr.len() < 300, "{}", run.stderr);
            assert!(run.stderr.contains("cannot read line 1: "), "{}", run.stderr);
        }
    }
    // As by Nix, that is no mistake.
    let run = with_stdin(&scene, &["load-db"], "/dev/null");
    assert!(run.code == Some(0) && run.stderr.contains("stdin is empty"), "{}", run.stderr);
    let absent = "/nix/store/00000000000000000000000000000000-absent\n\n0\n";
    let run = with_stdin(&scene, &["register-validity"], &scene.write("one", absent));
    assert!(run.code == Some(1) && run.stderr.contains("is not on disk; copy"), "{}", run.stderr);
}

#[test]
fn a_part_of_a_path_is_not_deleted_nor_all_of_it() {
    let scene = Scene::new();
    fs::create_dir(scene.path("tree")).unwrap();
    scene.write("tree/file", "text");
    let path = scene.ok(&["add", "tree"]);
    std::os::unix::fs::symlink(scene.real(&path), scene.path("link")).unwrap();
    for part in [format!("{path}/absent"), format!("{path}/file"), "link/file".to_owned()] {
        let said = scene.fails(1, &["delete", &part]);
        assert!(said.contains(&format!("`{part}` is only a part of `{path}`")), "{said}");
    }
    let said = scene.fails(1, &["delete", "no-such"]);
    assert!(said.contains(": give a path in the store"), "{said}");
    assert_eq!(scene.ok(&["delete", "link"]), path);
}

#[test]
fn a_refusal_to_delete_is_json_too() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("chain")]);
    let references = scene.ok(&["query", "--references", &drv]);
    let needed = references.lines().next().unwrap();
    let run = scene.run(&["delete", "--json", needed]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let told: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(told["kept"][0]["path"] == needed && told["kept"][0]["referrer"].is_string(), "{told}");
    assert!(run.stderr.contains("`--also-referrers`"), "{}", run.stderr);
}

#[test]
fn words_of_nix_are_understood() {
    let scene = Scene::new();
    let file = scene.write("file", vec![b'x'; 100_000]);
    let (one, other) =
        (scene.ok(&["add", &file]), scene.ok(&["add", &scene.write("same", vec![b'x'; 100_000])]));
    let checked = || -> serde_json::Value {
        serde_json::from_str(&scene.ok(&["--json", "verify", "--check-contents"])).unwrap()
    };
    let before = checked();
    assert!(before["bytes"].as_u64().unwrap() > 200_000, "{before}");
    scene.ok(&["optimise"]);
    assert_eq!(checked(), before, "links are no further bytes");
    let run = scene.run(&["gc", "-d", "--delete-older-than", "30d"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains(&one) && run.stdout.contains(&other), "{}", run.stdout);
}

#[test]
fn events_that_find_no_room_end_no_build() {
    let scene = Scene::new();
    let run = scene.run(&["build", "--no-link", "--events", "/dev/full", &derivation("hello")]);
    assert!(run.code == Some(0) && run.stdout.ends_with("-hello\n"), "{}", run.stderr);
    assert_eq!(run.stderr.matches("cannot write more events to `/dev/full`").count(), 1, "{}", run.stderr);
}

#[test]
fn that_a_lower_store_was_left_out_is_said() {
    let (lower, upper) = (Scene::new(), Scene::new());
    let path = lower.ok(&["add", &lower.write("file", "text")]);
    let below = text(lower.root());
    upper.ok(&["add", &upper.write("other", "text")]);
    let verify = |arguments: &[&str]| {
        let run = upper.run(&[&["--option", "lower-store", &below, "verify"], arguments].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run.stderr
    };
    let told = format!("`store verify --contents --store {below}`");
    assert!(verify(&["--contents"]).contains(&told) && verify(&[]).contains(&told));
    assert!(verify(&["--contents", &path]).contains(&told));
    assert!(!verify(&[&path]).contains(&told), "that it is there was seen");
}

#[test]
fn a_store_of_a_later_nix_is_told_with_one_remedy() {
    let scene = Scene::new();
    let path = scene.ok(&["add", &scene.write("file", "text")]);
    let schema = scene.root().join("nix/var/nix/db/schema");
    fs::write(schema, "99").unwrap();
    let said = scene.fails(1, &["ls", &path]);
    assert_eq!(said.matches("--store DIR").count(), 1, "{said}");
}

#[test]
fn a_null_device_that_cannot_be_written_to_is_named() {
    if !has("unshare") {
        return;
    }
    let scene = Scene::new();
    scene.write("file", "");
    let script = "mount --bind file /dev/null && mount -o remount,bind,ro /dev/null && exec \"$@\"";
    let build = scene.command(&["build", "--no-link", &derivation("hello")]);
    let mut confined = Command::new("unshare");
    confined.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    confined.arg(build.get_program()).args(build.get_args()).current_dir(scene.path(""));
    let run: Run = confined.env("HOME", scene.path("home")).output().unwrap().into();
    if run.stderr.starts_with("unshare:") || run.stderr.starts_with("mount:") {
        say(&format!("skipped: {}", run.stderr));
        return;
    }
    assert!(run.code == Some(1) && run.stderr.contains("cannot write to `/dev/null`"), "{}", run.stderr);
}
