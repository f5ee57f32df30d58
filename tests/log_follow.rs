//! `store log --follow`: a build that runs, looked at from another terminal.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::gated::{Gated, Saying};
use crate::person::Person;
use crate::processes::{SOON, within};
use crate::scene::{Scene, is_root, shell_derivation};

/// Starts to follow what `store ps` shows first, by a name that is taken from there.
fn follow<'a>(gated: &'a Gated, by: &str, word: &str, more: &[&str]) -> Saying<'a> {
    let name = ps(&gated.scene).pointer(by).unwrap().as_str().unwrap().to_owned();
    let mut command = gated.scene.command(&[&["log", "-f", &name], more].concat());
    gated.run("followed", word, &mut command)
}

fn ps(scene: &Scene) -> Value {
    serde_json::from_str(&scene.ok(&["ps", "--json"])).unwrap()
}

#[test]
fn a_running_build_is_followed_to_its_end_by_any_of_its_names() {
    for name in ["/0/id", "/0/drvPath", "/0/outputs/out"] {
        let gated = Gated::new();
        let build = gated.start("build", "here", &["-L"]);
        let followed = follow(&gated, name, "here", &[]);
        gated.open();
        assert_eq!(build.ends().0, Some(0));
        assert_eq!(followed.ends(), (Some(0), "here\nthere\n".to_owned()), "{name}");
    }
}

#[test]
fn following_ends_as_the_build_does() {
    let gated = Gated::with("echo here; read line < /gate; echo sad; exit 7");
    let build = gated.start("build", "here", &["-L"]);
    let followed = follow(&gated, "/0/id", "here", &[]);
    let drv = ps(&gated.scene)[0]["drvPath"].as_str().unwrap().to_owned();
    gated.open();
    assert_eq!(build.ends().0, Some(100));
    let (code, said) = followed.ends();
    assert_eq!(code, Some(100), "{said}");
    assert!(said.starts_with("here\nsad\n") && said.contains("the build has failed (failed): "), "{said}");
    assert!(said.contains("it returned 7"), "{said}");
    // Whoever comes too late is told the same.
    let late = gated.scene.run(&["log", "-f", &drv]);
    assert_eq!((late.code, late.stdout.starts_with("here\nsad\n")), (Some(100), true), "{}", late.stderr);
    assert_eq!(gated.scene.run(&["log", &drv]).code, Some(0));
}

#[test]
fn following_may_begin_near_the_end() {
    let gated = Gated::with("echo one; echo two; echo here; read line < /gate; echo > $out; echo there");
    let build = gated.start("build", "here", &["-L"]);
    let followed = follow(&gated, "/0/id", "here", &["--tail", "2"]);
    gated.open();
    assert_eq!(build.ends().0, Some(0));
    assert_eq!(followed.ends().1, "two\nhere\nthere\n");
    let out = gated.scene.ok(&gated.arguments(&[]));
    assert_eq!(gated.scene.ok(&["log", "--tail", "1", &out]), "there");
    let ended = gated.scene.run(&["log", "-f", &out]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "one\ntwo\nhere\nthere\n"));
}

#[test]
fn following_ends_with_ctrl_c_and_when_nobody_reads() {
    let gated = Gated::new();
    let build = gated.start("build", "here", &["-L"]);
    let followed = follow(&gated, "/0/id", "here", &[]);
    Command::new("kill").args(["-INT", &followed.child.id().to_string()]).status().unwrap();
    assert_eq!(followed.ends(), (Some(130), "here\n".to_owned()));
    let id = ps(&gated.scene)[0]["id"].as_str().unwrap().to_owned();
    let mut left = gated.scene.command(&["log", "-f", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(left.stdout.take().unwrap()).read_line(&mut line).unwrap();
    // The builder says nothing more meanwhile.
    assert!(within(SOON, || left.try_wait().unwrap().is_some()));
    assert_eq!((left.wait().unwrap().code(), line.as_str()), (Some(0), "here\n"));
    gated.open();
    assert_eq!(build.ends().0, Some(0));
}

#[test]
fn the_death_of_the_process_that_builds_is_told() {
    let gated = Gated::new();
    let mut build = gated.start("build", "here", &["-L"]);
    let followed = follow(&gated, "/0/id", "here", &[]);
    let process = build.child.id();
    build.child.kill().unwrap();
    // Before anybody has taken notice.
    let (code, said) = followed.ends();
    build.child.wait().unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("process {process} was killed while it built `")), "{said}");
}

#[test]
fn a_build_that_waits_for_another_process_is_followed() {
    let gated = Gated::new();
    let first = gated.start("first", "here", &["-L"]);
    let second = gated.start("second", "waiting for", &[]);
    let is_waiting = |build: &Value| build["state"] == "waiting";
    let builds = ps(&gated.scene);
    let waiting = builds.as_array().unwrap().iter().find(|build| is_waiting(build)).unwrap();
    let id = waiting["id"].as_str().unwrap();
    let mut command = gated.scene.command(&["log", "-f", id]);
    let followed = gated.run("followed", "here", &mut command);
    assert!(
        followed.said().contains(&format!("waits for process {}", first.child.id())),
        "{}",
        followed.said()
    );
    gated.open();
    assert_eq!((first.ends().0, second.ends().0), (Some(0), Some(0)));
    let (code, said) = followed.ends();
    assert!(code == Some(0) && said.ends_with("here\nthere\n"), "{said}");
}

