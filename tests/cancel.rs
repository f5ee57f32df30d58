//! `store cancel`: a build ends soon, is no failure, and leaves nothing; the rest goes on.

use std::fs::{self, File};
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::gated::{Gated, Saying};
use crate::processes::{SOON, descendants, mounts_below, within};
use crate::scene::{Run, Scene, is_root, shell_derivation};

/// Returns the running builds of a process, as `store ps` tells of them.
fn builds_of(scene: &Scene, process: u32) -> Vec<Value> {
    let all: Value = serde_json::from_str(&scene.ok(&["ps", "--json"])).unwrap();
    let own = |build: &&Value| build["owner"]["process"] == process;
    all.as_array().unwrap().iter().filter(own).cloned().collect()
}

/// Returns what `store ps` tells of the gated build of a process.
fn gated_of(scene: &Scene, run: &Saying<'_>) -> Value {
    let is_gated = |build: &Value| build["drvPath"].as_str().unwrap().ends_with("-gated.drv");
    builds_of(scene, run.child.id()).into_iter().find(is_gated).unwrap_or_default()
}

fn id_of(scene: &Scene, run: &Saying<'_>) -> String {
    gated_of(scene, run)["id"].as_str().unwrap().to_owned()
}

fn assert_nothing_is_left(scene: &Scene) {
    assert_eq!(mounts_below(scene), [""; 0]);
    assert_eq!(scene.ok(&["ps", "--json"]), "[]");
    let state = scene.root().join("nix/var/nix");
    for directory in ["builds", "running-builds"] {
        let left = fs::read_dir(state.join(directory)).into_iter().flatten().flatten();
        assert_eq!(left.map(|entry| entry.file_name()).collect::<Vec<_>>(), [""; 0], "{directory}");
    }
    let names = fs::read_dir(scene.root().join("nix/store")).unwrap().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let left = |name: &String| [".lock", ".chroot", ".tmp", ".part"].iter().any(|end| name.ends_with(end));
    assert_eq!(names.filter(left).collect::<Vec<_>>(), [""; 0]);
}

/// Returns the types of events in a file that are about a derivation.
fn events(scene: &Scene, file: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(scene.path(file)).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let about =
        |event: &Value| event["drvPath"].as_str().is_some_and(|drv| drv.ends_with(&format!("-{name}.drv")));
    events.filter(about).map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// `top` needs what is gated; `other` is on its own.
fn with_users(gated: &Gated) -> [String; 2] {
    let drv = gated.scene.ok(&["derivation", "add", &gated.file]);
    let json = shell_derivation("top", "echo > $out")
        .replace(r#""inputDrvs": {}"#, &format!(r#""inputDrvs": {{ "{drv}": ["out"] }}"#));
    let other = shell_derivation("other", "echo > $out");
    [gated.scene.write("top.json", json), gated.scene.write("other.json", other)]
}

#[test]
fn what_is_cancelled_has_not_failed_and_the_rest_goes_on() {
    let gated = Gated::new();
    let scene = &gated.scene;
    let [top, other] = with_users(&gated);
    let run = gated.start("run", "here", &["-L", "-v", "-j2", &top, &other, "--events", "events"]);
    let builders = descendants(run.child.id());
    let id = id_of(scene, &run);
    let told = scene.run(&["cancel", &id]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), ""), "{}", told.stderr);
    assert!(told.stderr.contains(&format!("cancelled {id} (gated)")), "{}", told.stderr);
    let (code, said) = run.ends();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("cancelled /nix/store/") && !said.contains("failed"), "{said}");
    assert!(said.contains("1 build was cancelled, and 1 was not tried for that"), "{said}");
    assert!(said.contains("-top.drv, as /nix/store/"), "{said}");
    let told: Vec<String> = events(scene, "events", "gated");
    // As root, it may wait for a user that builds of others have.
    let told: Vec<&str> = told.iter().map(String::as_str).filter(|kind| *kind != "waiting").collect();
    assert_eq!(told, ["started", "running", "log", "cancelled"]);
    assert_eq!(events(scene, "events", "top"), ["blocked"]);
    assert!(events(scene, "events", "other").contains(&"built".to_owned()));
    let all = fs::read_to_string(scene.path("events")).unwrap();
    let end: Value = serde_json::from_str(all.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&end["status"], &end["cancelled"], &end["failed"]),
        (&"cancelled".into(), &1.into(), &0.into())
    );
    assert!(scene.run(&["log", "--failed"]).stdout.is_empty());
    // All of them have ended with the program.
    let lives = |process: &&u32| fs::metadata(format!("/proc/{process}")).is_ok();
    assert!(within(SOON, || !builders.iter().any(|process| lives(&process))));
    assert_nothing_is_left(scene);
}

