//! Build hooks: the protocol with scripts of a few lines, a worked example, and Nix's own remote builder.

use std::fs;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use test_support::fixture;

use crate::content_addressed;
use crate::processes::{Running, SOON, processes, within};
use crate::scene::{Run, Scene, derivation, has_nix, shell_derivation, text};
use crate::timings;

/// Writes a hook that has `protocol.sh` at hand and writes down each request in the file `requests`.
pub(crate) fn hook(scene: &Scene, script: &str) -> String {
    let protocol = text(fixture("hooks/protocol.sh"));
    let requests = text(scene.path("requests"));
    let read = format!(
        "#!/bin/sh\n. {protocol}\nread_settings\nnext() {{ read_request && echo \"$willing $system $drv $features\" >> \
         {requests}; }}\n{script}\n"
    );
    scene.program("hook", read)
}

fn requests(scene: &Scene) -> Vec<String> {
    let text = fs::read_to_string(scene.path("requests")).unwrap_or_default();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn with_hook(scene: &Scene, hook: &str, arguments: &[&str]) -> Run {
    let verb: &[&str] = &["build", "--no-link", "--option", "build-hook", hook];
    scene.run(&[verb, arguments].concat())
}

/// A derivation that runs a script and wants a system, and perhaps a feature.
fn of_system(scene: &Scene, name: &str, system: &str, feature: &str, script: &str) -> String {
    let json = shell_derivation(name, script)
        .replace("x86_64-linux", system)
        .replace(r#""env": {}"#, &format!(r#""env": {{ "requiredSystemFeatures": "{feature}" }}"#));
    scene.write(&format!("{name}.json"), json)
}

#[test]
fn what_a_hook_declines_is_built_here() {
    let scene = Scene::new();
    let hook = hook(&scene, "while next; do answer decline; done");
    let run = with_hook(&scene, &hook, &[&derivation("chain")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let requests = requests(&scene);
    assert_eq!(requests.len(), 4, "one hook is asked for each: {requests:?}");
    assert!(requests[0].starts_with("1 x86_64-linux /nix/store/"), "{requests:?}");
    assert!(requests[0].ends_with("-link-1.drv"), "{requests:?}");
    assert!(scene.real(run.stdout.trim()).exists());
}

#[test]
fn a_hook_that_declines_permanently_is_asked_once() {
    let scene = Scene::new();
    let hook = hook(&scene, "next; answer decline-permanently; sleep 1000");
    let run = with_hook(&scene, &hook, &[&derivation("chain")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(requests(&scene).len(), 1);
    assert_eq!(processes(&hook), [""; 0], "it is ended");
}

#[test]
fn what_cannot_be_built_here_is_told_with_what_the_hook_said() {
    let scene = Scene::new();
    let hook = hook(&scene, "while next; do echo no machine today >&2; answer decline; done");
    let file = of_system(&scene, "foreign", "riscv64-linux", "", "echo > $out");
    let run = with_hook(&scene, &hook, &[&file]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    for part in ["the build hook has declined it", "no machine today", "it is for `riscv64-linux`"] {
        assert!(run.stderr.contains(part), "no `{part}` in {}", run.stderr);
    }
    assert!(requests(&scene)[0].starts_with("0 riscv64-linux"), "it is not willing: {:?}", requests(&scene));
    let file = of_system(&scene, "featured", "x86_64-linux", "big-iron", "echo > $out");
    let run = with_hook(&scene, &hook, &[&file]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(run.stderr.contains("`big-iron`") && run.stderr.contains("no machine today"), "{}", run.stderr);
    assert!(requests(&scene)[1].ends_with("featured.drv big-iron"), "{:?}", requests(&scene));
}

#[test]
fn what_prefers_to_be_built_here_is_not_offered() {
    let scene = Scene::new();
    let hook = hook(&scene, "while next; do answer decline; done");
    let json = shell_derivation("local", "echo > $out")
        .replace(r#""env": {}"#, r#""env": { "preferLocalBuild": "1" }"#);
    let run = with_hook(&scene, &hook, &[&scene.write("local.json", json)]);
    assert_eq!((run.code, requests(&scene).len()), (Some(0), 0), "{}", run.stderr);
}

#[test]
fn a_check_is_not_offered() {
    let scene = Scene::new();
    scene.build("hello");
    let hook = hook(&scene, "while next; do answer decline; done");
    let run = with_hook(&scene, &hook, &["--check", &derivation("hello")]);
    assert_eq!((run.code, requests(&scene).len()), (Some(0), 0), "{}", run.stderr);
}

#[test]
fn what_is_postponed_is_offered_again_when_a_build_has_ended() {
    let scene = Scene::new();
    let hook = hook(
        &scene,
        "while next; do case $drv in *-first.drv) asked=$asked+ ;; esac; \
         case $drv$asked in *-first.drv+) answer postpone ;; *) answer decline ;; esac; done",
    );
    let first = scene.write("first.json", shell_derivation("first", "echo first > $out"));
    let second = scene.write("second.json", shell_derivation("second", "echo second > $out"));
    let run = with_hook(&scene, &hook, &["--timings=page.html", "-v", &first, &second]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout.lines().count(), 2);
    assert!(run.stderr.contains("the build hook postpones /nix/store/"), "{}", run.stderr);
    let data = timings::data(&scene.path("page.html"));
    assert!(timings::goal(&data, "first")["waits"]["hook"].as_u64() > Some(0), "{data}");
    let requests = requests(&scene);
    let asked: Vec<bool> = requests.iter().map(|line| line.contains("-first.drv")).collect();
    assert_eq!(asked, [true, false, true], "{requests:?}");
}

#[test]
fn what_waits_for_a_lock_takes_no_slot_when_others_are_offered_again() {
    let scene = Scene::new();
    let hook = hook(
        &scene,
        "while next; do \
         case $drv$asked in *-later.drv) asked=+; answer postpone ;; *) answer decline ;; esac; done",
    );
    let add = |name: &str, script: &str| {
        scene.ok(&[
            "derivation",
            "add",
            &scene.write(&format!("{name}.json"), shell_derivation(name, script)),
        ])
    };
    let [held, later, quick] = ["held", "later", "quick"].map(|name| add(name, "echo > $out"));
    let lock = scene.real(&format!("{}.lock", scene.ok(&["query", "--outputs", &held])));
    let lock = Flock::lock(fs::File::create(lock).unwrap(), FlockArg::LockExclusive).unwrap();
    let options = ["--option", "build-hook", &hook, "-j1", "--events", "events"];
    let mut running =
        Running::start(&scene, &[&["build", "--no-link", &held, &later, &quick], &options[..]].concat());
    let told = |kind: &str, drv: &str| {
        let events = fs::read_to_string(scene.path("events")).unwrap_or_default();
        events.lines().any(|line| line.contains(&format!(r#""type":"{kind}""#)) && line.contains(drv))
    };
    assert!(within(SOON, || told("built", &later)), "it has the only slot");
    assert!(told("postponed", &later) && told("waiting", &held) && !told("waited", &held));
    drop(lock);
    assert!(running.ends_within(SOON));
    assert_eq!(running.wait().code, Some(0));
}

#[test]
fn whoever_waits_for_what_was_declined_is_not_left_alone_when_another_one_fails() {
    let scene = Scene::new();
    let hook = hook(&scene, "while next; do answer decline; done");
    let input = |comment: &str| {
        content_addressed::add(
            &scene,
            "input",
            &format!("# {comment}\necho > $out"),
            content_addressed::FLOATING,
            &[],
        )
    };
    // Both inputs are the same path, so that both users resolve to the same.
    let inputs = ["one", "two"].map(input);
    scene.ok(&["build", "--no-link", &inputs[0], &inputs[1]]);
    let user = |input: &String| {
        let script = format!("echo {} > $out", content_addressed::stand_in(input));
        content_addressed::add(&scene, "user", &script, "{}", &[input])
    };
    let users = inputs.each_ref().map(user);
    let script = "n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done; exit 1";
    let failing = scene.write("failing.json", shell_derivation("failing", script));
    let options = ["--option", "build-hook", &hook, "-j1", "--first", &failing];
    let mut running =
        Running::start(&scene, &[&["build", "--no-link", &users[0], &users[1]], &options[..]].concat());
    assert!(running.ends_within(SOON), "it does not end");
    assert_eq!(running.wait().code, Some(100));
}

#[test]
fn a_hook_that_dies_is_no_end_of_the_build() {
    let scene = Scene::new();
    let hook = hook(&scene, "next; printf 'alas\\033[2J\\033]0;x\\a\\n' >&2; exit 3");
    let run = with_hook(&scene, &hook, &[&derivation("chain")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stderr.contains("has ended instead of answering") && run.stderr.contains("alas"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains('\x1b'), "it does not steer the terminal: {}", run.stderr);
    assert_eq!(requests(&scene).len(), 3, "after three that died there is no fourth");
    let run = with_hook(&scene, "/absent/hook", &[&derivation("hello")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stderr.contains("cannot start the build hook `/absent/hook` (setting `build-hook`)"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_hook_that_accepts_has_to_bring_the_outputs() {
    let scene = Scene::new();
    let accept = "next; answer accept; echo mars >&2; read_strings; inputs=$strings; read_strings; \
                  printf 'log of %s' \"$strings\" >&4; ";
    let lying = hook(&scene, &format!("{accept} exit 0"));
    let run = with_hook(&scene, &lying, &["-L", &derivation("hello")]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    for part in ["is built on mars", "> log of out", "is not valid in this store"] {
        assert!(run.stderr.contains(part), "no `{part}` in {}", run.stderr);
    }
    // As Nix's programs say it: a failure of the builder, and a time that was over.
    for (status, code) in [(100, 100), (101, 101), (1, 100)] {
        let failing = hook(&scene, &format!("{accept} echo no luck >&2; exit {status}"));
        let run = with_hook(&scene, &failing, &[&derivation("hello")]);
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        for part in ["on `mars` it failed: the hook returned", "no luck", "> log of out"] {
            assert!(run.stderr.contains(part), "no `{part}` in {}", run.stderr);
        }
    }
    let drv = requests(&scene)[0].split(' ').nth(2).unwrap().to_owned();
    assert!(
        scene.ok(&["log", &drv]).starts_with("log of out\n[store] failed: the build hook could not have `")
    );
}

#[test]
fn an_interrupted_hook_is_ended() {
    let scene = Scene::new();
    let hook = hook(&scene, "next; answer accept; echo mars >&2; trap '' TERM; while :; do sleep 1; done");
    let arguments = ["build", "--no-link", "--option", "build-hook", &hook, &derivation("hello")];
    let mut running = Running::start(&scene, &arguments);
    assert!(within(SOON, || !requests(&scene).is_empty()));
    std::process::Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap();
    assert!(running.ends_within(SOON));
    assert_eq!(running.wait().code, Some(130));
    assert!(within(SOON, || processes(&hook).is_empty()));
}

#[test]
fn a_hook_does_not_outlive_the_program() {
    let scene = Scene::new();
    let hook = hook(&scene, "next; answer accept; echo mars >&2; trap '' TERM; while :; do sleep 1; done");
    let arguments = ["build", "--no-link", "--option", "build-hook", &hook, &derivation("hello")];
    let mut running = Running::start(&scene, &arguments);
    assert!(within(SOON, || !requests(&scene).is_empty()));
    running.kill_all(&[]);
    assert!(within(SOON, || processes(&hook).is_empty()), "{:?}", processes(&hook));
}

/// What Nix's programs need to run for anybody.
fn with_nix(scene: &Scene, arguments: &[&str]) -> Run {
    let conf = scene.path("nix-conf");
    fs::create_dir_all(&conf).unwrap();
    let shell = if Path::new("/bin/busybox").exists() { "sandbox-paths = /bin/sh=/bin/busybox" } else { "" };
    let text = format!("substituters =\nsubstitute = false\nbuild-users-group =\n{shell}\n");
    fs::write(conf.join("nix.conf"), text).unwrap();
    let mut command = scene.command(arguments);
    command.env("USER", "nobody").env("NIX_CONF_DIR", &conf);
    command.output().unwrap().into()
}

#[test]
fn the_worked_example_builds_in_another_store() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let example = text(fixture("hooks/build-in-other-store.sh"));
    let program = text(test_support::store_binary(env!("CARGO_BIN_EXE_store")));
    let hook = format!("{example} {program} {}", text(scene.path("other")));
    let run = with_nix(
        &scene,
        &["build", "--no-link", "-L", "--option", "build-hook", &hook, &derivation("chain")],
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("is built on {}", text(scene.path("other")))), "{}", run.stderr);
    let output = run.stdout.trim();
    assert!(scene.path("other").join(&output[1..]).exists());
    assert_eq!(fs::read_to_string(scene.real(output)).unwrap(), "links: 1, 2, 3, 4\n");
    scene.ok(&["verify"]);
    let info = scene.ok(&["path-info", "--json", output]);
    assert!(info.contains("there is no record of how it was built"), "{info}");
}

#[test]
fn nix_builds_elsewhere_by_its_own_hook() {
    let hook = "/usr/libexec/nix/build-remote";
    if !has_nix() || !Path::new(hook).exists() || !Path::new("/bin/busybox").exists() {
        return crate::scene::say(
            "skipped: no build hook of Nix on this machine, or no busybox to build with",
        );
    }
    let scene = Scene::new();
    let remote = text(scene.path("remote"));
    let machines = format!("{remote} x86_64-linux,riscv64-linux - 1 1 big-iron");
    let options = ["--option", "build-hook", hook, "--option", "builders", &machines];
    let file = of_system(&scene, "featured", "x86_64-linux", "big-iron", "echo working; echo done > $out");
    let run = with_nix(
        &scene,
        &[&["build", "--no-link", "-L"], &options[..], &[&file, &derivation("diamond")]].concat(),
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("is built on {remote}")), "{}", run.stderr);
    assert!(run.stderr.contains("featured> working"), "{}", run.stderr);
    let output = run.stdout.lines().next().unwrap();
    assert!(Path::new(&remote).join(&output[1..]).exists(), "it was built there");
    assert_eq!(fs::read_to_string(scene.real(output)).unwrap(), "done\n");
    assert!(scene.ok(&["log", output]).contains("working"));
    scene.ok(&["verify"]);
    // A failure there is one here, and what the hook has no machine for is told in its words.
    let failing = of_system(&scene, "failing", "x86_64-linux", "big-iron", "echo so sad; exit 3");
    let run = with_nix(&scene, &[&["build", "--no-link"], &options[..], &[&failing]].concat());
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(run.stderr.contains("> so sad") && run.stderr.contains("exit code 3"), "{}", run.stderr);
    let foreign = of_system(&scene, "foreign", "s390x-linux", "", "echo > $out");
    let run = with_nix(&scene, &[&["build", "--no-link"], &options[..], &[&foreign]].concat());
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(run.stderr.contains("Failed to find a machine for remote build"), "{}", run.stderr);
}
