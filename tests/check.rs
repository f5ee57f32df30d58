//! `store build --check`: what is there is built once more, and compared.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::content_addressed::{FLOATING, add, builds};
use crate::peer::nix_store_command;
use crate::scene::{Scene, derivation, has, has_nix, shell_derivation};

/// Two builds never read the same.
const CHANCE: &str = "read line < /proc/sys/kernel/random/uuid; echo $line > $out";

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
    let impure = add(&scene, "impure", CHANCE, r#"{ "hashAlgo": "r:sha256", "impure": true }"#, &[]);
    build(&scene, &[&impure]);
    assert!(check(&scene, 1, &[&impure]).contains("is not valid"));
}

#[test]
fn what_comes_out_otherwise_is_told_and_not_kept() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &scene.write("x.json", shell_derivation("chance", CHANCE))]);
    let out = build(&scene, &[&drv]).remove(0);
    let before = fs::read(scene.real(&out)).unwrap();
    let said = check(&scene, 104, &[&drv]);
    assert!(
        said.contains("-chance.drv` is not deterministic: built again, its output `out` differs"),
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
    let other = scene.ok(&["derivation", "add", &scene.write("y.json", shell_derivation("chance", CHANCE))]);
    build(&scene, &[&drv, &other]);
    let [option, flag] = flag(&scene);
    let (key, value) = flag.split_once('=').unwrap();
    assert!(check(&scene, 100, &[&option, key, value, &drv]).contains("it returned 1"));
    check(&scene, 108, &[&option, key, value, "--keep-going", &drv, &other]);
}

