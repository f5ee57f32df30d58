//! Events for programs: `store build --json` and `--events`.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::failures::FAILING_INPUT;
use crate::person::Person;
use crate::processes::{Running, SOON, within};
use crate::scene::{Run, Scene, derivation, shell_derivation};

/// Reads events, each of which has to be an object on a line of its own.
fn read(events: &str) -> Vec<Value> {
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let events: Vec<Value> = events.lines().map(read).collect();
    assert!(events.iter().all(|event| event["timeMs"].is_u64() && event["type"].is_string()), "{events:?}");
    assert_eq!((&events[0]["type"], &events[0]["version"]), (&"begin".into(), &1.into()));
    events
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn only<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = events.iter().filter(|event| event["type"] == kind).collect();
    assert_eq!(found.len(), 1, "`{kind}` in {events:?}");
    found[0]
}

fn build(scene: &Scene, arguments: &[&str]) -> Run {
    scene.run(&[&["build", "--no-link"], arguments].concat())
}

#[test]
fn with_json_stderr_has_events_and_stdout_the_results() {
    let scene = Scene::new();
    let file = scene.write("hello.json", shell_derivation("hello", "echo hi; echo made > $out"));
    let run = build(&scene, &["--json", &file]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let events = read(&run.stderr);
    assert_eq!(types(&events), ["begin", "planned", "started", "running", "log", "built", "end"]);
    let results: Value = serde_json::from_str(&run.stdout).unwrap();
    let built = only(&events, "built");
    assert_eq!(built["outputs"], results[0]["outputs"]);
    assert_eq!(built["drvPath"], results[0]["drvPath"]);
    assert!(built["durationMs"].is_u64() && built["peakMemoryBytes"].as_u64().unwrap() > 0, "{built}");
    assert_eq!(only(&events, "log")["text"], "hi");
    assert_eq!(only(&events, "planned")["toBuild"], Value::from(vec![built["drvPath"].clone()]));
    let end = only(&events, "end");
    assert_eq!((&end["status"], &end["built"], &end["failed"]), (&"done".into(), &1.into(), &0.into()));
    let times: Vec<u64> = events.iter().map(|event| event["timeMs"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn every_way_to_fail_has_its_own_word() {
    let slow = |script: &str| shell_derivation("slow", script);
    let forever = "while :; do :; done";
    let fixed = slow("exit 7").replace(
        r#""outputs": { "out": {} }"#,
        r#""outputs": { "out": { "hashAlgo": "sha1", "hash": "0000000000000000000000000000000000000000" } }"#,
    );
    let circle =
        slow("echo $dev > $out; echo $out > $dev").replace(r#""out": {}"#, r#""dev": {}, "out": {}"#);
    let cases: [(&str, i32, String, &[&str]); 9] = [
        ("failed", 100, slow("exit 7"), &[]),
        ("transient", 1, fixed, &[]),
        ("bad-output", 1, circle, &[]),
        ("timed-out", 101, slow(forever), &["--timeout", "1"]),
        ("silent", 101, slow(forever), &["--max-silent-time", "1"]),
        ("log-limit", 100, slow("while :; do echo yes; done"), &["--option", "max-build-log-size", "9"]),
        ("no-output", 1, slow("true"), &[]),
        ("bad-output", 1, slow("echo x > $out; chmod 666 $out"), &[]),
        ("impossible", 100, slow("").replace("x86_64-linux", "riscv64-linux"), &[]),
    ];
    for (status, code, json, options) in cases {
        let scene = Scene::new();
        let file = scene.write("case.json", json);
        fails_with(&scene, status, code, &[&[file.as_str()], options].concat());
    }
    for (status, code, name) in [("hash-mismatch", 102, "wrong-hash"), ("rejected", 1, "disallowed")] {
        fails_with(&Scene::new(), status, code, &[&derivation(name)]);
    }
}

/// Checks that events, results and exit code say how a build failed.
fn fails_with(scene: &Scene, status: &str, code: i32, arguments: &[&str]) {
    let run = build(scene, &[&["--json"], arguments].concat());
    assert_eq!(run.code, Some(code), "{status}: {}", run.stderr);
    let events = read(&run.stderr);
    let failed = only(&events, "failed");
    assert_eq!(failed["status"], status, "{failed}");
    assert_eq!(only(&events, "end")["status"], "failed");
    let results: Value = serde_json::from_str(&run.stdout).unwrap();
    let result = results.as_array().unwrap().last().unwrap();
    assert_eq!((&result["status"], &result["drvPath"]), (&status.into(), &failed["drvPath"]), "{results}");
    assert_eq!(result["message"], failed["message"]);
    match status {
        "failed" | "transient" => assert_eq!(failed["exitCode"], 7),
        "timed-out" | "silent" => assert_eq!(failed["limit"], 1),
        "log-limit" => assert_eq!(failed["limit"], 9),
        _ => assert_eq!((&failed["exitCode"], &failed["limit"]), (&Value::Null, &Value::Null)),
    }
}

#[test]
fn what_needs_what_failed_is_blocked_by_it() {
    let scene = Scene::new();
    let run = build(&scene, &["--json", &scene.write("pair.json", FAILING_INPUT)]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    let events = read(&run.stderr);
    let (failed, blocked) = (only(&events, "failed"), only(&events, "blocked"));
    assert_eq!(blocked["by"], failed["drvPath"]);
    let results: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(results[0]["drvPath"], blocked["drvPath"]);
    assert_eq!((&results[0]["status"], &results[0]["by"]["status"]), (&"blocked".into(), &"failed".into()));
    assert_eq!(results[0]["by"]["drvPath"], failed["drvPath"]);
}

#[test]
fn what_builders_print_comes_as_it_is_in_one_line_each() {
    let scene = Scene::new();
    let script = r#"printf 'a\377\n'; echo '@nix {"action":"setPhase","phase":"buildPhase"}'; echo '@nix {';
                    printf '{"type":"end"}\n\033[2Jclear\n'; echo made > $out"#;
    let run = build(&scene, &["--json", &scene.write("odd.json", shell_derivation("odd", script))]);
    let events = read(&run.stderr);
    let logs: Vec<&Value> = events.iter().filter(|event| event["type"] == "log").collect();
    let texts: Vec<&str> = logs.iter().map(|log| log["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["a\u{fffd}", "@nix {", r#"{"type":"end"}"#, "\u{1b}[2Jclear"]);
    assert_eq!((&logs[0]["base64"], &logs[1]["base64"]), (&"Yf8=".into(), &Value::Null));
    assert_eq!(only(&events, "progress")["message"]["phase"], "buildPhase");
    assert_eq!(only(&events, "end")["built"], 1);
}

#[test]
fn a_file_gets_events_beside_the_text_for_people() {
    let scene = Scene::new();
    let file = scene.write("hello.json", shell_derivation("hello", "echo hi; echo made > $out"));
    let run = build(&scene, &["--quiet", "--events", "events.jsonl", &file]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let events = read(&fs::read_to_string(scene.path("events.jsonl")).unwrap());
    assert_eq!(types(&events), ["begin", "planned", "started", "running", "log", "built", "end"]);
    // An earlier file is not added to.
    let run = build(&scene, &["--json", "--events", "events.jsonl", &file]);
    assert!(run.stdout.starts_with('['), "{}", run.stdout);
    let events = read(&fs::read_to_string(scene.path("events.jsonl")).unwrap());
    assert_eq!(types(&events), ["begin", "planned", "end"]);
    assert!(!run.stderr.contains('{'), "{}", run.stderr);
    let said = scene.fails(2, &["build", "--events", "-", &file]);
    assert!(said.contains("stdout is for results"), "{said}");
    let said = scene.fails(1, &["build", "--events", "absent/events", &file]);
    assert!(said.contains("cannot write events to") && said.contains("absent/events"), "{said}");
}

#[test]
fn a_reader_of_events_that_goes_away_ends_nothing() {
    let scene = Scene::new();
    let script = "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; echo made > $out";
    let file = scene.write("long.json", shell_derivation("long", script));
    let shell = format!(
        "exec 3>&1; {{ \"$0\" \"$@\" --events /dev/fd/4 {file} 4>&1 1>&3 3>&-; echo $? >&3; }} | head -c 1"
    );
    let command = scene.command(&["build", "--no-link"]);
    let mut bash = std::process::Command::new("sh");
    bash.args(["-c", &shell]).arg(command.get_program()).args(command.get_args());
    bash.env("HOME", scene.path("home")).current_dir(scene.path("")).stdin(Stdio::null());
    let run: Run = bash.output().unwrap().into();
    assert!(run.stdout.contains("-long\n0\n"), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("cannot write more events"), "{}", run.stderr);
}

#[test]
fn quiet_leaves_what_is_wrong() {
    let scene = Scene::new();
    let run = build(&scene, &["--json", "--quiet", &scene.write("pair.json", FAILING_INPUT)]);
    assert_eq!(types(&read(&run.stderr)), ["begin", "failed", "end"]);
}

#[test]
fn what_prevents_all_builds_is_an_event_too() {
    let scene = Scene::new();
    let run = build(&scene, &["--json", "no-such-file.json"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    let events = read(&run.stderr);
    assert_eq!(types(&events), ["begin", "end", "message"]);
    assert_eq!(events[1]["status"], "error");
    assert_eq!(events[1]["error"], events[2]["text"]);
    assert!(events[1]["error"].as_str().unwrap().contains("no-such-file.json"), "{events:?}");
}

#[test]
fn an_interrupted_build_is_cancelled_not_failed() {
    let scene = Scene::new();
    let file = scene.write("slow.json", shell_derivation("slow", "echo begun; while :; do :; done"));
    let arguments = ["build", "--no-link", "--json", "--events", "events", &file];
    let mut running = Running::start(&scene, &arguments);
    let has_begun = || fs::read_to_string(scene.path("events")).is_ok_and(|text| text.contains("begun"));
    assert!(within(SOON, has_begun));
    kill(Pid::from_raw(running.id() as i32), Signal::SIGINT).unwrap();
    let run = running.wait();
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    let events = read(&fs::read_to_string(scene.path("events")).unwrap());
    assert_eq!(types(&events), ["begin", "planned", "started", "running", "log", "cancelled", "end"]);
    assert_eq!(only(&events, "end")["status"], "interrupted");
    let results: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(results[0]["status"], "cancelled");
    assert_eq!(results[0]["drvPath"], only(&events, "cancelled")["drvPath"]);
}

#[test]
fn on_a_terminal_a_person_reads() {
    let scene = Scene::new();
    let file = scene.write("hello.json", shell_derivation("hello", "echo made > $out"));
    let (code, seen) =
        Person::with(&scene, &scene.command(&["build", "--no-link", "--json", &file])).leaves();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("drvPath") && !seen.contains("\"type\""), "{seen}");
}
