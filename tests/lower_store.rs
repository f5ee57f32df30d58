//! A store above another one that is only read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scene::{Run, Scene, has, say, shell_derivation, text};

/// A store with something in it, and an empty one above it.
struct Two {
    lower: Scene,
    upper: Scene,
    below: String,
}

impl Two {
    fn new() -> Self {
        let (lower, upper) = (Scene::new(), Scene::new());
        let below = text(lower.root());
        Self { lower, upper, below }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.upper.run(&[&["--option", "lower-store", &self.below], arguments].concat())
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        run.stdout.trim_end().to_owned()
    }
}

/// What lies in a directory, with what it says.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let bytes = if kind.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        found.insert(path, bytes);
    }
    found
}

#[test]
fn what_is_below_is_built_upon_and_neither_built_again_nor_deleted() {
    let two = Two::new();
    // Of four builds, each of which refers to the one before, the first two are made below.
    let (mut drvs, mut outputs): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for number in 1..=4 {
        let script = outputs
            .last()
            .map_or("echo > $out".to_owned(), |last| format!("read x < {last}; echo {last} > $out"));
        let inputs = drvs.last().map_or(String::new(), |drv| format!(r#""{drv}": ["out"]"#));
        let json = shell_derivation(&format!("link-{number}"), &script)
            .replace(r#""inputDrvs": {}"#, &format!(r#""inputDrvs": {{ {inputs} }}"#));
        drvs.push(two.lower.ok(&["derivation", "add", &two.lower.write("link.json", json)]));
        outputs.push(two.lower.ok(&["query", "--outputs", &drvs[number - 1]]));
    }
    two.lower.ok(&["build", "--no-link", &drvs[1]]);
    let before = contents(&two.lower.root());
    let run = two.run(&["build", &drvs[3], "--out-link", "result"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("-link-3.drv") && !run.stderr.contains("-link-2.drv"), "{}", run.stderr);
    assert_eq!(run.stdout.trim_end(), outputs[3]);
    for (number, output) in outputs.iter().enumerate() {
        assert_eq!(two.upper.real(output).exists(), number >= 2, "{output}");
    }
    // Asked for across both.
    let closure = two.ok(&["query", "--requisites", &outputs[3]]);
    assert_eq!(closure, outputs.join("\n"));
    assert_eq!(two.ok(&["query", "--referrers", &outputs[0]]), outputs[1]);
    assert_eq!(two.ok(&["path-info", "--real-path", &outputs[0]]), text(two.lower.real(&outputs[0])));
    assert_eq!(
        two.ok(&["cat", &outputs[0]]),
        fs::read_to_string(two.lower.real(&outputs[0])).unwrap().trim_end()
    );
    two.ok(&["log", &outputs[0]]);
    two.ok(&["verify", "--contents"]);
    assert_eq!(two.ok(&["build", "--no-link", &outputs[1]]), outputs[1]);
    // Taken away above only.
    let said = two.run(&["delete", &outputs[0]]);
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("it is in the lower store"), "{}", said.stderr);
    fs::remove_file(two.upper.path("result")).unwrap();
    let dead = two.ok(&["gc", "--print-dead"]);
    let gone = two.ok(&["gc"]);
    for of_lower in [&drvs[..2], &outputs[..2]].concat() {
        assert!(!gone.contains(&of_lower) && !dead.contains(&of_lower), "{of_lower} stays");
    }
    assert!(outputs[2..].iter().all(|output| !two.upper.real(output).exists()));
    assert_eq!(two.ok(&["query", "--requisites", &outputs[1]]), outputs[..2].join("\n"));
    two.ok(&["verify", "--contents"]);
    assert_eq!(contents(&two.lower.root()), before, "nothing was written below");
}

#[test]
fn a_lower_store_that_is_not_there_is_named() {
    let two = Two::new();
    let run = two.run(&["add", &two.upper.write("file", "x")]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("`lower-store` names"), "{}", run.stderr);
    two.lower.ok(&["add", &two.lower.write("file", "x")]);
    let added = two.ok(&["add", "file"]);
    assert!(two.lower.real(&added).exists() && !two.upper.real(&added).exists(), "it was there");
}

#[test]
fn a_dump_of_both_is_loaded_above() {
    let two = Two::new();
    let below = two.lower.build("chain").remove(0);
    let json = shell_derivation("above", &format!("echo {below} > $out"))
        .replace(r#""inputSrcs": []"#, &format!(r#""inputSrcs": [ "{below}" ]"#));
    let file = two.upper.write("above.json", json);
    let above = two.ok(&["build", "--no-link", &file]);
    let dump = two.run(&["dump-db"]).stdout;
    let load = |text: &str| -> Run {
        let input = fs::File::open(two.upper.write("dump", text)).unwrap();
        let mut command = two.upper.command(&["--option", "lower-store", &two.below, "load-db"]);
        command.stdin(input).output().unwrap().into()
    };
    let before = contents(&two.lower.root());
    let databases = two.upper.root().join("nix/var/nix/db");
    for is_lost in [false, true] {
        if is_lost {
            fs::rename(&databases, two.upper.path("away")).unwrap();
        }
        let run = load(&dump);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(two.run(&["dump-db"]).stdout, dump);
        assert_eq!(two.ok(&["build", "--no-link", &file]), above);
        two.ok(&["verify", "--contents"]);
    }
    // What is said otherwise of it would have to have files here.
    let record = two.ok(&["dump-db", &below]);
    let hash = record.lines().nth(1).unwrap();
    let run = load(&dump.replace(hash, &"0".repeat(64)));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("is not on disk"), "{}", run.stderr);
    assert_eq!(contents(&two.lower.root()), before, "nothing was written below");
}

#[test]
fn a_lower_store_that_is_this_one_by_a_mount_is_told_so() {
    if !has("unshare") {
        return;
    }
    let two = Two::new();
    two.lower.ok(&["add", &two.lower.write("file", "x")]);
    fs::create_dir(two.upper.root()).unwrap();
    let command = two.upper.command(&["--option", "lower-store", &two.below, "add"]);
    let script = r#"mount --bind "$BELOW" "$ABOVE" || exit 9; exec "$@" "$FILE""#;
    let mut confined = Command::new("unshare");
    confined.args(["--mount", "--user", "--map-root-user", "sh", "-c", script, "sh"]);
    confined.arg(command.get_program()).args(command.get_args());
    confined.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    confined.env("BELOW", &two.below).env("ABOVE", two.upper.root());
    confined.env("HOME", two.upper.path("home")).env("FILE", two.upper.write("file", "y"));
    let run: Run = confined.output().unwrap().into();
    if run.code == Some(9) || run.stderr.contains("unshare") {
        return say("skipped: no mount namespace to be had here");
    }
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("names the store itself"), "{}", run.stderr);
}
