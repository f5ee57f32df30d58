//! How long a builder may run and be silent, and how much it may print.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::gated::Gated;
use crate::processes::children;
use crate::scene::{Scene, derivation, is_root, shell_derivation};

/// Builds a script that has to be ended, and returns what was said about it.
fn ended(scene: &Scene, code: i32, script: &str, options: &[&str]) -> String {
    let file = scene.write("slow.json", shell_derivation("slow", script));
    let said = scene.fails(code, &[&["build", "--no-link", &file], options].concat());
    let builds = fs::read_dir(scene.root().join("nix/var/nix/builds")).unwrap();
    let left: Vec<_> = builds.map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
    said
}

const FOREVER: &str = "echo begun; while :; do :; done";

#[test]
fn a_build_that_runs_too_long_is_ended() {
    let scene = Scene::new();
    let said = ended(&scene, 101, FOREVER, &["--timeout", "1"]);
    assert!(said.contains("it ran for more than 1 second (setting `timeout`)"), "{said}");
    assert!(said.contains("> begun") && said.contains("`--timeout SECONDS`"), "{said}");
}

#[test]
fn printing_without_end_is_no_way_around_it() {
    let scene = Scene::new();
    ended(&scene, 101, "while :; do echo yes; done", &["--option", "build-timeout", "1"]);
}

#[test]
fn limits_are_flags_with_units() {
    let scene = Scene::new();
    let said = ended(&scene, 101, FOREVER, &["--timeout", "1s", "--max-silent-time", "1m"]);
    assert!(said.contains("it ran for more than 1 second (setting `timeout`)"), "{said}");
    let options = ["--max-build-log-size", "1K", "--timeout", "1h"];
    let said = ended(&scene, 100, "while :; do echo yes; done", &options);
    assert!(said.contains("it printed more than 1024 bytes"), "{said}");
    let said = scene.fails(2, &["build", "--no-link", "--timeout", "1d", &derivation("hello")]);
    assert!(said.contains("--timeout") && said.contains("1d"), "{said}");
}

#[test]
fn a_build_that_is_silent_too_long_is_ended() {
    let scene = Scene::new();
    let said = ended(&scene, 101, FOREVER, &["--max-silent-time", "1"]);
    assert!(said.contains("it printed nothing for 1 second (setting `max-silent-time`)"), "{said}");
}

#[test]
fn who_prints_is_not_silent() {
    let scene = Scene::new();
    let script = "now() { read -r up idle < /proc/uptime; up=${up%%.*}; }; now; end=$((up+5)); \
                  while [ $up -lt $end ]; do now; echo $up; done; echo done > $out";
    assert_eq!(scene.script(script, &["--max-silent-time", "3", "--timeout", "0"]), "done\n");
}

#[test]
fn a_build_that_prints_too_much_is_ended() {
    let scene = Scene::new();
    let options = ["--option", "build-max-log-size", "4K", "--option", "compress-build-log", "false"];
    let said = ended(&scene, 100, "while :; do echo 0123456789abcdef; done", &options);
    assert!(said.contains("it printed more than 4096 bytes (setting `max-build-log-size`)"), "{said}");
    let log = fs::read_dir(scene.root().join("nix/var/log/nix/drvs")).unwrap().next().unwrap().unwrap();
    let log = fs::read_dir(log.path()).unwrap().next().unwrap().unwrap();
    // What came in one piece with the byte too many is kept, too.
    assert!((4097..4096 + (128 << 10)).contains(&log.metadata().unwrap().len()));
}

#[test]
fn what_is_left_over_of_it_ends_too() {
    let scene = Scene::new();
    let script = "(while :; do :; done) & (while :; do :; done) & wait";
    ended(&scene, 101, script, &["--timeout", "1"]);
    if is_root() {
        ended(&scene, 101, script, &["--timeout", "1", "--option", "build-isolation", "chroot"]);
    }
}

#[test]
fn kinds_of_failure_add_up_with_it() {
    let scene = Scene::new();
    let file = scene.write("slow.json", shell_derivation("slow", FOREVER));
    let run = scene.run(&[
        "build",
        "--no-link",
        "--keep-going",
        "--timeout",
        "1",
        &file,
        &derivation("wrong-hash"),
    ]);
    assert_eq!(run.code, Some(101 | 102), "{}", run.stderr);
}

#[test]
fn what_is_kept_of_it_is_said() {
    let scene = Scene::new();
    let file =
        scene.write("slow.json", shell_derivation("slow", "echo clue > evidence; while :; do :; done"));
    let said = scene.fails(101, &["build", "--no-link", "--keep-failed", "--timeout", "1", &file]);
    let kept = said.split('`').find(|word| word.contains("/kept-"));
    let kept = kept.unwrap_or_else(|| panic!("no directory is named: {said}"));
    let clue = ["evidence", "build/evidence"]
        .iter()
        .find_map(|file| fs::read_to_string(format!("{kept}/{file}")).ok());
    assert_eq!(clue.as_deref(), Some("clue\n"));
}

#[test]
fn a_limit_is_a_number_of_seconds() {
    let scene = Scene::new();
    for wrong in ["-1", "5x", "10M"] {
        let said = scene.fails(2, &["build", "--no-link", "--timeout", wrong, &derivation("hello")]);
        assert!(said.contains("--timeout") && said.contains(wrong) && said.contains("`10m`"), "{said}");
    }
    // So many that no clock goes so far.
    let largest = usize::MAX.to_string();
    scene.ok(&[
        "build",
        "--no-link",
        "--timeout",
        &largest,
        "--max-silent-time",
        &largest,
        &derivation("hello"),
    ]);
}

#[test]
fn a_build_that_ended_in_time_may_be_heard_of_later() {
    let in_time = || {
        let gated = Gated::new();
        let mut run = gated.start("run", "here", &["-L", "--timeout", "8"]);
        let mut all = children(run.child.id());
        all.push(run.child.id());
        let all: Vec<String> = all.iter().map(u32::to_string).collect();
        let tell = |signal: &str| {
            Command::new("kill").arg(signal).args(&all).status().unwrap();
        };
        // As by Ctrl-Z, with the launcher; the builder goes on, and ends.
        tell("-STOP");
        gated.open();
        std::thread::sleep(Duration::from_secs(9));
        tell("-CONT");
        run.child.wait().unwrap().code() == Some(0)
    };
    // On a machine that is very busy, the time may be over before it is stopped.
    assert!((0..5).any(|_| in_time()));
}
