//! Being told to stop, at every moment: it ends soon, in good order, and leaves nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::processes::{Running, SOON, descendants, mounts_below, processes, within};
use crate::scene::{Run, Scene, isolations, say, shell_derivation};

/// So long is waited for what has to begin.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn tell(process: u32, signal: Signal) {
    kill(Pid::from_raw(process as i32), signal).unwrap();
}

/// Writes a derivation and returns its file and the word by which its processes are found.
pub(crate) fn slow(scene: &Scene, name: &str, script: &str) -> (String, String) {
    let word = format!("{name}-{}-{:?}", std::process::id(), std::thread::current().id());
    let word = word.replace(['(', ')'], "");
    let script = format!(": {word}; {script}");
    (scene.write(&format!("{name}.json"), shell_derivation(name, &script)), word)
}

/// Looks for everything that a `store` has while it runs.
pub(crate) fn assert_nothing_is_left(scene: &Scene, told: &str) {
    assert_eq!(mounts_below(scene), [""; 0], "{told}");
    let state = scene.root().join("nix/var/nix");
    for directory in ["builds", "running-builds", "temproots"] {
        assert_eq!(names(&state.join(directory)), [""; 0], "{told}: {directory}");
    }
    let is_left = |name: &String| [".lock", ".chroot", ".tmp", ".part"].iter().any(|end| name.ends_with(end));
    let left: Vec<String> = store_names(scene).filter(is_left).collect();
    assert_eq!(left, [""; 0], "{told}");
}

fn store_names(scene: &Scene) -> impl Iterator<Item = String> {
    names(&scene.root().join("nix/store")).into_iter()
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Waits for the end, which has to come soon.
pub(crate) fn ends(running: &mut Running<'_>, told: &str) -> Run {
    let start = Instant::now();
    assert!(running.ends_within(SOON), "{told}: it does not end");
    let took = start.elapsed();
    let run = running.wait();
    if took > Duration::from_secs(1) {
        say(&format!("{told}: it took {took:?} to end"));
    }
    run
}

/// Stops a process of its own, and waits for it.
pub(crate) const FOREVER: &str = "echo begun; /bin/sh -c 'kill -STOP $$'; :";

#[test]
fn every_signal_that_means_it_ends_a_build_and_leaves_nothing() {
    for isolation in isolations() {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let scene = Scene::new();
            let (file, word) = slow(&scene, "slow", FOREVER);
            let options = ["--option", "build-isolation", isolation, "-L"];
            let mut running =
                Running::start(&scene, &[&["build", "--no-link", &file], &options[..]].concat());
            assert!(within(PATIENCE, || !processes(&word).is_empty()), "{signal}");
            let everybody = descendants(running.id());
            tell(running.id(), signal);
            let told = format!("{signal} ({isolation})");
            let run = ends(&mut running, &told);
            assert_eq!(run.code, Some(130), "{told}: {}", run.stderr);
            assert!(run.stderr.contains("interrupted; what was built before is kept"), "{}", run.stderr);
            assert!(processes(&word).is_empty(), "{told}");
            let is_gone = |process: &u32| !Path::new(&format!("/proc/{process}")).exists();
            assert!(within(SOON, || everybody.iter().all(is_gone)), "{told}");
            assert_nothing_is_left(&scene, &told);
        }
    }
}