#[test]
fn results_say_what_was_cancelled() {
    let gated = Gated::new();
    let scene = &gated.scene;
    let [top, other] = with_users(&gated);
    let run = gated.start("run", "\"running\"", &[&top, &other, "--json", "-j2"]);
    // The other one may have begun before it.
    assert!(within(SOON, || gated_of(scene, &run)["drvPath"].is_string()), "{}", run.said());
    let drv = gated_of(scene, &run)["drvPath"].as_str().unwrap().to_owned();
    let cancelled: Value = serde_json::from_str(&scene.ok(&["cancel", &drv, "--json"])).unwrap();
    assert_eq!(
        (&cancelled[0]["status"], &cancelled[0]["drvPath"]),
        (&"cancelled".into(), &drv.as_str().into())
    );
    let (code, said) = run.ends();
    assert_eq!(code, Some(130), "{said}");
    // Events and results are in one file here.
    let list = &said[said.rfind("\n[").unwrap()..];
    let results = serde_json::Deserializer::from_str(list).into_iter::<Value>().next().unwrap().unwrap();
    assert_eq!(results[0]["status"], "cancelled", "{results}");
    assert_eq!(
        (&results[1]["status"], &results[1]["by"]["status"]),
        (&"blocked".into(), &"cancelled".into())
    );
    assert!(results[2]["outputs"]["out"].is_string(), "{results}");
}

#[test]
fn whoever_waits_builds_what_another_process_has_given_up() {
    let gated = Gated::new();
    let scene = &gated.scene;
    let first = gated.start("first", "here", &["-L"]);
    let second = gated.start("second", "waiting for", &["-L", "--events", "events"]);
    let id = id_of(scene, &first);
    scene.ok(&["cancel", &id]);
    assert_eq!(first.ends().0, Some(130));
    assert!(within(SOON, || gated_of(scene, &second)["state"] == "building"), "{}", second.said());
    gated.open();
    let (code, said) = second.ends();
    assert_eq!(code, Some(0), "{said}");
    let told = events(scene, "events", "gated");
    let place = |kind: &str| told.iter().position(|told| told == kind);
    assert!(place("waiting") < place("waited") && place("waited") < place("running"), "{told:?}");
    assert_eq!(told.last().unwrap(), "built");
    assert_nothing_is_left(scene);
}

#[test]
fn a_build_that_waits_for_a_lock_can_be_cancelled() {
    let gated = Gated::new();
    let scene = &gated.scene;
    let first = gated.start("first", "here", &["-L"]);
    let second = gated.start("second", "waiting for", &[]);
    scene.ok(&["cancel", &id_of(scene, &second)]);
    assert_eq!(second.ends().0, Some(130));
    gated.open();
    let (code, said) = first.ends();
    assert_eq!(code, Some(0), "{said}");
    assert_nothing_is_left(scene);
}

#[test]
fn a_failure_counts_for_more() {
    let gated = Gated::new();
    let failing = gated.scene.write("failing.json", shell_derivation("failing", "exit 1"));
    let run = gated.start("run", "here", &["-L", "-j2", "--keep-going", &failing]);
    assert!(run.says("failing.drv"), "{}", run.said());
    gated.scene.ok(&["cancel", &id_of(&gated.scene, &run)]);
    let (code, said) = run.ends();
    assert_eq!(code, Some(100), "{said}");
    assert!(said.contains("1 build was cancelled"), "{said}");
}

