//! Collecting garbage while others build, here and in Nix.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::peer::nix_store_command;
use crate::processes::{Running, SOON, processes, within};
use crate::scene::{Scene, derivation, has_nix, shell_derivation};

/// Runs something again and again while something else is done; it has to be run at least once.
fn while_repeating(repeated: impl Fn() + Sync, work: impl FnOnce()) {
    let (is_done, times) = (AtomicBool::new(false), AtomicUsize::new(0));
    /// Also when the work panics.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::SeqCst) || times.load(Ordering::SeqCst) == 0 {
                repeated();
                times.fetch_add(1, Ordering::SeqCst);
            }
        });
        let _done = Done(&is_done);
        work();
    });
}

/// Derivations one after the other, each of which reads what the one before has made.
fn chain(length: usize, word: &str) -> String {
    let name = |number: usize| format!("{word}-{number}");
    let one = |number: usize| {
        let (script, inputs) = match number.checked_sub(1) {
            None => ("echo 0 > $out".to_owned(), "{}".to_owned()),
            Some(before) => {
                let input = format!(r#"{{ "{}": {{ "outputs": ["out"] }} }}"#, key(&name(before)));
                ("read line < $before; echo $line and more > $out".to_owned(), input)
            }
        };
        let json = shell_derivation(&name(number), &script);
        let json = json.replace(r#""inputDrvs": {}"#, &format!(r#""inputDrvs": {inputs}"#));
        format!("{:?}: {json}", key(&name(number)))
    };
    format!("{{ {} }}", (0..length).map(one).collect::<Vec<_>>().join(", "))
}

fn key(name: &str) -> String {
    format!("/nix/store/{}-{name}.drv", "0".repeat(32))
}

#[test]
fn builds_go_on_while_garbage_is_collected() {
    let scene = Scene::new();
    // So that there is a store to collect in.
    scene.build("hello");
    let collect = || drop(scene.ok(&["gc"]));
    while_repeating(collect, || {
        for round in 0..6 {
            for name in ["diamond", "two-outputs", "chain", "self"] {
                scene.build(name);
            }
            let file = scene.write(&format!("tree{round}"), round.to_string());
            scene.ok(&["add", &file]);
        }
    });
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn what_a_running_build_uses_stays_and_what_it_makes_is_kept() {
    let scene = Scene::new();
    let word = format!("slow-{}", std::process::id());
    let script = format!("i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo {word} > $out");
    let file = scene.write("slow.json", shell_derivation("slow", &script));
    let mut running = Running::start(&scene, &["build", "--no-link", &file]);
    assert!(within(SOON, || !processes(&word).is_empty()));
    for _ in 0..3 {
        scene.ok(&["gc"]);
    }
    let run = running.wait();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn nix_builds_while_store_collects() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("diamond")]);
    let root = scene.root().join("nix/var/nix/gcroots/drv");
    std::os::unix::fs::symlink(&drv, root).unwrap();
    let collect = || drop(scene.ok(&["gc"]));
    while_repeating(collect, || {
        for _ in 0..8 {
            let built = nix_store_command(&scene, &["--option", "sandbox", "false", "--realise", &drv])
                .output()
                .unwrap();
            // Without a sandbox, a relocated store is no place to build in for Nix: what counts is that it was not the
            // collector that stood in its way.
            let said = String::from_utf8_lossy(&built.stderr);
            assert!(!said.contains("gc-socket") && !said.contains("is not valid"), "{said}");
            let added =
                nix_store_command(&scene, &["--add", &scene.write("source", "text")]).output().unwrap();
            assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        }
    });
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn store_builds_while_nix_collects() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    scene.build("hello");
    let collect = || {
        let output = nix_store_command(&scene, &["--gc"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // What it was about to delete was added again meanwhile.
        let is_late = said.contains(".drv' because it is in use by");
        assert!(output.status.success() || is_late, "{said}");
    };
    let file = scene.write("chain.json", chain(6, "link"));
    while_repeating(collect, || {
        for _ in 0..3 {
            for name in ["diamond", "two-outputs", "chain"] {
                beside_nix(&scene, &["build", "--no-link", &derivation(name)]);
            }
            beside_nix(&scene, &["derivation", "add", &file]);
        }
    });
    scene.ok(&["verify", "--contents"]);
}

/// Runs the program, again when a derivation is gone that a temporary root should keep.
///
/// Nix 2.8 decides about a path and all that refers to it one by one, answers about each as if nothing were decided, and
/// then deletes them: beside it, its own programs fail in the same way. Nothing else may fail, and it does not go on.
fn beside_nix(scene: &Scene, arguments: &[&str]) {
    for _ in 0..20 {
        let run = scene.run(arguments);
        if run.code == Some(0) {
            return;
        }
        let is_gone = ["which is not valid", "No such file"].iter().any(|gone| run.stderr.contains(gone));
        assert!(is_gone && run.stderr.contains(".drv`"), "store {}: {}", arguments.join(" "), run.stderr);
    }
    panic!("store {} fails again and again beside a collector of Nix's", arguments.join(" "));
}

#[test]
fn collectors_wait_for_each_other() {
    let scene = Scene::new();
    scene.build("diamond");
    while_repeating(
        || drop(scene.ok(&["gc"])),
        || {
            for _ in 0..5 {
                scene.build("two-outputs");
                scene.ok(&["gc"]);
            }
        },
    );
    assert_eq!(scene.ok(&["gc"]), "");
    scene.ok(&["verify"]);
}

#[test]
fn a_build_makes_room_when_too_little_is_free() {
    let scene = Scene::new();
    let garbage = scene.ok(&["add", &scene.write("garbage", vec![b'x'; 1 << 20])]);
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done > $out";
    let file = scene.write("slow.json", shell_derivation("slow", script));
    let build = |least: &str, wanted: &str| {
        let settings = [("min-free", least), ("max-free", wanted), ("min-free-check-interval", "0")];
        let options = settings.iter().flat_map(|(name, value)| ["--option", *name, *value]);
        scene.run(
            &["build", "--no-link", "--events", "events", &file]
                .into_iter()
                .chain(options)
                .collect::<Vec<_>>(),
        )
    };
    // More than any disk has, but no more than it has.
    let run = build("4096T", "0");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(scene.real(&garbage).exists() && !run.stderr.contains("min-free"), "{}", run.stderr);
    scene.ok(&["delete", run.stdout.trim_end()]);
    let run = build("4096T", "8192T");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(!scene.real(&garbage).exists(), "{}", run.stderr);
    assert!(run.stderr.contains("deleted") && scene.real(run.stdout.trim_end()).exists(), "{}", run.stderr);
    let events = fs::read_to_string(scene.path("events")).unwrap();
    let told = events.lines().find(|line| line.contains(r#""type":"collected""#)).expect(&events);
    assert!(told.contains(r#""paths":1"#) && told.contains(r#""failed":0"#), "{told}");
    scene.ok(&["verify", "--contents"]);
}
