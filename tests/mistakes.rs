//! What a person types wrongly, or pastes: `--help`, exit codes of usage errors, and what is said.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Command;

use crate::scene::{Run, Scene, derivation, text};

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
        (&["build", "-j", "0", "x.json"], "`--dry-run`"),
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
    for (arguments, done) in [
        (&["build", "--no-link", &hello][..], "; what was built is there"),
        (&["build", "--dry-run", &derivation("two-outputs")], ""),
        (&["add", &file], "; what was added is there"),
        (&["root", "add", &link, &out], "; the roots are there"),
        (&["ls", &out], ""),
        (&["cat", &added], ""),
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