#[test]
fn strangers_may_not() {
    if !is_root() {
        // The other one would have to be somebody else.
        return;
    }
    let gated = Gated::new();
    let scene = &gated.scene;
    let run = gated.start("run", "here", &["-L"]);
    let id = id_of(scene, &run);
    let store = scene.command(&["cancel", &id]);
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=61000", "--regid=61000", "--clear-groups"]).arg(store.get_program());
    stranger.env_clear().env("HOME", "/");
    let told: Run = stranger.args(store.get_args()).current_dir("/").output().unwrap().into();
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(told.stderr.contains("only `root`, who runs it, and root may"), "{}", told.stderr);
    gated.open();
    assert_eq!(run.ends().0, Some(0));
}

#[test]
fn what_nobody_builds_cannot_be_cancelled() {
    let gated = Gated::new();
    let drv = gated.scene.ok(&["derivation", "add", &gated.file]);
    let said = gated.scene.fails(1, &["cancel", &drv]);
    assert!(said.contains("nobody builds `") && said.contains("no build is running"), "{said}");
    let run = gated.start("run", "here", &["-L"]);
    let said = gated.scene.fails(1, &["cancel", "bcdfghjk"]);
    assert!(said.contains(&format!("what runs: `{}` (gated)", id_of(&gated.scene, &run))), "{said}");
    gated.open();
    assert_eq!(run.ends().0, Some(0));
}

#[test]
fn a_build_on_another_machine_can_be_cancelled() {
    use std::os::unix::fs::PermissionsExt;
    let gated = Gated::new();
    let scene = &gated.scene;
    let protocol = test_support::fixture("hooks/protocol.sh");
    let hook = format!(
        "#!/bin/sh\n. {}\nread_settings\nread_request\nanswer accept\necho mars >&2\nread_strings\nread_strings\nexec sleep 1000\n",
        protocol.display()
    );
    let hook = scene.write("hook", hook);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let run = gated.start("run", "is built on mars", &["--option", "build-hook", &hook]);
    let mut builds = Vec::new();
    assert!(within(SOON, || {
        builds = builds_of(scene, run.child.id());
        !builds.is_empty()
    }));
    assert_eq!((&builds[0]["state"], &builds[0]["machine"]), (&"elsewhere".into(), &"mars".into()));
    assert!(scene.ok(&["ps"]).contains("building on mars"));
    scene.ok(&["cancel", builds[0]["id"].as_str().unwrap()]);
    let (code, said) = run.ends();
    assert_eq!(code, Some(130), "{said}");
    assert_nothing_is_left(scene);
}

#[test]
fn a_build_whose_hook_takes_its_time_can_be_cancelled() {
    let gated = Gated::new();
    let scene = &gated.scene;
    let hook = scene.program("hook", "#!/bin/sh\necho thinking >&2\nsleep 1000\n");
    let run = gated.start("run", "thinking", &["-L", "--option", "pre-build-hook", &hook]);
    assert_eq!(gated_of(scene, &run)["waitsFor"], json!({ "kind": "hook", "program": hook }));
    assert!(scene.ok(&["ps"]).contains(&format!("waits for the hook {hook}")));
    scene.ok(&["cancel", &id_of(scene, &run)]);
    let (code, said) = run.ends();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("1 build was cancelled"), "{said}");
    assert_nothing_is_left(scene);
}

