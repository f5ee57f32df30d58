//! Being told to stop while no builder runs: while a sandbox is proven, a lock is waited for, outputs are kept, or a hook is
//! at work.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use test_support::fixture;

use crate::content_addressed::FLOATING;
use crate::person::Person;
use crate::processes::{Running, SOON, descendants, processes, within};
use crate::scene::{Run, Scene, derivation, isolations, shell_derivation, text};
use crate::stopping::{FOREVER, PATIENCE, assert_nothing_is_left, ends, names, slow, tell};

/// Makes a file that takes minutes to hash and no space.
const SPARSE: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int main(void) {
    int file = open(getenv("out"), O_WRONLY | O_CREAT, 0644);
    return file < 0 || ftruncate(file, 64ll << 30);
}
"#;

/// Whether some build is at that stage.
fn is_at(scene: &Scene, stage: &str) -> bool {
    let directory = scene.root().join("nix/var/nix/running-builds");
    let files = names(&directory).into_iter().map(|name| fs::read_to_string(directory.join(name)));
    files.flatten().any(|text| text.contains(&format!("\"state\":\"{stage}\"")))
}

fn assert_stopped(scene: &Scene, run: &Run, told: &str) {
    assert_eq!(run.code, Some(130), "{told}: {}", run.stderr);
    assert!(run.stderr.contains("interrupted; what was built before is kept"), "{told}: {}", run.stderr);
    assert_nothing_is_left(scene, told);
    let store = scene.root().join("nix/store");
    let is_there_before = |name: &String| name == ".links" || name.ends_with(".drv");
    let left: Vec<String> = names(&store).into_iter().filter(|name| !is_there_before(name)).collect();
    assert_eq!(left, [""; 0], "{told}");
}

#[test]
fn a_large_output_is_not_kept_to_the_end() {
    for isolation in isolations() {
        for output in ["{}", FLOATING, r#"{ "hashAlgo": "sha1" }"#] {
            let scene = Scene::new();
            let program = scene.c_program("sparse", SPARSE);
            let json = shell_derivation("large", &program)
                .replace(r#""outputs": { "out": {} }"#, &format!(r#""outputs": {{ "out": {output} }}"#))
                .replace(r#""env": {}"#, &format!(r#""env": {{ "out": "{}" }}"#, placeholder(output)));
            let file = scene.write("large.json", json);
            let shown = format!("/dev /proc {program}");
            let options = ["--option", "build-isolation", isolation, "--option", "build-chroot-dirs", &shown];
            let mut running =
                Running::start(&scene, &[&["build", "--no-link", &file], &options[..]].concat());
            assert!(within(PATIENCE, || is_at(&scene, "keeping outputs")));
            tell(running.id(), Signal::SIGINT);
            let told = format!("keeping {output} ({isolation})");
            let run = ends(&mut running, &told);
            assert_stopped(&scene, &run, &told);
            assert!(scene.ok(&["verify"]).is_empty());
        }
    }
}

/// What a builder sees in place of the path of its output where nobody knows that.
fn placeholder(output: &str) -> String {
    if output == "{}" { String::new() } else { store_path::placeholder("out") }
}

#[test]
fn the_proof_of_a_sandbox_is_given_up() {
    let scene = Scene::new();
    let (file, _) = slow(&scene, "slow", FOREVER);
    let stamp = scene.root().join("nix/var/nix/sandbox-proof");
    for number in 0..20 {
        let mut running = Running::start(&scene, &["build", "--no-link", &file]);
        // The first directory that is made is for the proof.
        let builds = scene.root().join("nix/var/nix/builds");
        assert!(within(PATIENCE, || names(&builds).iter().any(|name| name.starts_with("nix-"))));
        let was_proven = stamp.exists();
        tell(running.id(), Signal::SIGINT);
        let told = format!("proof {number}");
        let run = ends(&mut running, &told);
        assert_stopped(&scene, &run, &told);
        assert!(!run.stderr.contains("does not hold"), "{}", run.stderr);
        if !was_proven && !stamp.exists() {
            return;
        }
        let _ = fs::remove_file(&stamp);
    }
    panic!("it is never stopped before the end of the proof");
}

#[test]
fn a_lock_of_somebody_else_is_not_waited_for() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let scene = Scene::new();
        let (file, _) = slow(&scene, "slow", "echo > $out");
        let drv = scene.ok(&["derivation", "add", &file]);
        let output = scene.ok(&["query", "--outputs", &drv]);
        let lock = scene.real(&format!("{output}.lock"));
        let held = Flock::lock(File::create(&lock).unwrap(), FlockArg::LockExclusive).unwrap();
        let mut running = Running::start(&scene, &["build", "--no-link", &drv]);
        assert!(within(PATIENCE, || is_at(&scene, "waiting for lock")));
        tell(running.id(), signal);
        let run = ends(&mut running, "a lock");
        assert!(lock.exists(), "it is not ours to remove");
        fs::remove_file(&lock).unwrap();
        drop(held);
        assert_stopped(&scene, &run, "a lock");
    }
}

