//! What is remembered of past builds: the last failures, and what to expect of the next builds.

use std::fs;

use serde_json::Value;

use crate::scene::{Scene, shell_derivation, text};

fn failures(scene: &Scene, most: &str) -> Vec<Value> {
    let printed = scene.ok(&["log", most, "--json"]);
    serde_json::from_str::<Value>(&printed).unwrap().as_array().unwrap().clone()
}

pub(crate) fn script(scene: &Scene, name: &str, script: &str) -> String {
    scene.write(&format!("{name}.json"), shell_derivation(name, script))
}

#[test]
fn the_last_failures_are_told_with_their_reasons() {
    let scene = Scene::new();
    let fine = script(&scene, "fine", "echo > $out");
    scene.ok(&["build", "--no-link", &fine]);
    let fails = script(&scene, "fails", "exit 3");
    scene.fails(100, &["build", "--no-link", &fails]);
    let slow = script(&scene, "slow", "while :; do :; done");
    scene.fails(101, &["build", "--no-link", "--timeout", "1", &slow]);
    let empty = script(&scene, "empty", ":");
    scene.fails(1, &["build", "--no-link", &empty]);
    let told = failures(&scene, "--failed");
    let kinds: Vec<_> = told.iter().map(|failure| failure["status"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["no-output", "timed-out", "failed"],
        "the last one first, and no build that went well"
    );
    assert!(told[1]["wallSeconds"].as_f64().unwrap() >= 1.0, "{}", told[1]);
    assert!(told[1]["started"].as_f64().unwrap() > 1.6e9, "{}", told[1]);
    let drv = told[2]["derivation"].as_str().unwrap();
    assert!(drv.starts_with("/nix/store/") && drv.ends_with("-fails.drv"), "{drv}");
    assert!(told[2]["why"].as_str().unwrap().contains("it returned 3"), "{}", told[2]);
    assert_eq!(failures(&scene, "--failed=2").len(), 2);
    assert_eq!(scene.run(&["log", "--failed=0"]).code, Some(2));
    let lines = scene.ok(&["log", "--failed=1"]);
    assert!(lines.contains("UTC  no-output after ") && lines.contains("did not make its output"), "{lines}");
    scene.fails(2, &["log"]);
}

#[test]
fn a_wrong_hash_is_a_failure_of_its_own_and_steers_no_terminal() {
    let scene = Scene::new();
    let file = script(&scene, "fixed", "echo > $out");
    let json = fs::read_to_string(&file).unwrap();
    let hash = "0".repeat(64);
    let fixed = json.replace(
        r#""out": {}"#,
        &format!(r#""out": {{ "method": "nar", "hashAlgo": "sha256", "hash": "{hash}" }}"#),
    );
    let file = scene.write("fixed.json", fixed);
    let said = scene.fails(102, &["build", "--no-link", &file]);
    assert!(said.contains("another hash"), "{said}");
    let told = failures(&scene, "--failed");
    assert_eq!(told[0]["status"], "hash-mismatch");
    let lines = scene.ok(&["log", "--failed"]);
    assert!(lines.lines().count() > 2 && lines.contains("specified: "), "{lines}");
}

#[test]
fn a_store_without_builds_has_no_failures_and_makes_no_database() {
    let scene = Scene::new();
    let file = scene.write("source", "text");
    scene.ok(&["add", &file]);
    let run = scene.run(&["log", "--failed"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert_eq!(run.stderr, "no build has failed here\n");
    assert!(!scene.root().join("nix/var/nix/db/store.sqlite").exists(), "{}", text(scene.root()));
}

/// A script that takes so many tenths of a second, or as much more as the machine wants, and writes down from when to when.
pub(crate) fn takes(tenths: u32) -> String {
    format!(
        "now() {{ read -r up idle < /proc/uptime; up=${{up%%.*}}${{up#*.}}; }}; now; start=$up; end=$((up + {})); \
         while [ $up -lt $end ]; do now; done; echo $start $up > $out",
        tenths * 10
    )
}

/// Returns the names of builds in the order in which they began, each with how many ran at that moment, itself among them.
pub(crate) fn begun(said: &str) -> Vec<(String, usize)> {
    let name = |path: &str| path.split(' ').next().unwrap()["/nix/store/".len() + 33..].replace(".drv", "");
    let (mut begun, mut running) = (Vec::new(), 0);
    for line in said.lines() {
        let line = line.strip_prefix("store: ").unwrap_or(line);
        if let Some(path) = line.strip_prefix("building ") {
            running += 1;
            begun.push((name(path), running));
        }
        running -= usize::from(line.starts_with("built "));
    }
    begun
}

#[test]
fn what_took_long_goes_first_the_next_time() {
    let scene = Scene::new();
    let build = |round: &str| {
        let files = [("a-short", 0), ("b-long", 8), ("c-short", 0)].map(|(name, tenths)| {
            script(&scene, &format!("{name}-{round}"), &format!("# {round}\n{}", takes(tenths)))
        });
        let run = scene.run(&[&["build", "--no-link"], &files.each_ref().map(String::as_str)[..]].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        (begun(&run.stderr).into_iter().map(|(name, _)| name).collect::<Vec<_>>(), run.stderr)
    };
    let (first, said) = build("1.0");
    assert_eq!(first, ["a-short-1.0", "b-long-1.0", "c-short-1.0"]);
    assert!(!said.contains("going by earlier builds"), "nothing is known yet: {said}");
    let (second, said) = build("1.1");
    assert_eq!(second[0], "b-long-1.1", "{said}");
    assert!(
        said.contains("3 derivations will be built (about ") && said.contains("earlier builds"),
        "{said}"
    );
    let [long, new] = ["b-long-3", "new"].map(|name| script(&scene, name, "echo > $out"));
    let said = scene.run(&["build", "--no-link", "--json", &long, &new]).stderr;
    let planned = said.lines().find(|line| line.contains(r#""type":"planned""#)).unwrap();
    let planned: Value = serde_json::from_str(planned).unwrap();
    let expected = planned["expectedMs"].as_array().unwrap();
    assert!(expected[0].as_u64().unwrap() > 0 && expected[1].is_null(), "{planned}");
    // Of the other it is taken for granted that it takes as long.
    assert_eq!(planned["estimateMs"].as_u64().unwrap(), 2 * expected[0].as_u64().unwrap(), "{planned}");
    let file = script(&scene, "b-long-2", "echo > $out");
    let said = scene.run(&["build", "--dry-run", &file]).stderr;
    assert!(said.contains("1 derivation would be built (about "), "{said}");
}

#[test]
fn builds_that_took_much_memory_take_turns() {
    let scene = Scene::new();
    // 32 MiB in one variable.
    let script_of = |round: &str| {
        let doubled = "x=$x$x; ".repeat(21);
        format!("# {round}\nx=0123456789abcdef; {doubled}{}", takes(3))
    };
    // Whether all began before the first was done, and whether no two ran at the same time.
    let build = |round: &str, options: &[&str]| {
        let files = ["a", "b", "c"].map(|name| script(&scene, &format!("{name}-{round}"), &script_of(round)));
        let files = files.each_ref().map(String::as_str);
        let run = scene.run(&[&["build", "--no-link", "-j", "3"], options, &files[..]].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let mut times: Vec<(u64, u64)> = run.stdout.lines().map(|path| times(&scene, path)).collect();
        times.sort_unstable();
        let took_turns = times.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        (begun(&run.stderr).last().unwrap().1 == 3, took_turns)
    };
    let limit = ["--option", "memory-for-builds", "40M"];
    assert!(build("1", &limit).0, "nothing is known yet");
    assert!(build("2", &limit).1, "each of them took 32 MiB at least");
    assert!(build("3", &["--option", "memory-for-builds", "0"]).0);
    assert!(build("4", &["--option", "memory-for-builds", "1M"]).1, "one alone may have more");
    assert!(build("5", &["--option", "memory-for-builds", "10G"]).0);
}

/// Returns from when to when a script of [`takes`] ran.
pub(crate) fn times(scene: &Scene, path: &str) -> (u64, u64) {
    let written = fs::read_to_string(scene.real(path)).unwrap();
    let (start, end) = written.trim().split_once(' ').unwrap();
    (start.parse().unwrap(), end.parse().unwrap())
}