#[test]
fn a_builder_that_is_run_once_more_begins_its_log_anew() {
    let gated = Gated::new();
    let build = gated.start("build", "here", &["-L", "--rounds", "2"]);
    let followed = follow(&gated, "/0/id", "here", &[]);
    gated.open();
    let again = "its builder is run once more, and its log begins anew\n";
    let is_at_second = || followed.said().ends_with(&format!("{again}here\n"));
    assert!(within(SOON, is_at_second), "{}", followed.said());
    gated.open();
    assert_eq!(build.ends().0, Some(0));
    assert_eq!(followed.ends(), (Some(0), format!("here\nthere\n{again}here\nthere\n")));
}

#[test]
fn a_log_that_is_not_kept_is_not_followed() {
    let gated = Gated::new();
    let build = gated.start("build", "here", &["-L", "--option", "keep-build-log", "false"]);
    let id = ps(&gated.scene)[0]["id"].as_str().unwrap().to_owned();
    let said = gated.scene.fails(1, &["log", "-f", &id]);
    assert!(said.contains("`keep-build-log`") && said.contains(&build.child.id().to_string()), "{said}");
    gated.open();
    assert_eq!(build.ends().0, Some(0));
}

#[test]
fn what_was_never_built_is_not_followed() {
    let scene = Scene::new();
    let file = scene.write("never.json", shell_derivation("never", "echo > $out"));
    let drv = scene.ok(&["derivation", "add", &file]);
    let said = scene.fails(1, &["log", "-f", &drv]);
    assert!(said.contains("is not being built") && said.contains("no build is running"), "{said}");
}

#[test]
fn a_stranger_may_follow_what_may_be_read() {
    if !is_root() {
        // The other one would have to be somebody else.
        return;
    }
    let gated = Gated::new();
    let build = gated.start("build", "here", &["-L"]);
    let id = ps(&gated.scene)[0]["id"].as_str().unwrap().to_owned();
    let store = gated.scene.command(&["log", "-f", &id]);
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=61000", "--regid=61000", "--clear-groups"]).arg(store.get_program());
    stranger.env_clear().env("HOME", "/").args(store.get_args()).current_dir("/");
    let followed = gated.run("followed", "here", &mut stranger);
    gated.open();
    assert_eq!(build.ends().0, Some(0));
    assert_eq!(followed.ends(), (Some(0), "here\nthere\n".to_owned()));
}

#[test]
fn a_terminal_is_not_steered_and_a_pipe_gets_every_byte() {
    let hostile = r"\033[2J\033]0;title\007red\033[31m\r\nbar 1%%\rbar 9%%\r\n\300";
    let gated = Gated::with(&format!("printf '{hostile}'; read line < /gate; echo > $out; echo there"));
    let build = gated.start("build", "bar 9%", &["-L"]);
    let id = ps(&gated.scene)[0]["id"].as_str().unwrap().to_owned();
    let mut person = Person::with(&gated.scene, &gated.scene.command(&["log", "-f", &id]));
    person.looks(|lines| lines.iter().any(|line| line == "bar 9%"));
    gated.open();
    assert_eq!(build.ends().0, Some(0));
    assert_eq!(person.stays(), Some(0));
    assert_eq!(person.screen(), ["]0;titlered", "bar 9%", "\u{fffd}there"]);
    assert!(!person.written().contains("\x1b[2J") && !person.written().contains('\x07'));
    let out = gated.scene.ok(&gated.arguments(&[]));
    let raw = gated.scene.command(&["log", &out]).output().unwrap().stdout;
    assert_eq!(raw, b"\x1b[2J\x1b]0;title\x07red\x1b[31m\r\nbar 1%\rbar 9%\r\n\xc0there\n");
}

#[test]
fn ctrl_c_at_the_terminal_stops_following_and_nothing_else() {
    let gated = Gated::new();
    let build = gated.start("build", "here", &["-L"]);
    let id = ps(&gated.scene)[0]["id"].as_str().unwrap().to_owned();
    let mut person = Person::with(&gated.scene, &gated.scene.command(&["log", "-f", &id]));
    person.looks(|lines| lines.iter().any(|line| line == "here"));
    person.signals(Signal::SIGINT);
    assert_eq!(person.stays(), Some(130));
    gated.open();
    assert_eq!(build.ends().0, Some(0));
}

#[test]
fn following_a_silent_build_shows_nothing_of_an_earlier_one() {
    let gated = Gated::with("if read word < /gate; then echo $word; fi; exit 1");
    let start = |log: &str| {
        let mut command = gated.scene.command(&gated.arguments(&[]));
        let build = gated.run(log, "", &mut command);
        assert!(within(SOON, || ps(&gated.scene)[0]["state"] == "building"));
        build
    };
    let build = start("first");
    fs::write(gated.scene.path("gate"), "old\n").unwrap();
    assert_eq!(build.ends().0, Some(100));
    let build = start("second");
    let followed = follow(&gated, "/0/id", "", &[]);
    std::thread::sleep(Duration::from_millis(200));
    fs::write(gated.scene.path("gate"), "new\n").unwrap();
    assert_eq!(build.ends().0, Some(100));
    let (code, said) = followed.ends();
    assert!(code == Some(100) && said.starts_with("new\n") && !said.contains("old"), "{said}");
}