/// Writes a program that a hook may be; it and what it starts are found by the name of the file.
fn hook(scene: &Scene, script: &str) -> String {
    let hook = text(scene.path("hook"));
    let forever = format!("/bin/sh -c 'echo begun > {hook}.begun; trap \"\" TERM; kill -STOP $$; :' {hook}");
    let protocol = text(fixture("hooks/protocol.sh"));
    let lines = format!("#!/bin/sh\n. {protocol}\n{script}\n{forever}\n:\n");
    // Whoever it runs as has to say that it has begun.
    fs::write(format!("{hook}.begun"), "").unwrap();
    fs::set_permissions(format!("{hook}.begun"), Permissions::from_mode(0o666)).unwrap();
    scene.program("hook", lines)
}

/// Stops a build whose hook has begun.
fn stop_at_hook(scene: &Scene, hook: &str, arguments: &[&str]) -> Run {
    let mut running = Running::start(scene, &[&["build", "--no-link"], arguments].concat());
    let begun = format!("{hook}.begun");
    assert!(within(PATIENCE, || !fs::read(&begun).unwrap().is_empty()), "{arguments:?}");
    let everybody = descendants(running.id());
    tell(running.id(), Signal::SIGINT);
    let run = ends(&mut running, arguments[1]);
    assert_eq!(run.code, Some(130), "{arguments:?}: {}", run.stderr);
    assert!(within(SOON, || processes(hook).is_empty()), "{arguments:?}: {:?}", processes(hook));
    let is_gone = |process: &u32| !fs::exists(format!("/proc/{process}")).unwrap();
    assert!(within(SOON, || everybody.iter().all(is_gone)), "{arguments:?}");
    assert_nothing_is_left(scene, arguments[1]);
    run
}

#[test]
fn hooks_beside_a_build_end_with_it() {
    let hello = derivation("hello");
    for kind in ["pre-build-hook", "post-build-hook"] {
        let scene = Scene::new();
        let hook = hook(&scene, "");
        stop_at_hook(&scene, &hook, &["--option", kind, &hook, &hello]);
        scene.ok(&["verify"]);
    }
}

#[test]
fn a_build_hook_and_all_it_runs_end() {
    let hello = derivation("hello");
    for script in [
        "read_settings; :",
        "read_settings; read_request; :",
        "read_settings; read_request; answer accept; echo mars >&2; read_strings; read_strings",
    ] {
        let scene = Scene::new();
        let hook = hook(&scene, script);
        let run = stop_at_hook(&scene, &hook, &["--option", "build-hook", &hook, &hello]);
        assert_stopped(&scene, &run, script);
    }
}

#[test]
fn a_hook_that_looks_at_differences_ends() {
    let scene = Scene::new();
    let script = "read -r n < /proc/uptime; echo \"$n\" > $out";
    let drv =
        scene.ok(&["derivation", "add", &scene.write("differs.json", shell_derivation("differs", script))]);
    scene.ok(&["build", "--no-link", &drv]);
    let hook = hook(&scene, "");
    let options = ["--option", "diff-hook", &hook, "--option", "run-diff-hook", "true", "--check", &drv];
    stop_at_hook(&scene, &hook, &options);
    scene.ok(&["verify"]);
}