#[test]
fn a_signal_that_the_caller_ignores_is_ignored() {
    let scene = Scene::new();
    let (file, word) =
        slow(&scene, "short", "echo begun; n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done; echo > $out");
    let command = scene.command(&["build", "--no-link", &file]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    shell.env("HOME", scene.path("home")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = shell.spawn().unwrap();
    assert!(within(PATIENCE, || !processes(&word).is_empty()));
    tell(child.id(), Signal::SIGHUP);
    let run: Run = child.wait_with_output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn fifty_builds_end_together() {
    let scene = Scene::new();
    let word = format!("fifty-{}", std::process::id());
    let one = |number: usize| {
        let path = format!("\"/nix/store/{number:0>32}-{number}.drv\"");
        format!("{path}: {}", shell_derivation(&number.to_string(), &format!(": {word}; {FOREVER}")))
    };
    let all: Vec<String> = (0..50).map(one).collect();
    let file = scene.write("fifty.json", format!("{{ {} }}", all.join(",\n")));
    // Without a group of build users there are enough of them; with one, most builds wait for a user.
    for (group, count) in [("", 50), ("nixbld", 1)] {
        let options =
            ["-j", "50", "--option", "memory-for-builds", "0", "--option", "build-users-group", group];
        let mut running = Running::start(&scene, &[&["build", "--no-link", &file], &options[..]].concat());
        let count_of = || processes(&word).len();
        assert!(within(PATIENCE, || count_of() >= count), "{}", count_of());
        tell(running.id(), Signal::SIGINT);
        let told = format!("fifty builds of users of `{group}`");
        let run = ends(&mut running, &told);
        assert_eq!(run.code, Some(130), "{told}: {}", run.stderr);
        assert!(processes(&word).is_empty(), "{told}");
        assert_nothing_is_left(&scene, &told);
    }
}

#[test]
fn told_twice_it_does_not_wait_and_the_next_start_clears_up() {
    let scene = Scene::new();
    let (file, word) = slow(&scene, "slow", FOREVER);
    let mut command = scene.command(&["build", "--no-link", "-L", &file]);
    // Nobody reads what is said, so a build that prints keeps the program from getting to its end.
    let (reader, writer) = std::io::pipe().unwrap();
    let chatter = slow(&scene, "chatter", "while :; do echo 0123456789012345678901234567890123456789; done");
    command.arg(&chatter.0).args(["-j", "2"]).stderr(writer).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    assert!(within(PATIENCE, || !processes(&word).is_empty() && !processes(&chatter.1).is_empty()));
    std::thread::sleep(Duration::from_millis(500));
    tell(child.id(), Signal::SIGINT);
    // The builds end although nobody reads.
    assert!(within(SOON, || processes(&word).is_empty() && processes(&chatter.1).is_empty()));
    // Not one of the hasty, which counts as the same.
    std::thread::sleep(Duration::from_millis(300));
    if child.try_wait().unwrap().is_none() {
        tell(child.id(), Signal::SIGINT);
    }
    assert!(within(SOON, || child.try_wait().unwrap().is_some()));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(reader);
    scene.ok(&["verify"]);
    assert_nothing_is_left(&scene, "after the next start");
}

#[test]
fn a_large_graph_is_not_planned_to_the_end() {
    let scene = Scene::new();
    let entry = |number: usize| {
        let path = |number: usize| format!("\"/nix/store/{number:0>32}-{number}.drv\"");
        let json = shell_derivation(&number.to_string(), "exit 1");
        let inputs = match number {
            0 => String::new(),
            _ => format!("{}: [\"out\"]", path(number - 1)),
        };
        format!(
            "{}: {}",
            path(number),
            json.replace("\"inputDrvs\": {}", &format!("\"inputDrvs\": {{ {inputs} }}"))
        )
    };
    let all: Vec<String> = (0..4000).map(entry).collect();
    let file = scene.write("chain.json", format!("{{ {} }}", all.join(",\n")));
    let top = scene.ok(&["derivation", "add", &file]);
    let top =
        top.lines().find(|line| line.ends_with("-3999.drv")).unwrap_or_else(|| panic!("{top}")).to_owned();
    for delay in [20, 60, 150] {
        let mut running = Running::start(&scene, &["build", "--no-link", &top]);
        std::thread::sleep(Duration::from_millis(delay));
        // It may not listen yet, in which case it just ends.
        tell(running.id(), Signal::SIGINT);
        let told = format!("after {delay} ms");
        let run = ends(&mut running, &told);
        assert!(matches!(run.code, Some(130) | None), "{told}: {:?} {}", run.code, run.stderr);
    }
    // The same while a file is read that has them all.
    let mut running = Running::start(&scene, &["build", "--no-link", &file]);
    std::thread::sleep(Duration::from_millis(200));
    tell(running.id(), Signal::SIGTERM);
    let run = ends(&mut running, "reading a file");
    assert!(matches!(run.code, Some(130) | None), "{:?} {}", run.code, run.stderr);
}

#[test]
fn readers_that_go_away_end_nothing() {
    let scene = Scene::new();
    let script = "n=0; while [ $n -lt 3000 ]; do echo $n; n=$((n+1)); done; echo made > $out";
    let (file, _) = slow(&scene, "talkative", script);
    for closed in ["2>&1 >/dev/null | head -n 1", "2>/dev/null | :", "2>&- >&-"] {
        let command = scene.command(&["build", "--no-link", "-L", &file]);
        let line = format!("{{ \"$0\" \"$@\"; echo $? > code; }} {closed}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).arg(command.get_program()).args(command.get_args());
        shell.env("HOME", scene.path("home")).current_dir(scene.path("")).stdin(Stdio::null());
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(shell.status().is_ok());
        assert!(within(PATIENCE, || fs::read_to_string(scene.path("code")).is_ok_and(|code| code == "0\n")));
        let path = scene.ok(&["build", "--no-link", &file]);
        assert_eq!(fs::read_to_string(scene.real(&path)).unwrap(), "made\n", "{closed}");
        scene.ok(&["delete", &path]);
        fs::remove_file(scene.path("code")).unwrap();
    }
    assert_nothing_is_left(&scene, "closed pipes");
}

#[test]
fn a_long_log_is_not_compressed_before_the_end() {
    let scene = Scene::new();
    let script = format!(
        "l=yyyyyyyy; while [ ${{#l}} -lt 65536 ]; do l=$l$l; done; \
         n=0; while [ $n -lt 100 ]; do echo $l; n=$((n+1)); done; {FOREVER}"
    );
    let (file, _) = slow(&scene, "flood", &script);
    let drv = scene.ok(&["derivation", "add", &file]);
    let mut running = Running::start(&scene, &["build", "--no-link", &drv]);
    let is_long = || scene.run(&["log", "--tail", "1", &drv]).stdout.starts_with("begun");
    assert!(within(PATIENCE, is_long));
    tell(running.id(), Signal::SIGINT);
    assert_eq!(ends(&mut running, "a flood").code, Some(130));
    let directory = scene.root().join("nix/var/log/nix/drvs");
    let logs: Vec<String> = names(&directory).iter().flat_map(|half| names(&directory.join(half))).collect();
    assert!(logs.len() == 1 && logs[0].ends_with("-flood.drv"), "{logs:?}");
    // It is there, and says how it ended.
    let log = scene.ok(&["log", &drv]);
    assert!(log.len() > 100 << 16 && log.contains("[store] "), "{}", log.len());
    assert_nothing_is_left(&scene, "a flood");
}
