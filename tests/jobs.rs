//! How many builds run at once, which of them first, and with which share of the processors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::history::{begun, script, takes, times};
use crate::scene::{Run, Scene, has, say};

/// Returns the program with these arguments, on one processor only.
fn on_one_processor(scene: &Scene, arguments: &[&str]) -> Command {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let first = allowed.split(['-', ',']).next().unwrap();
    let store = scene.command(arguments);
    let mut command = Command::new("taskset");
    command.args(["-c", first]).arg(store.get_program()).args(store.get_args());
    command.env_clear().envs(store.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(scene.path(""));
    command
}

#[test]
fn as_many_run_as_there_are_processors_that_may_be_used() {
    let scene = Scene::new();
    let processors = available_parallelism().unwrap().get();
    let files: Vec<String> =
        (0..=processors).map(|number| script(&scene, &format!("build{number}"), &takes(2))).collect();
    let auto: Vec<&str> = ["build", "--no-link", "--max-jobs", "auto"]
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .collect();
    let run = scene.run(&auto);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(begun(&run.stderr)[processors - 1].1, processors, "{}", run.stderr);
    if !has("taskset") {
        return;
    }
    let other = Scene::new();
    let files = ["a", "b", "c"].map(|name| script(&other, name, &takes(1)));
    let auto =
        [&["build", "--no-link", "--max-jobs", "auto"], &files.each_ref().map(String::as_str)[..]].concat();
    let run: Run = on_one_processor(&other, &auto).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let mut times: Vec<(u64, u64)> = run.stdout.lines().map(|path| times(&other, path)).collect();
    times.sort_unstable();
    assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].0), "one after the other: {times:?}");
}

/// Writes recipes, each of which needs the one before; returns the file of the last.
fn chain(scene: &Scene, names: &[&str]) -> String {
    let mut inputs = String::new();
    for name in names {
        let script = if inputs.is_empty() { "echo > $out" } else { "read x < ${input}; echo > $out" };
        let recipe = format!(
            r#"{{ "name": "{name}", "system": "x86_64-linux", "builder": "/bin/sh", "args": ["-c", "{script}"]{inputs} }}"#
        );
        scene.write(&format!("{name}.json"), recipe);
        inputs = format!(r#", "inputs": {{ "input": {{ "recipe": "./{name}.json" }} }}"#);
    }
    format!("{}.json", names.last().unwrap())
}

#[test]
fn what_is_to_be_first_is_and_what_it_needs_too() {
    let scene = Scene::new();
    // By itself, the longer chain would go first.
    let others = chain(&scene, &["other-a", "other-b", "other-c"]);
    let urgent = chain(&scene, &["needed", "urgent"]);
    let names = |arguments: &[&str]| {
        let run = scene.run(&[&["build", "--no-link"], arguments].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        begun(&run.stderr).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let run = scene.run(&["build", "--no-link", "--dry-run", "--first", &urgent, &others]);
    assert_eq!(run.stdout.lines().count(), 5, "it is built as well: {}", run.stderr);
    assert_eq!(names(&[&others, "--first", &urgent])[0], "needed");
    assert_eq!(names(&[&chain(&scene, &["x-a", "x-b", "x-c"]), &chain(&scene, &["y-a", "y-b"])])[0], "x-a");
    let [early, late] = ["early", "last"].map(|name| script(&scene, name, "echo > $out"));
    assert_eq!(names(&[&early, "--first", &late]), ["last", "early"]);
    assert_eq!(names(&["--first", &script(&scene, "late", "echo > $out")]), ["late"], "it may be all");
}

/// The control groups of builds that run, of one program that was started with `store`, with their share of the processors.
fn shares() -> Vec<(PathBuf, String)> {
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
        let share = ["cpu.weight", "cpu.shares"]
            .into_iter()
            .find_map(|file| fs::read_to_string(directory.join(file)).ok());
        let is_ours =
            directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with("store-build-"));
        if let (true, Some(share)) = (is_ours, share) {
            found.push((directory, share.trim().to_owned()));
        }
    }
    found
}

/// How many processes whose arguments have that word are in a group.
fn processes(group: &Path, word: &str) -> usize {
    let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let arguments = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    processes.lines().filter(|pid| String::from_utf8_lossy(&arguments(pid)).contains(word)).count()
}

/// However many programs a build starts, it counts as one beside others.
#[test]
fn each_build_has_one_share_of_the_processors() {
    let scene = Scene::new();
    if !scene.run(&["doctor"]).stdout.contains("can be weighted (`build-cpu-weight`), by control groups") {
        return say("skipped: no control group of processors is writable here");
    }
    // Nothing reads the word but this test.
    let mark = format!("mark-{}", std::process::id());
    let waits = |programs: usize| {
        format!(
            "spin() {{ while [ $1 = {mark} ]; do :; done; }}; for i in {}; do spin {mark} & done; spin {mark}",
            "x ".repeat(programs - 1)
        )
    };
    let files = [("many", 4), ("one", 1)].map(|(name, programs)| script(&scene, name, &waits(programs)));
    let files = files.each_ref().map(String::as_str);
    let options = ["build", "--no-link", "-j", "2", "--timeout", "60", "--option", "build-cpu-weight", "50"];
    let mut store =
        scene.command(&[&options, &files[..]].concat()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    let mut counts = Vec::new();
    let mut weights = Vec::new();
    while start.elapsed() < Duration::from_secs(30) && counts != [1, 4] {
        let ours = shares().into_iter().map(|(group, share)| (processes(&group, &mark), share));
        let mut ours: Vec<_> = ours.filter(|(count, _)| *count > 0).collect();
        ours.sort();
        (counts, weights) = ours.into_iter().unzip();
        sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(store.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(store.wait().unwrap().code(), Some(130));
    assert_eq!(counts, [1, 4], "each has a group of its own");
    assert!(weights.iter().all(|share| share == "50" || share == "512"), "{weights:?}");
}
