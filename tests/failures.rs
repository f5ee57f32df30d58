//! What a newcomer reads when something goes wrong, as transcripts.

use std::fs;
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use crate::scene::{Run, Scene, derivation, has, is_root, say, shell_derivation, text};
use crate::stopping::assert_nothing_is_left;

/// Compares a failure with its transcript, in which the scratch directory is called `[DIR]`.
pub(crate) fn check(scene: &Scene, name: &str, run: &Run) {
    let code = run.code.map_or("killed".to_owned(), |code| code.to_string());
    let said: Vec<&str> = run.stderr.lines().map(without_time).collect();
    let transcript =
        format!("exit code: {code}\n--- stdout\n{}--- stderr\n{}\n", run.stdout, said.join("\n"));
    let transcript = transcript
        .replace(&text(scene.path("")), "[DIR]/")
        .replace(&text(test_support::project_root()), "[PROJECT]");
    test_support::check(&format!("cli/{name}.txt"), transcript);
}

/// Takes the duration from a line that says how long a build took.
fn without_time(line: &str) -> &str {
    if line.starts_with("built ") {
        line.rsplit_once(" in ").map_or(line, |(before, _)| before)
    } else {
        line
    }
}

/// A derivation that fails, and one that needs it.
pub(crate) const FAILING_INPUT: &str = r#"{
    "/nix/store/00000000000000000000000000000001-input.drv": { "name": "input", "system": "x86_64-linux",
        "builder": "/bin/sh", "args": ["-c", "exit 1"], "env": {}, "inputSrcs": [], "inputDrvs": {},
        "outputs": { "out": {} } },
    "/nix/store/00000000000000000000000000000002-user.drv": { "name": "user", "system": "x86_64-linux",
        "builder": "/bin/sh", "args": ["-c", "exit 1"], "env": {}, "inputSrcs": [],
        "inputDrvs": { "/nix/store/00000000000000000000000000000001-input.drv": ["out"] },
        "outputs": { "out": {} } }
}"#;

fn build(scene: &Scene, name: &str) -> Run {
    scene.run(&["build", "--no-link", &derivation(name)])
}

#[test]
fn a_failing_builder() {
    let scene = Scene::new();
    check(&scene, "failing-builder", &build(&scene, "failing"));
}

#[test]
fn a_failing_input() {
    let scene = Scene::new();
    let file = scene.write("pair.json", FAILING_INPUT);
    check(&scene, "failing-input", &scene.run(&["build", "--no-link", &file]));
}

#[test]
fn a_killed_builder() {
    let scene = Scene::new();
    // The first process of a namespace is deaf to signals from inside; this one comes from the kernel.
    let file = scene.write("killed.json", shell_derivation("killed", "ulimit -t 1; while :; do :; done"));
    check(&scene, "killed-builder", &scene.run(&["build", "--no-link", &file]));
}

#[test]
fn a_builder_that_is_not_there() {
    let scene = Scene::new();
    let json = shell_derivation("absent", "").replace("/bin/sh", "/bin/no-such-program");
    let file = scene.write("absent.json", json);
    check(&scene, "absent-builder", &scene.run(&["build", "--no-link", &file]));
}

#[test]
fn a_builder_that_makes_nothing() {
    let scene = Scene::new();
    check(&scene, "no-output", &build(&scene, "no-output"));
}

#[test]
fn a_wrong_hash() {
    let scene = Scene::new();
    // Whatever connects such builds here, and whether anything does.
    let arguments = ["build", "--no-link", "--option", "fod-network", "none", &derivation("wrong-hash")];
    check(&scene, "wrong-hash", &scene.run(&arguments));
    let left = fs::read_dir(scene.root().join("nix/store")).unwrap().flatten();
    let left: Vec<_> = left
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().ends_with("-wrong-hash"))
        .collect();
    assert!(left.is_empty(), "nothing may stand under a wrong hash: {left:?}");
}