#[test]
fn only_what_is_asked_for_is_built_again() {
    let scene = Scene::new();
    let leaf = add(&scene, "leaf", CHANCE, "{}", &[]);
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
    let other = add(
        &scene,
        "other",
        "read line < /proc/sys/kernel/random/uuid; echo $out $line > $out",
        FLOATING,
        &[],
    );
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
    if !has_nix() || !has("busybox") {
        return;
    }
    let scene = Scene::new();
    for (name, script) in [("same", "echo text > $out"), ("chance", CHANCE)] {
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

/// Builds, builds once more, and returns what is told of the difference.
fn differs(scene: &Scene, name: &str, script: &str, options: &[&str]) -> String {
    let drv = add(scene, name, script, "{}", &[]);
    scene.ok(&[&["build", "--no-link", &drv], options].concat());
    check(scene, 104, &[options, &[&drv]].concat())
}

#[test]
fn what_differs_is_shown_and_classified() {
    let scene = Scene::new();
    let clock = scene.c_program(
        "clock",
        "#include <stdio.h>\n#include <time.h>\nint main(void) { struct timespec now; clock_gettime(CLOCK_REALTIME, &now);\
         printf(\"%lld.%09ld\\n\", (long long)now.tv_sec, now.tv_nsec); }",
    );
    let dirs = format!("/dev /proc /clock={clock}");
    let programs = ["--option", "build-chroot-dirs", &dirs];
    let said = differs(&scene, "clock", "echo built at $(/clock) > $out", &programs);
    assert!(said.contains("-clock: 1 difference: time (1)"), "{said}");
    assert!(said.contains("\n  - itself differs from byte ") && said.contains("|built at "), "{said}");
    let uuid =
        "read id < /proc/sys/kernel/random/uuid; mkdir $out; echo id=$id > $out/file; echo x > $out/$id";
    let said = differs(&scene, "uuid", uuid, &[]);
    assert!(said.contains("-uuid: 3 differences: random identifier (3)"), "{said}");
    // How much of two random identifiers is the same is up to chance.
    let file =
        said.lines().find(|line| line.starts_with("  - `file` differs from byte ")).unwrap_or_default();
    assert!(file.ends_with(" on (random identifier)") && said.contains("` is new, a file"), "{said}");
    let order = "if test -e /flag; then echo a; echo b; else echo b; echo a; fi > $out";
    let drv = add(&scene, "order", order, "{}", &[]);
    build(&scene, &[&drv]);
    let [option, flag] = flag(&scene);
    let (key, value) = flag.split_once('=').unwrap();
    let said = check(&scene, 104, &[&option, key, value, &drv]);
    assert!(said.contains("-order: 1 difference: order (1)"), "{said}");
    assert!(said.contains("`--keep-failed` keeps what came out"), "{said}");
}

#[test]
fn names_of_files_do_not_steer_the_terminal() {
    let scene = Scene::new();
    let script = "read id < /proc/sys/kernel/random/uuid; e=$(printf '\\033'); mkdir $out; \
                  echo $id > \"$out/${e}[2Jx\"; echo \"${e}[31m$id\" > $out/y";
    let said = differs(&scene, "hostile", script, &[]);
    assert!(!said.contains('\u{1b}') && said.contains(r"`\u{1b}[2Jx`"), "{said}");
}

#[test]
fn programs_are_told_what_differs() {
    let scene = Scene::new();
    let drv = add(&scene, "uuid", "read id < /proc/sys/kernel/random/uuid; echo $id > $out", "{}", &[]);
    let out = build(&scene, &[&drv]).remove(0);
    let run = scene.run(&["build", "--no-link", "--check", "--json", &drv]);
    assert_eq!(run.code, Some(104), "{}", run.stderr);
    let results: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(results[0]["status"], "not-deterministic");
    let output = &results[0]["divergence"]["outputs"]["out"];
    assert_eq!((&output["path"], &output["causes"]["random"]), (&out.into(), &1.into()), "{results}");
    let failed = run.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let failed = failed.into_iter().find(|event| event["type"] == "failed").unwrap();
    assert_eq!(
        (&failed["status"], &failed["divergence"]),
        (&"not-deterministic".into(), &results[0]["divergence"])
    );
}

#[test]
fn what_came_out_is_kept_on_request() {
    let scene = Scene::new();
    let drv = add(
        &scene,
        "chance",
        "mkdir $out; read line < /proc/sys/kernel/random/uuid; echo $line > $out/file",
        "{}",
        &[],
    );
    let out = build(&scene, &[&drv]).remove(0);
    let said = check(&scene, 104, &["--keep-failed", &drv]);
    let kept = scene.real(&out).with_file_name(format!("{}.check", &out["/nix/store/".len()..]));
    assert!(said.contains(&format!("what came out is kept in `{}`", kept.display())), "{said}");
    let (valid, other) = (scene.real(&out).join("file"), kept.join("file"));
    assert_ne!(fs::read(valid).unwrap(), fs::read(&other).unwrap());
    // The next one takes its place.
    let before = fs::read(&other).unwrap();
    check(&scene, 104, &["-K", &drv]);
    assert_ne!(fs::read(&other).unwrap(), before);
}

#[test]
fn what_differs_between_rounds_is_not_kept() {
    let scene = Scene::new();
    let same = add(&scene, "same", "echo text > $out", "{}", &[]);
    let run = scene.run(&["build", "--no-link", "--rounds", "3", &same]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains(" once more (3 of 3)"), "{}", run.stderr);
    let floating = add(&scene, "floating", "echo $out > $out", FLOATING, &[]);
    scene.ok(&["build", "--no-link", "--rounds", "2", &floating]);
    for (name, output) in [("chance", "{}"), ("other", FLOATING)] {
        let drv = add(&scene, name, CHANCE, output, &[]);
        let said = scene.fails(104, &["build", "--no-link", "--rounds", "2", "--keep-failed", &drv]);
        assert!(said.contains("is not deterministic") && said.contains("the first is kept in"), "{said}");
        assert!(check(&scene, 1, &[&drv]).contains("is not valid"), "nothing was registered");
        // As a warning, the first one is kept.
        let run = scene.run(&[
            "build",
            "--no-link",
            "--rounds",
            "2",
            "--option",
            "enforce-determinism",
            "false",
            &drv,
        ]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(
            run.stderr.contains("store: warning: ") && run.stderr.contains("is not deterministic"),
            "{}",
            run.stderr
        );
    }
    scene.ok(&["verify", "--contents"]);
    scene.fails(2, &["build", "--rounds", "0", &same]);
    scene.fails(2, &["build", "--vary", &same]);
}

#[test]
fn what_ought_not_to_matter_is_changed_on_purpose() {
    let scene = Scene::new();
    let release = scene.c_program(
        "release",
        "#include <stdio.h>\n#include <sys/utsname.h>\nint main(void) { struct utsname name; uname(&name); puts(name.release); }",
    );
    // In a thread, as the kernel names threads, not processes, to who answers in its place.
    let list = scene.c_program(
        "list",
        "#include <dirent.h>\n#include <pthread.h>\n#include <stdio.h>\nstatic void *list(void *path) { DIR *all = opendir(path); \
         struct dirent *one; while ((one = readdir(all))) if (one->d_name[0] != '.') puts(one->d_name); return 0; }\n\
         int main(int count, char **words) { pthread_t thread; pthread_create(&thread, 0, list, words[1]); \
         return pthread_join(thread, 0); }",
    );
    let dirs = format!("/dev /proc /release={release} /list={list}");
    let programs = ["--option", "build-chroot-dirs", &dirs];
    for (variation, cause, script) in [
        ("hostname", "host name", "read name < /proc/sys/kernel/hostname; echo by root@$name > $out"),
        ("cores", "number of cores", "echo $NIX_BUILD_CORES > $out"),
        ("uid", "user", "read uid rest < /proc/self/uid_map; echo uid $uid > $out"),
        ("build-path", "build path", "echo made in $PWD/x > $out"),
        ("locale", "locale", "echo $LANG > $out"),
        ("kernel", "kernel", "echo $(/release) > $out"),
        ("order", "order", ": > a; : > b; : > c; : > d; /list . > $out"),
    ] {
        let drv = add(&scene, variation, script, "{}", &[]);
        let build = |code: i32, options: &[&str]| {
            let run = scene.run(&[&["build", "--no-link"], &programs[..], options, &[&drv]].concat());
            assert_eq!(run.code, Some(code), "{variation}: {}", run.stderr);
            run.stderr
        };
        build(0, &[]);
        build(0, &["--check"]);
        let said = build(104, &["--check", &format!("--vary={variation}")]);
        assert!(said.contains(&format!(": 1 difference: {cause} (1)")), "{said}");
        assert!(said.contains("makes the difference"), "{said}");
        // Of all, the guilty one is found.
        let said = build(104, &["--check", "--vary"]);
        let names = [
            ("hostname", "another host name"),
            ("cores", "another number of cores"),
            ("uid", "another user"),
            ("build-path", "another build directory"),
            ("locale", "another locale and time zone"),
            ("kernel", "another version of the kernel"),
            ("order", "another order of directories"),
        ];
        let name = names.iter().find(|(word, _)| *word == variation).unwrap().1;
        assert!(said.contains(&format!("it is {name} that makes the difference")), "{said}");
        assert!(said.contains("not varied: time: "), "{said}");
    }
}

/// However many reads it takes, nothing is lost, and nothing comes twice.
#[test]
fn a_directory_of_many_reads_is_whole_backwards() {
    let scene = Scene::new();
    let script = "i=0; while test $i -lt 3000; do : > some-rather-long-name-of-a-file-$i; i=$((i+1)); done; echo * > $out";
    let drv = add(&scene, "many", script, "{}", &[]);
    build(&scene, &[&drv]);
    scene.ok(&["build", "--no-link", "--check", "--vary=order", &drv]);
    scene.ok(&["build", "--no-link", "--check", "--vary=order", "--explain", &drv]);
}

#[test]
fn what_differs_anyway_is_not_blamed_on_a_change() {
    let scene = Scene::new();
    let drv = add(&scene, "chance", CHANCE, "{}", &[]);
    build(&scene, &[&drv]);
    assert!(check(&scene, 104, &["--vary=hostname", &drv]).contains("it differs without any change, too"));
    let script = "read name < /proc/sys/kernel/hostname; if test $name$NIX_BUILD_CORES = elsewhere1; then echo other; \
                  else echo same; fi > $out";
    let drv = add(&scene, "together", script, "{}", &[]);
    let options = ["--cores", "2", &drv];
    scene.ok(&[&["build", "--no-link"], &options[..]].concat());
    let said = check(&scene, 104, &[&["--vary=hostname,cores"], &options[..]].concat());
    assert!(said.contains("none of the changes makes a difference by itself"), "{said}");
    // What does not depend on any of it passes.
    let drv = add(&scene, "same", "echo text > $out", "{}", &[]);
    build(&scene, &[&drv]);
    scene.ok(&["build", "--no-link", "--check", "--vary", &drv]);
}

#[test]
fn the_diff_hook_looks_at_both() {
    let scene = Scene::new();
    let drv = add(&scene, "chance", CHANCE, "{}", &[]);
    let out = build(&scene, &[&drv]).remove(0);
    let hook = scene.program(
        "hook",
        "#!/bin/sh\nread one < \"$1\"; read other < \"$2\"; test -d \"$4\" && cd \"$4\" && echo \"as $(id -u): $3\"\n\
         test \"$one\" != \"$other\" && echo \"compared $1\" >&2\nexit 3\n",
    );
    fs::set_permissions(scene.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let options = ["--option", "diff-hook", &hook];
    let said = check(&scene, 104, &[&options[..], &[&drv]].concat());
    assert!(!said.contains("diff-hook said"), "{said}");
    let options = [&options[..], &["--option", "run-diff-hook", "true"]].concat();
    let said = check(&scene, 104, &[&options[..], &[&drv]].concat());
    assert!(said.contains(&format!("\n  > compared {}\n", scene.real(&out).display())), "{said}");
    assert!(said.contains(&format!(": {drv}\n")) && said.contains("what came out is kept in"), "{said}");
    let root = nix::unistd::geteuid().is_root();
    assert!(!said.contains("\n  > as 0: "), "{said}");
    assert_eq!(said.contains(&format!("\n  > as {}: ", nix::unistd::geteuid())), !root, "{said}");
    assert!(
        said.contains("store: warning: the `diff-hook` `") && said.contains("failed: it returned 3"),
        "{said}"
    );
    let said =
        check(&scene, 104, &["--option", "diff-hook", "/absent", "--option", "run-diff-hook", "true", &drv]);
    assert!(said.contains("store: warning: the `diff-hook` `/absent` failed: "), "{said}");
}
