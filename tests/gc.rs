//! `store gc`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::peer::nix_store;
use crate::processes::{Running, SOON, within};
use crate::scene::{Run, Scene, derivation, has, has_nix, is_root, say};
use crate::stopping::tell;

/// Returns the names in the store directory, but for what every store has.
fn names(scene: &Scene) -> BTreeSet<String> {
    let entries = fs::read_dir(scene.root().join("nix/store")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".links").collect()
}

fn sorted(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn everything_goes_that_no_root_needs_as_it_was_said_before() {
    let scene = Scene::new();
    scene.build("diamond");
    scene.build("two-outputs");
    let there = names(&scene);
    let said = scene.run(&["gc", "--dry-run"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(names(&scene), there, "nothing is gone yet");
    let done = scene.run(&["gc"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(said.stdout, done.stdout, "in the same order, too");
    assert_eq!(said.stderr.replace("would be deleted", "deleted").replace("would be ", ""), done.stderr);
    assert_eq!(sorted(&done.stdout).len(), there.len());
    assert!(done.stderr.contains(&format!("{} paths and ", there.len())), "{}", done.stderr);
    assert_eq!(names(&scene), BTreeSet::new());
    assert_eq!(scene.ok(&["gc"]), "");
    scene.ok(&["verify"]);
}

#[test]
fn what_a_root_needs_stays() {
    let scene = Scene::new();
    let top = scene.ok(&["build", &derivation("diamond")]);
    scene.build("hello");
    let requisites = sorted(&scene.ok(&["query", "--requisites", &top]));
    let dead = sorted(&scene.ok(&["gc", "--print-dead"]));
    assert!(dead.iter().any(|path| path.ends_with("-hello")) && dead.is_disjoint(&requisites), "{dead:?}");
    assert_eq!(sorted(&scene.ok(&["gc"])), dead);
    scene.ok(&["verify", "--contents"]);
    let live = sorted(&scene.ok(&["gc", "--print-live"]));
    assert!(requisites.is_subset(&live) && live.iter().any(|path| path.ends_with(".drv")), "{live:?}");
    let roots = scene.ok(&["gc", "--print-roots"]);
    assert_eq!(roots, format!("{} -> {top}", scene.path("result").display()));
    // Derivations go once they are kept for nothing.
    let went = sorted(&scene.ok(&["gc", "--option", "gc-keep-derivations", "false"]));
    assert!(!went.is_empty() && went.iter().all(|path| path.ends_with(".drv")), "{went:?}");
    assert_eq!(sorted(&scene.ok(&["gc", "--print-live"])), requisites);
    fs::remove_file(scene.path("result")).unwrap();
    assert_eq!(sorted(&scene.ok(&["gc"])), requisites);
}

#[test]
fn a_part_of_it_goes_if_that_is_enough() {
    let scene = Scene::new();
    let large = |name: &str| scene.ok(&["add", &scene.write(name, vec![b'x'; 3 << 20])]);
    let all = ["one", "two", "three"].map(large);
    assert_eq!(scene.ok(&["gc", "--max-freed", "0"]), "");
    assert_eq!(scene.ok(&["gc", "--max-freed", "1M"]), all[0]);
    let rehearsed = scene.ok(&["gc", "--dry-run", "--max-size", "4M"]);
    assert_eq!(scene.ok(&["gc", "--max-size", "4M"]), all[1]);
    assert_eq!(rehearsed, all[1]);
    for wrong in ["", "1.5G", "many"] {
        let said = scene.fails(2, &["gc", "--max-freed", wrong]);
        assert!(said.contains("--max-freed"), "{said}");
    }
}

#[test]
fn what_went_is_told_as_json() {
    let scene = Scene::new();
    let path = scene.ok(&["add", &scene.write("large", vec![b'x'; 1 << 20])]);
    let told: serde_json::Value = serde_json::from_str(&scene.ok(&["gc", "--json"])).unwrap();
    assert_eq!(told["paths"], serde_json::json!([path]));
    assert_eq!((&told["dryRun"], &told["stopped"]), (&false.into(), &false.into()));
    assert!(told["bytesFreed"].as_u64().unwrap() >= 1 << 20, "{told}");
    assert_eq!(scene.ok(&["gc", "--json", "--print-roots"]), "[]");
}

#[test]
fn one_that_was_killed_leaves_a_sound_store_and_the_next_goes_on() {
    let scene = Scene::new();
    let file = scene.write("tree.json", {
        let write = "i=0; while [ $i -lt 3000 ]; do echo $i > $out/$i; i=$((i+1)); done";
        crate::scene::shell_derivation("tree", &format!("mkdir $out; {write}"))
    });
    let tree = scene.ok(&["build", "--no-link", &file]);
    scene.build("diamond");
    let kept = scene.ok(&["build", &derivation("hello")]);
    let mut running = Running::start(&scene, &["gc"]);
    // Without opening the directory: what a process has open is kept.
    let is_going =
        || (0..3000).step_by(50).any(|number| !scene.real(&tree).join(number.to_string()).exists());
    assert!(within(SOON, is_going));
    running.kill_all(&[]);
    scene.ok(&["verify", "--contents"]);
    scene.ok(&["gc"]);
    assert!(!scene.real(&tree).exists() && scene.real(&kept).exists());
    assert!(!scene.ok(&["gc", "--print-live"]).contains("-diamond"));
    // It can be built again.
    assert_eq!(scene.ok(&["build", "--no-link", &file]), tree);
}

#[test]
fn nix_finds_the_same_dead() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    for name in ["diamond", "two-outputs", "chain", "fixed-output"] {
        scene.build(name);
    }
    let top = scene.ok(&["build", &derivation("two-outputs")]);
    scene.ok(&["derivation", "add", &derivation("hello")]);
    let half = scene.root().join("nix/store/q790zdjk75hm2cn42nh77pqw4gbv1b88-half");
    fs::create_dir(&half).unwrap();
    assert!(!top.is_empty());
    let drv = scene.ok(&["derivation", "add", &derivation("diamond")]);
    let link = scene.root().join("nix/var/nix/gcroots/drv");
    std::os::unix::fs::symlink(&drv, link).unwrap();
    for outputs in ["true", "false"] {
        for derivations in ["true", "false"] {
            let keep = ["--option", "keep-outputs", outputs, "--option", "keep-derivations", derivations];
            for print in ["--print-dead", "--print-live"] {
                let ours = sorted(&scene.ok(&[&["gc", print][..], &keep].concat()));
                let nixs = sorted(&nix_store(&scene, &[&["--gc", print][..], &keep].concat()));
                assert_eq!(ours, nixs, "keep-outputs {outputs}, keep-derivations {derivations}, {print}");
                assert!(!ours.is_empty());
            }
        }
    }
    let dead = sorted(&scene.ok(&["gc", "--print-dead"]));
    assert_eq!(sorted(&scene.ok(&["gc"])), dead);
    nix_store(&scene, &["--verify", "--check-contents"]);
    assert_eq!(nix_store(&scene, &["--gc", "--print-dead"]), "");
}

#[test]
fn what_is_told_of_a_path_goes_with_it() {
    let scene = Scene::new();
    let kept = scene.ok(&["build", &derivation("hello")]);
    let gone = scene.build("diamond").remove(0);
    let logs = || {
        let shards = fs::read_dir(scene.root().join("nix/var/log/nix/drvs")).unwrap();
        shards.map(|shard| fs::read_dir(shard.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    assert!(logs() > 1);
    // Not while some of the garbage stays: it may be asked for.
    scene.ok(&["gc", "--max-freed", "0"]);
    assert!(logs() > 1);
    let told: serde_json::Value = serde_json::from_str(&scene.ok(&["gc", "--json"])).unwrap();
    assert!(told["logsRemoved"].as_u64().unwrap() > 0, "{told}");
    assert_eq!(logs(), 1);
    scene.ok(&["log", &kept]);
    scene.fails(1, &["log", &gone]);
    // The derivation is not needed for the log of what it made.
    scene.ok(&["gc", "--option", "keep-derivations", "false"]);
    scene.ok(&["log", &kept]);
    let unknown = scene.ok(&["verify", "--isolated"]);
    assert!(!unknown.contains("diamond"), "{unknown}");
}

#[test]
fn room_is_made_on_a_full_disk() {
    if !is_root() {
        return say("skipped: a full disk, which only root can make");
    }
    if !has("unshare") {
        return;
    }
    let scene = Scene::new();
    let large = scene.write("large", vec![b'x'; 4 << 20]);
    fs::create_dir(scene.root()).unwrap();
    let script = r#"
        mount -t tmpfs -o size=16m none "$ROOT" || exit 9
        "$@" add "$LARGE" || exit 8
        cat /dev/zero > "$ROOT/fill" 2> /dev/null
        "$@" add "$OTHER" && exit 7
        before=$(stat -f -c %f "$ROOT")
        [ "$before" = 0 ] || exit 6
        "$@" gc || exit 5
        [ "$(stat -f -c %f "$ROOT")" -gt 1000 ] || exit 4
        "$@" verify --contents || exit 3
        "$@" add "$OTHER" || exit 2
        [ "$(stat -c %s "$ROOT/nix/var/nix/db/reserved")" = 2097152 ] || exit 1
    "#;
    let other = scene.write("other", vec![b'y'; 1 << 20]);
    let command = scene.command(&["--option", "gc-reserved-space", "2M"]);
    let mut confined = Command::new("unshare");
    confined.args(["--mount", "sh", "-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    confined.env_clear().env("HOME", scene.path("home")).env("ROOT", scene.root());
    confined.env("LARGE", large).env("OTHER", other).current_dir(scene.path(""));
    confined.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let run: Run = confined.output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}\n{}", run.stdout, run.stderr);
}

#[test]
fn what_something_is_mounted_on_stays_with_all_it_needs() {
    if !has("unshare") {
        return;
    }
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let requisites = scene.ok(&["query", "--requisites", &top]);
    let file = scene.write("file", "x");
    let gone = scene.ok(&["add", &file]);
    fs::create_dir(scene.path("tree")).unwrap();
    fs::create_dir(scene.path("tree/inside")).unwrap();
    let tree = scene.ok(&["add", crate::scene::text(scene.path("tree")).as_str()]);
    fs::create_dir(scene.path("outside")).unwrap();
    scene.write("outside/precious", "x");
    let script = r#"
        mount --bind "$OUTSIDE" "$TREE/inside" || exit 9
        mount --bind "$TOP" "$TOP" || exit 9
        exec "$@" gc
    "#;
    let command = scene.command(&[]);
    let mut confined = Command::new("unshare");
    confined.args(if is_root() { &["--mount"][..] } else { &["--mount", "--user", "--map-root-user"] });
    confined.args(["sh", "-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    confined.env_clear().env("HOME", scene.path("home")).current_dir(scene.path(""));
    confined
        .env("OUTSIDE", scene.path("outside"))
        .env("TREE", scene.real(&tree))
        .env("TOP", scene.real(&top));
    confined.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let run: Run = confined.output().unwrap().into();
    if !is_root() && (run.code == Some(9) || run.stderr.contains("unshare")) {
        return say("skipped: no mount namespace to be had here");
    }
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.contains(&gone) && !run.stdout.contains(&top) && !run.stdout.contains(&tree),
        "{}",
        run.stdout
    );
    assert!(scene.path("outside/precious").exists());
    scene.ok(&["verify", "--contents"]);
    assert_eq!(scene.ok(&["query", "--requisites", &top]), requisites);
    // Once nothing is mounted there, they go.
    assert!(scene.ok(&["gc"]).contains(&tree));
}

#[test]
fn a_collection_that_is_told_to_stop_is_gone_on_with() {
    let scene = Scene::new();
    scene.build("hello");
    // Three batches, and of the first one more is told than fits into a pipe.
    let name = |number: usize| format!("/nix/store/{number:0>32}-{}", "x".repeat(150));
    let lines = |number| {
        fs::write(scene.real(&name(number)), number.to_string()).unwrap();
        format!("{}\n\n0\n", name(number))
    };
    let text: String = (0..1400).map(lines).collect();
    let input = File::open(scene.write("lines", text)).unwrap();
    let run: Run = scene.command(&["register-validity"]).stdin(input).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let dead = sorted(&scene.ok(&["gc", "--print-dead"]));
    assert!(dead.len() > 1400);
    let mut command = scene.command(&["gc"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut lines = String::new();
    told.read_line(&mut lines).unwrap();
    tell(child.id(), Signal::SIGINT);
    let is_heard = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
        pending.trim().bytes().all(|byte| byte == b'0')
    };
    assert!(within(SOON, is_heard));
    // It waits for somebody to read, so it has all the time to pass the word on.
    std::thread::sleep(Duration::from_millis(300));
    told.read_to_string(&mut lines).unwrap();
    let run: Run = child.wait_with_output().unwrap().into();
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    assert!(run.stderr.contains("`store gc` goes on where this ended"), "{}", run.stderr);
    let gone = sorted(&lines);
    assert!(gone.len() < dead.len() && gone.is_subset(&dead), "{}", gone.len());
    assert!(gone.iter().all(|path| !scene.real(path).exists()));
    assert!(dead.difference(&gone).all(|path| scene.real(path).exists()));
    scene.ok(&["verify", "--contents"]);
    let rest = sorted(&scene.ok(&["gc"]));
    assert_eq!(rest, dead.difference(&gone).cloned().collect());
    assert_eq!(names(&scene), BTreeSet::new());
}