#[test]
fn outputs_that_wait_for_a_lock_can_be_cancelled() {
    let scene = Scene::new();
    let drv = crate::content_addressed::add(
        &scene,
        "floats",
        "echo one > $out",
        crate::content_addressed::FLOATING,
        &[],
    );
    let out = scene.ok(&["build", "--no-link", &drv]);
    scene.ok(&["delete", &out]);
    let lock = format!("{}.lock", scene.real(&out).display());
    let mut holder = Command::new("flock").args([&lock, "sleep", "1000"]).spawn().unwrap();
    let is_held =
        || Command::new("flock").args(["--nonblock", &lock, "true"]).status().unwrap().code() == Some(1);
    assert!(within(SOON, is_held));
    let to = File::create(scene.path("said")).unwrap();
    let mut command = scene.command(&["build", "--no-link", &drv]);
    let mut child = command.stdout(to.try_clone().unwrap()).stderr(to).spawn().unwrap();
    let said = || fs::read_to_string(scene.path("said")).unwrap();
    assert!(within(SOON, || said().contains("waiting for")), "{}", said());
    scene.ok(&["cancel", &drv]);
    assert!(within(SOON, || child.try_wait().unwrap().is_some()), "{}", said());
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", said());
    descendants(holder.id()).iter().for_each(|process| {
        Command::new("kill").arg(process.to_string()).status().unwrap();
    });
    holder.kill().unwrap();
    holder.wait().unwrap();
    fs::remove_file(lock).unwrap();
    assert_nothing_is_left(&scene);
}

/// Holds the lock of a store path, as a program that nobody knows.
struct Holder {
    lock: String,
    program: Child,
}

impl Holder {
    fn of(scene: &Scene, path: &str) -> Self {
        let lock = format!("{}.lock", scene.real(path).display());
        let program = Command::new("flock").args([&lock, "sleep", "1000"]).spawn().unwrap();
        let holder = Self { lock, program };
        assert!(within(SOON, || !holder.can_be_taken(0)));
        holder
    }

    /// Whether somebody else can have the lock within so many seconds.
    fn can_be_taken(&self, seconds: u32) -> bool {
        let wait = format!("--timeout={seconds}");
        Command::new("flock").args([&wait, &self.lock, "true"]).status().unwrap().success()
    }

    fn lets_go(&mut self) {
        descendants(self.program.id()).iter().for_each(|process| {
            Command::new("kill").arg(process.to_string()).status().unwrap();
        });
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.lets_go();
        let _ = fs::remove_file(&self.lock);
    }
}

/// A derivation, with the path of its output.
fn with_output(scene: &Scene, name: &str, script: &str) -> (String, String) {
    let drv = scene.ok(&[
        "derivation",
        "add",
        &scene.write(&format!("{name}.json"), shell_derivation(name, script)),
    ]);
    let out = scene.ok(&["query", "--outputs", &drv]);
    (drv, out)
}

