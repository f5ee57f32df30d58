//! `store build --check`: what is there is built once more, and compared.

use std::fs;
use std::path::Path;

use crate::content_addressed::{FLOATING, add, builds};
use crate::peer::nix_store_command;
use crate::scene::{Scene, derivation, has, shell_derivation};

/// Two builds never read the same.
const UPTIME: &str = "read line < /proc/uptime; echo $line > $out";

fn build(scene: &Scene, drvs: &[&str]) -> Vec<String> {
    scene.ok(&[&["build", "--no-link"], drvs].concat()).lines().map(str::to_owned).collect()
}

fn check(scene: &Scene, code: i32, arguments: &[&str]) -> String {
    scene.fails(code, &[&["build", "--no-link", "--check"], arguments].concat())
}

/// An option by which builds see a file at `/flag`.
fn flag(scene: &Scene) -> [String; 2] {
    ["--option".to_owned(), format!("build-chroot-dirs=/dev /proc /flag={}", scene.write("flag", ""))]
}

#[test]
fn what_comes_out_the_same_is_left_as_it_is() {
    let scene = Scene::new();
    let out = scene.build("two-outputs");
    let before = scene.ok(&["path-info", "--json", &out[0]]);
    let run = scene.run(&["build", "--no-link", "--check", &derivation("two-outputs")]);
    assert_eq!(
        (run.code, run.stdout.lines().collect::<Vec<_>>()),
        (Some(0), out.iter().map(String::as_str).collect())
    );
    assert!(run.stderr.contains("checked /nix/store/"), "{}", run.stderr);
    assert_eq!(scene.ok(&["path-info", "--json", &out[0]]), before);
    scene.ok(&["verify", "--contents"]);
    let left = fs::read_dir(scene.root().join("nix/store")).unwrap();
    assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().contains(".chroot")));
}

#[test]
fn what_is_not_built_yet_cannot_be_checked() {
    let scene = Scene::new();
    let said = check(&scene, 1, &[&derivation("hello")]);
    assert!(said.contains("is not valid") && said.contains("build it first, without `--check`"), "{said}");
    let impure = add(&scene, "impure", UPTIME, r#"{ "hashAlgo": "r:sha256", "impure": true }"#, &[]);
    build(&scene, &[&impure]);
    assert!(check(&scene, 1, &[&impure]).contains("is not valid"));
}

#[test]
fn what_comes_out_otherwise_is_told_and_not_kept() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &scene.write("x.json", shell_derivation("uptime", UPTIME))]);
    let out = build(&scene, &[&drv]).remove(0);
    let before = fs::read(scene.real(&out)).unwrap();
    let said = check(&scene, 104, &[&drv]);
    assert!(
        said.contains("-uptime.drv` is not deterministic: built again, its output `out` differs"),
        "{said}"
    );
    assert_eq!(fs::read(scene.real(&out)).unwrap(), before);
    scene.ok(&["verify", "--contents"]);
    // Of a list, every one is looked at, and the others are as they are.
    let all = [&drv, &derivation("hello"), "--keep-going"];
    build(&scene, &[&derivation("hello")]);
    assert!(check(&scene, 104, &all).contains("-hello.drv in "));
}

#[test]
fn a_builder_that_fails_is_a_failed_build() {
    let scene = Scene::new();
    let script = "test ! -e /flag || exit 1; echo text > $out";
    let drv = scene.ok(&["derivation", "add", &scene.write("x.json", shell_derivation("flagged", script))]);
    let other = scene.ok(&["derivation", "add", &scene.write("y.json", shell_derivation("uptime", UPTIME))]);
    build(&scene, &[&drv, &other]);
    let [option, flag] = flag(&scene);
    let (key, value) = flag.split_once('=').unwrap();
    assert!(check(&scene, 100, &[&option, key, value, &drv]).contains("it returned 1"));
    check(&scene, 108, &[&option, key, value, "--keep-going", &drv, &other]);
}

#[test]
fn only_what_is_asked_for_is_built_again() {
    let scene = Scene::new();
    let leaf = add(&scene, "leaf", UPTIME, "{}", &[]);
    let top = add(&scene, "top", "echo text > $out", "{}", &[&leaf]);
    build(&scene, &[&top]);
    let run = scene.run(&["build", "--no-link", "--check", &top]);
    assert_eq!((run.code, builds(&run)), (Some(0), 1), "{}", run.stderr);
    // What it takes in is made if it is not there, and one that differs does not stop the other.
    let out = scene.ok(&["query", "--outputs", &top]);
    let leaf_out = scene.ok(&["query", "--outputs", &leaf]);
    scene.ok(&["delete", &leaf_out]);
    assert!(!scene.real(&leaf_out).exists() && scene.real(&out).exists());
    let run = scene.run(&["build", "--no-link", "--check", &top]);
    assert_eq!((run.code, builds(&run)), (Some(0), 2), "{}", run.stderr);
    assert!(scene.real(&leaf_out).exists());
    let run = scene.run(&["build", "--no-link", "--keep-going", "--check", &leaf, &top]);
    assert_eq!(run.code, Some(104), "{}", run.stderr);
    assert!(run.stderr.contains("checked ") && run.stderr.contains("-top.drv in "), "{}", run.stderr);
}

#[test]
fn floating_outputs_are_compared_without_their_own_names() {
    let scene = Scene::new();
    let same = add(&scene, "same", "echo $out > $out", FLOATING, &[]);
    let other = add(&scene, "other", "read line < /proc/uptime; echo $out $line > $out", FLOATING, &[]);
    let outs = build(&scene, &[&same, &other]);
    assert_eq!(scene.ok(&["build", "--no-link", "--check", &same]), outs[0]);
    check(&scene, 104, &[&other]);
    assert_eq!(build(&scene, &[&other]), outs[1..], "it stands for what was built first");
}

#[test]
fn without_isolation_nothing_is_compared() {
    let scene = Scene::new();
    let drv =
        scene.ok(&["derivation", "add", &scene.write("x.json", shell_derivation("x", "echo x > $out"))]);
    let out = build(&scene, &[&drv]).remove(0);
    let said = check(&scene, 100, &["--option", "build-use-chroot", "false", &drv]);
    // A store that lies elsewhere cannot be built in without isolation at all.
    assert!(said.contains("without isolation"), "{said}");
    assert!(Path::new(&scene.real(&out)).exists());
}

#[test]
fn exit_codes_are_those_of_nix() {
    if !has("nix-store") || !has("busybox") {
        return;
    }
    let scene = Scene::new();
    for (name, script) in [("same", "echo text > $out"), ("uptime", UPTIME)] {
        let file = scene.write("x.json", shell_derivation(name, script));
        let drv = scene.ok(&["derivation", "add", &file]);
        let both = |built: &str| {
            let ours = scene.run(&["build", "--no-link", "--check", &drv]).code;
            let options =
                ["--option", "sandbox", "true", "--option", "sandbox-paths", "/bin/sh=/bin/busybox"];
            let options = [&options[..], &["--realise", "--check", &drv]].concat();
            let nixs = nix_store_command(&scene, &options).output().unwrap();
            assert_eq!(
                ours,
                nixs.status.code(),
                "{name}, {built}: {}",
                String::from_utf8_lossy(&nixs.stderr)
            );
            ours
        };
        assert_eq!(both("not built"), Some(1));
        build(&scene, &[&drv]);
        assert_eq!(both("built"), Some(if name == "same" { 0 } else { 104 }));
    }
}