#[test]
fn a_wrong_output_path() {
    let scene = Scene::new();
    check(&scene, "wrong-path", &build(&scene, "wrong-path"));
}

#[test]
fn missing_inputs() {
    let scene = Scene::new();
    check(&scene, "missing-input", &build(&scene, "missing-input"));
}

#[test]
fn a_forbidden_reference() {
    let scene = Scene::new();
    check(&scene, "disallowed", &build(&scene, "disallowed"));
}

#[test]
fn a_foreign_system() {
    let scene = Scene::new();
    check(&scene, "foreign-system", &build(&scene, "foreign"));
    assert!(
        !scene.root().join("nix/var/nix/builds").read_dir().is_ok_and(|mut entries| entries.next().is_some())
    );
}

#[test]
fn a_wrong_field() {
    let scene = Scene::new();
    check(&scene, "wrong-field", &build(&scene, "wrong-field"));
}

#[test]
fn malformed_json() {
    let scene = Scene::new();
    let file = scene.write("malformed.json", "{ \"name\": \"malformed\", \"system\" \"x86_64-linux\" }");
    check(&scene, "malformed-json", &scene.run(&["build", &file]));
}

#[test]
fn a_file_that_is_not_there() {
    let scene = Scene::new();
    check(&scene, "absent-file", &scene.run(&["build", "no-such-file.json"]));
}

#[test]
fn an_unknown_setting() {
    let scene = Scene::new();
    check(&scene, "unknown-setting", &scene.run(&["--option", "build-use-chrot", "false", "config", "show"]));
}

#[test]
fn a_bad_value_in_a_file() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("home/.config/store")).unwrap();
    scene.write("home/.config/store/store.conf", "# how many\nmax-jobs = many\n");
    check(&scene, "bad-value", &scene.run(&["config", "show"]));
}

#[test]
fn an_unknown_verb() {
    let scene = Scene::new();
    check(&scene, "unknown-verb", &scene.run(&["biuld"]));
}

#[test]
fn no_sandbox_in_a_store_elsewhere() {
    let scene = Scene::new();
    let run =
        scene.run(&["build", "--no-link", "--option", "build-use-chroot", "false", &derivation("hello")]);
    check(&scene, "no-sandbox-elsewhere", &run);
}

/// Runs the program on a store in a file system of 4 MiB; says so where that cannot be made.
fn on_a_small_disk(scene: &Scene, arguments: &[&str]) -> Option<Run> {
    if !is_root() {
        say("skipped: a full disk, which only root can make");
        return None;
    }
    if !has("unshare") {
        return None;
    }
    let command = scene.command(arguments);
    fs::create_dir(scene.root()).unwrap();
    let mut confined = std::process::Command::new("unshare");
    confined.args(["--mount", "sh", "-c", "mount -t tmpfs -o size=4m none \"$0\" && exec \"$@\""]);
    confined.arg(scene.root()).arg(command.get_program()).args(command.get_args());
    confined.env_clear().env("HOME", scene.path("home")).current_dir(scene.path(""));
    confined.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    Some(confined.output().unwrap().into())
}

#[test]
fn a_disk_that_a_build_fills() {
    let scene = Scene::new();
    // Every shell has its own words for it.
    let script = "while echo 012345678901234567890123456789012345678901234567890123456789 2>&-; do :; done > $out; \
                  echo there is no space left >&2; exit 1";
    let file = scene.write("large.json", shell_derivation("large", script));
    if let Some(run) = on_a_small_disk(&scene, &["build", "--no-link", &file]) {
        check(&scene, "full-disk", &run);
    }
}

#[test]
fn a_disk_that_a_source_fills() {
    let scene = Scene::new();
    let file = scene.write("large", vec![b'x'; 8 << 20]);
    if let Some(run) = on_a_small_disk(&scene, &["add", &file]) {
        check(&scene, "full-disk-add", &run);
    }
}