#[test]
fn a_program_that_runs_builders_ends() {
    let scene = Scene::new();
    let hook = hook(&scene, "");
    let setting = format!(r#"[{{"systems":["riscv64-linux"],"program":"{hook}","args":[]}}]"#);
    let json = shell_derivation("foreign", "echo > $out").replace("x86_64-linux", "riscv64-linux");
    let file = scene.write("foreign.json", json);
    let run = stop_at_hook(&scene, &hook, &["--option", "external-builders", &setting, &file]);
    assert_stopped(&scene, &run, "external");
}

#[test]
fn a_terminal_that_is_closed_ends_a_build_in_good_order() {
    for options in [&[][..], &["-L"]] {
        let scene = Scene::new();
        let (file, word) = slow(&scene, "slow", FOREVER);
        let mut person =
            Person::with(&scene, &scene.command(&[&["build", "--no-link", &file], options].concat()));
        assert!(within(PATIENCE, || !processes(&word).is_empty()));
        let everybody = descendants(person.id());
        person.watches(std::time::Duration::from_millis(300));
        assert_eq!(person.goes_away(), Some(130), "{options:?}");
        let is_gone = |process: &u32| !fs::exists(format!("/proc/{process}")).unwrap();
        assert!(within(SOON, || everybody.iter().all(is_gone)), "{options:?}");
        assert_nothing_is_left(&scene, "a closed terminal");
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_told_and_keeps_what_was_built() {
    let scene = Scene::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let arguments = ["build", "--no-link", "-L", &derivation("hello")];
    let run: Run = scene.command(&arguments).stdout(full()).output().unwrap().into();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("No space left on device"), "{}", run.stderr);
    assert!(run.stderr.contains("what was built is there"), "{}", run.stderr);
    let quiet = scene.command(&arguments).stderr(full()).output().unwrap();
    assert_eq!(quiet.status.code(), Some(0));
    let output = String::from_utf8(quiet.stdout).unwrap();
    assert!(scene.real(output.trim()).exists());
    // Nothing is built any more, so it was there.
    let run = scene.run(&arguments);
    assert_eq!((run.code, run.stderr.contains("building ")), (Some(0), false), "{}", run.stderr);
    assert_nothing_is_left(&scene, "a full disk");
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" \"$@\" 2>&1 | head -n 0"]).arg(scene.command(&arguments).get_program());
    shell.args(scene.command(&arguments).get_args()).stdout(Stdio::null());
    assert!(shell.status().unwrap().success());
    assert_nothing_is_left(&scene, "a reader that reads nothing");
}

/// Whether a program catches a signal, to be told in good order; while it starts another one, all signals wait.
fn catches(process: u32, signal: Signal) -> bool {
    let bit = |signal: Signal| 1u64 << (signal as i32 - 1);
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap_or_default();
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap_or(0);
    mask & (bit(signal) | bit(Signal::SIGUSR1)) == bit(signal)
}

/// Stops a build as soon as it can be, which waits for something then.
fn stop_at_once(scene: &Scene, arguments: &[&str], told: &str) {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut running = Running::start(scene, &[&["build", "--no-link"], arguments].concat());
        assert!(within(SOON, || catches(running.id(), signal)), "{told}, {signal}");
        tell(running.id(), signal);
        let run = ends(&mut running, told);
        assert_eq!(run.code, Some(130), "{told}, {signal}: {}", run.stderr);
    }
}

#[test]
fn a_store_that_somebody_has_for_himself_is_not_waited_for() {
    let scene = Scene::new();
    let (file, _) = slow(&scene, "slow", "echo > $out");
    scene.ok(&["derivation", "add", &file]);
    let lock = File::options().write(true).open(scene.root().join("nix/var/nix/db/big-lock")).unwrap();
    let held = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    stop_at_once(&scene, &[&file], "an upgrade of the store");
    drop(held);
    scene.ok(&["build", "--no-link", &file]);
}

#[test]
fn a_pipe_that_nobody_reads_is_not_waited_for() {
    let scene = Scene::new();
    let (file, _) = slow(&scene, "slow", "echo > $out");
    assert!(Command::new("mkfifo").arg(scene.path("events")).status().unwrap().success());
    stop_at_once(&scene, &["--events", "events", &file], "a pipe");
}
