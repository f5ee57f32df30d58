//! `pre-build-hook` and `post-build-hook`, which run beside each build.

use std::fs;

use crate::scene::{Run, Scene, derivation, isolations, shell_derivation, text};

/// Writes a hook, a script of `/bin/sh`.
fn hook(scene: &Scene, script: &str) -> String {
    scene.program("hook", format!("#!/bin/sh\n{script}\n"))
}

fn with_hook(scene: &Scene, kind: &str, hook: &str, arguments: &[&str]) -> Run {
    scene.run(&[&["build", "--no-link", "--option", kind, hook], arguments].concat())
}

#[test]
fn a_hook_before_a_build_shows_it_more_of_the_host() {
    for isolation in isolations() {
        let scene = Scene::new();
        let shown = scene.write("shown", "of the host");
        let told = text(scene.path("told"));
        let hook = hook(
            &scene,
            &format!(
                "echo $1 > {told}; test -d $2 || exit 9; echo looking >&2\n\
                 echo extra-sandbox-paths; echo /from-hook={shown}; echo; echo extra-chroot-dirs; echo {shown}; echo"
            ),
        );
        let script = format!("read -r a < /from-hook; read -r b < {shown}; echo \"$a, $b\" > $out");
        let file = scene.write("build.json", shell_derivation("build", &script));
        let options = ["-L", "--option", "build-isolation", isolation, &file];
        fs::write(&shown, "of the host\n").unwrap();
        let run = with_hook(&scene, "pre-build-hook", &hook, &options);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stderr.contains("build> pre-build-hook: looking"), "{}", run.stderr);
        let output = run.stdout.trim();
        assert_eq!(fs::read_to_string(scene.real(output)).unwrap(), "of the host, of the host\n");
        assert!(fs::read_to_string(&told).unwrap().trim().ends_with("-build.drv"));
        let info = scene.ok(&["path-info", "--json", output]);
        assert!(info.contains("of the host as `/from-hook`"), "it is written down: {info}");
    }
}

#[test]
fn a_hook_before_a_build_that_goes_wrong_prevents_it() {
    let scene = Scene::new();
    for (script, told) in [
        ("echo alas >&2; exit 3", "returned 3\n  alas"),
        ("echo hello", "printed `hello`, which is no command"),
        ("echo extra-sandbox-paths; echo /absent/file", "wants to show `/absent/file`, which cannot be had"),
        ("kill -9 $$", "was killed by signal 9"),
    ] {
        let hook = hook(&scene, script);
        let run = with_hook(&scene, "pre-build-hook", &hook, &[&derivation("hello")]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
        let told = format!("the hook `{hook}` (setting `pre-build-hook`) {told}");
        assert!(run.stderr.contains(&told), "no `{told}` in {}", run.stderr);
    }
    let run = with_hook(&scene, "pre-build-hook", "/absent/hook", &[&derivation("hello")]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("cannot run the hook `/absent/hook`"), "{}", run.stderr);
}

#[test]
fn a_hook_after_a_build_hears_what_was_built() {
    let scene = Scene::new();
    let told = text(scene.path("told"));
    let hook = hook(
        &scene,
        &format!("echo telling; echo \"$DRV_PATH $OUT_PATHS\" >> {told}; echo \"$NIX_CONFIG\" >> {told}"),
    );
    let run = with_hook(&scene, "post-build-hook", &hook, &["-L", &derivation("two-outputs")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("> post-build-hook: telling"), "{}", run.stderr);
    let heard = fs::read_to_string(&told).unwrap();
    let first = heard.lines().next().unwrap();
    assert!(first.split(' ').next().unwrap().ends_with(".drv"), "{first}");
    let mut outputs: Vec<&str> = first.split(' ').skip(1).collect();
    let mut built: Vec<&str> = run.stdout.lines().collect();
    outputs.sort_unstable();
    built.sort_unstable();
    assert_eq!(outputs, built);
    assert!(heard.contains(&format!("store = {}", text(scene.root()))), "where the store is: {heard}");
    // Not for what is there already.
    with_hook(&scene, "post-build-hook", &hook, &[&derivation("two-outputs")]);
    assert_eq!(fs::read_to_string(&told).unwrap(), heard);
}

#[test]
fn a_hook_after_a_build_that_goes_wrong_stops_what_needs_it() {
    let scene = Scene::new();
    let hook = hook(&scene, "echo no room >&2; exit 4");
    let run = with_hook(&scene, "post-build-hook", &hook, &[&derivation("chain")]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    for part in ["is built and its outputs are valid, but the hook", "returned 4", "no room"] {
        assert!(run.stderr.contains(part), "no `{part}` in {}", run.stderr);
    }
    let started = |line: &&str| line.starts_with("building /nix/store/");
    assert_eq!(run.stderr.lines().filter(started).count(), 1, "{}", run.stderr);
    // What was built stays, and is not built again.
    let run = scene.run(&["build", "--no-link", &derivation("chain")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(!run.stderr.contains("-link-1.drv"), "{}", run.stderr);
}