#[test]
fn few_files_mean_few_builds_at_once() {
    if !has("prlimit") {
        return;
    }
    let scene = Scene::new();
    let one = |number: usize| {
        let path = format!("\"/nix/store/{number:0>32}-{number}.drv\"");
        format!("{path}: {}", shell_derivation(&number.to_string(), "echo hello; echo > $out"))
    };
    let all: Vec<String> = (0..24).map(one).collect();
    let file = scene.write("many.json", format!("{{ {} }}", all.join(",\n")));
    for files in [64, 128] {
        let build = scene.command(&["build", "--no-link", "-j", "12", &file]);
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={files}:{files}")).arg(build.get_program()).args(build.get_args());
        let run: Run = command.env("HOME", scene.path("home")).output().unwrap().into();
        assert_eq!(run.code, Some(0), "{files}: {}", run.stderr);
        assert_eq!(run.stderr.matches("this process may not open more than").count(), 1, "{}", run.stderr);
        assert_eq!(run.stdout.lines().count(), 24);
        run.stdout.lines().for_each(|path| drop(scene.ok(&["delete", path])));
    }
    let plain = scene.ok(&["build", "--no-link", "-j", "12", &file]);
    assert_eq!(plain.lines().count(), 24);
    assert_nothing_is_left(&scene, "few files");
}

#[test]
fn too_few_processes_or_files_are_named_as_that() {
    if !has("prlimit") {
        return;
    }
    let scene = Scene::new();
    let build = scene.command(&["build", "--no-link", &derivation("hello")]);
    let limited = |limit: &str| -> Run {
        let mut command = Command::new("prlimit");
        command.arg(limit).arg(build.get_program()).args(build.get_args()).env("HOME", scene.path("home"));
        command.output().unwrap().into()
    };
    let mut seen = 0;
    for files in 12..40 {
        let run = limited(&format!("--nofile={files}:{files}"));
        assert!(!run.stderr.contains("panicked"), "{files}: {}", run.stderr);
        if run.code == Some(0) {
            break;
        }
        seen += usize::from(run.stderr.contains("`ulimit -n`"));
    }
    assert!(seen > 0);
    if is_root() {
        say("not tried: root may have any number of processes");
        return;
    }
    let mut named = 0;
    for processes in 1..30 {
        let run = limited(&format!("--nproc={processes}"));
        assert!(!run.stderr.contains("panicked"), "{processes}: {}", run.stderr);
        named += usize::from(run.stderr.contains("`ulimit -u`"));
        if run.code == Some(0) {
            break;
        }
    }
    assert!(named > 0);
    // Nor is there anybody to wait for a lock. How many it takes depends on what else this user runs.
    let drv =
        scene.ok(&["derivation", "add", &scene.write("held.json", shell_derivation("held", "echo > $out"))]);
    let output = scene.real(&format!("{}.lock", scene.ok(&["query", "--outputs", &drv])));
    let held = Flock::lock(fs::File::create(output).unwrap(), FlockArg::LockExclusive).unwrap();
    let build = scene.command(&["build", "--no-link", &drv]);
    for processes in 1..40 {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nproc={processes}")).args(["timeout", "--signal=INT", "3"]);
        let run = command.arg(build.get_program()).args(build.get_args()).env("HOME", scene.path("home"));
        let run: Run = run.output().unwrap().into();
        assert!(!run.stderr.contains("panicked"), "{processes}: {}", run.stderr);
        if run.stderr.contains("waiting for /nix/store/") && run.code != Some(100) {
            break;
        }
    }
    drop(held);
}

#[test]
fn an_output_that_others_may_write_to_is_refused() {
    let scene = Scene::new();
    let script = "echo x > $out; chmod 664 $out";
    let told = scene.fails(1, &["build", &scene.write("open.json", shell_derivation("open", script))]);
    assert!(told.contains("has the mode 664"), "{told}");
    // The modes of what is in it are no matter.
    let script = "mkdir $out; echo x > $out/file; chmod 666 $out/file";
    scene.ok(&["build", "--no-link", &scene.write("inner.json", shell_derivation("inner", script))]);
}