#[test]
fn what_nobody_needs_any_more_waits_for_no_lock() {
    let gated = Gated::new();
    let scene = &gated.scene;
    let (held, out) = with_output(scene, "held", "echo > $out");
    let (doomed, _) = with_output(scene, "doomed", "/bin/sh -c 'kill -STOP $$'; :");
    let inputs = format!(r#""inputDrvs": {{ "{held}": ["out"], "{doomed}": ["out"] }}"#);
    let top = shell_derivation("top", "echo > $out").replace(r#""inputDrvs": {}"#, &inputs);
    let top = scene.write("top.json", top);
    let mut holder = Holder::of(scene, &out);
    let run = gated.start("run", "waiting for", &["-j3", &top, "--events", "events"]);
    let runs = |name: &str| events(scene, "events", name).contains(&"running".to_owned());
    assert!(within(SOON, || runs("doomed") && runs("gated")), "{}", run.said());
    scene.ok(&["cancel", &doomed]);
    assert!(within(SOON, || events(scene, "events", "held").last().unwrap() == "cancelled"));
    assert!(within(SOON, || builds_of(scene, run.child.id()).len() == 1), "only what is gated goes on");
    // Nobody keeps the lock from others for the rest of that run.
    holder.lets_go();
    assert!(holder.can_be_taken(30));
    gated.open();
    let (code, said) = run.ends();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("2 builds were cancelled, and 1 was not tried for that"), "{said}");
    assert_eq!(events(scene, "events", "gated").last().unwrap(), "built");
    drop(holder);
    assert_nothing_is_left(scene);
}

#[test]
fn what_waits_when_another_build_fails_is_told_to_be_over() {
    let scene = Scene::new();
    let (held, out) = with_output(&scene, "held", "echo > $out");
    // It fails when it is clear that the other one waits.
    let (failing, _) =
        with_output(&scene, "failing", "n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done; exit 1");
    let holder = Holder::of(&scene, &out);
    let run = scene.run(&["build", "--no-link", "-j2", &held, &failing, "--events", "events"]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    let told = events(&scene, "events", "held");
    assert_eq!((told[0].as_str(), told.last().unwrap().as_str()), ("started", "cancelled"), "{told:?}");
    drop(holder);
    assert_nothing_is_left(&scene);
}

#[test]
fn whoever_waits_for_the_same_build_is_not_left_alone_when_another_one_fails() {
    let scene = Scene::new();
    let floats = |name: &str, comment: &str, inputs: &[&str]| {
        let script = format!("# {comment}\necho same > $out");
        crate::content_addressed::add(&scene, name, &script, crate::content_addressed::FLOATING, inputs)
    };
    // Both inputs come out as the same path, so that both users resolve to the same.
    let user = |name: &str, input: &str| {
        let script = format!("echo {} > $out", crate::content_addressed::stand_in(input));
        let json =
            crate::content_addressed::json("user", &script, crate::content_addressed::FLOATING, &[input]);
        scene.ok(&["derivation", "add", &scene.write(name, json)])
    };
    let inputs = [floats("input", "one", &[]), floats("input", "two", &[])];
    let users = [user("one.json", &inputs[0]), user("two.json", &inputs[1])];
    let built = scene.ok(&["build", "--no-link", "--events", "events", &users[0]]);
    let told = fs::read_to_string(scene.path("events")).unwrap();
    let resolved = told.lines().find_map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["resolvedPath"].as_str().map(str::to_owned)
    });
    scene.ok(&["build", "--no-link", &inputs[1]]);
    scene.ok(&["delete", &built]);
    let holder = Holder::of(&scene, &format!("{}.out", resolved.unwrap()));
    let (failing, _) =
        with_output(&scene, "failing", "n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done; exit 1");
    let mut command =
        scene.command(&["build", "--no-link", "-j3", &users[0], &users[1], &failing, "--events", "events"]);
    let to = File::create(scene.path("said")).unwrap();
    let mut child = command.stdout(to.try_clone().unwrap()).stderr(to).spawn().unwrap();
    let ends = within(SOON, || child.try_wait().unwrap().is_some());
    let said = fs::read_to_string(scene.path("said")).unwrap();
    child.kill().unwrap();
    assert!(ends && said.contains("waiting for"), "{said}");
    assert_eq!(child.wait().unwrap().code(), Some(100), "{said}");
    drop(holder);
}

#[test]
fn rounds_are_kept_when_the_lock_of_what_came_out_is_free() {
    let scene = Scene::new();
    let floating = crate::content_addressed::FLOATING;
    let drv = crate::content_addressed::add(&scene, "floats", "echo one > $out", floating, &[]);
    let out = scene.ok(&["build", "--no-link", &drv]);
    scene.ok(&["delete", &out]);
    for last in [&["cancel", &drv][..], &[]] {
        let mut holder = Holder::of(&scene, &out);
        let to = File::create(scene.path("said")).unwrap();
        let mut command = scene.command(&["build", "--no-link", "--rounds", "2", &drv]);
        let mut child = command.stdout(to.try_clone().unwrap()).stderr(to).spawn().unwrap();
        let said = || fs::read_to_string(scene.path("said")).unwrap();
        assert!(within(SOON, || said().contains("waiting for")), "{}", said());
        match last {
            [] => holder.lets_go(),
            words => drop(scene.ok(words)),
        }
        assert!(within(SOON, || child.try_wait().unwrap().is_some()), "{}", said());
        let code = if last.is_empty() { 0 } else { 130 };
        assert_eq!(child.wait().unwrap().code(), Some(code), "{}", said());
    }
    assert_nothing_is_left(&scene);
}
