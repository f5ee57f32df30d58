//! A sandbox that does not hold is found out before anything is built in one.

use std::fs;
use std::path::PathBuf;

use crate::confined;
use crate::scene::{Run, Scene, derivation, is_root, say, shell_derivation};

const HOLDS: &str = "the sandbox holds";

fn stamp(scene: &Scene) -> PathBuf {
    scene.root().join("nix/var/nix/sandbox-proof")
}

/// Builds something new with `-vv`, which has to work, and tells whether it was looked from inside before.
fn looks(scene: &Scene, name: &str, options: &[&str]) -> bool {
    let file = scene.write(&format!("{name}.json"), shell_derivation(name, "echo x > $out"));
    let run = scene.run(&[&["-vv", "build", "--no-link", &file], options].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stderr.contains(HOLDS)
}

/// Asserts that nothing was built, that one of `reasons` says why, and that nothing is believed to be proven.
fn assert_refused(scene: &Scene, run: &Run, reasons: &[&str]) {
    assert_eq!(run.code, Some(100), "{}{}", run.stdout, run.stderr);
    assert!(reasons.iter().any(|reason| run.stderr.contains(reason)), "{reasons:?}: {}", run.stderr);
    assert!(run.stderr.contains("`store doctor`"), "{}", run.stderr);
    assert!(!stamp(scene).exists());
}

#[test]
fn it_is_looked_once_for_a_boot_a_kernel_a_program_and_settings() {
    let scene = Scene::new();
    assert!(looks(&scene, "first", &[]));
    assert!(!looks(&scene, "second", &[]));
    assert!(looks(&scene, "other-settings", &["--option", "nested-user-namespaces", "true"]));
    assert!(looks(&scene, "these-again", &[]));
    assert!(!looks(&scene, "no-more", &["--option", "log-lines", "3"]));
}

#[test]
fn a_stamp_that_is_no_proof_is_not_believed() {
    let scene = Scene::new();
    assert!(looks(&scene, "first", &[]));
    let proof = fs::read_to_string(stamp(&scene)).unwrap();
    let other: String = proof.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
    for (number, text) in [other.as_str(), "", &proof[1..]].into_iter().enumerate() {
        fs::write(stamp(&scene), text).unwrap();
        assert!(looks(&scene, &format!("again-{number}"), &[]), "{text}");
        assert_eq!(fs::read_to_string(stamp(&scene)).unwrap(), proof);
    }
    fs::remove_file(stamp(&scene)).unwrap();
    assert!(looks(&scene, "absent", &[]));
}

/// Two builds that have everything in common but the word of the kernel on which boot it is.
#[test]
fn a_proof_is_of_this_boot() {
    for (words, times) in [(&[][..], 1), (&["show", "/proc/sys/kernel/random/boot_id"][..], 2)] {
        let scene = Scene::new();
        let file = |name: &str| scene.write(name, shell_derivation(name, "echo x > $out"));
        let (first, second) = (file("first.json"), file("second.json"));
        let boot = scene.write("boot", "11111111-2222-3333-4444-555555555555\n");
        let mut all = [&["user", "1000", "once", &first], words].concat();
        all.extend((!words.is_empty()).then_some(&*boot));
        // Where something is mounted over a part of /proc, builds can have none.
        let options = ["--option", "build-chroot-dirs", "/dev -/proc"];
        let run =
            confined::run(&scene, &all, &[&["-vv", "build", "--no-link"], &options[..], &[&second]].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(run.stderr.matches(HOLDS).count(), times, "{}", run.stderr);
    }
}

#[test]
fn a_proof_that_cannot_be_kept_is_made_again() {
    let scene = Scene::new();
    assert!(looks(&scene, "first", &[]));
    fs::remove_file(stamp(&scene)).unwrap();
    fs::create_dir(stamp(&scene)).unwrap();
    assert!(looks(&scene, "second", &[]) && looks(&scene, "third", &[]));
}

#[test]
fn where_mounts_are_not_made_read_only_nothing_is_built() {
    let scene = Scene::new();
    let pretends = ["pretend", "mount_setattr"];
    let run = confined::run(&scene, &pretends, &["build", "--no-link", &derivation("hello")]);
    assert_refused(&scene, &run, &["that inputs cannot be written to"]);
    let doctor = confined::run(&scene, &pretends, &["doctor"]);
    assert_eq!(doctor.code, Some(11), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("it does not hold that inputs cannot be"), "{}", doctor.stdout);
}

#[test]
fn where_no_filter_is_installed_nothing_is_built() {
    let scene = Scene::new();
    let build = ["build", "--no-link", "--keep-going", &derivation("hello"), &derivation("handwritten")];
    let run = confined::run(&scene, &["pretend", "seccomp"], &build);
    assert_refused(&scene, &run, &["that system calls are filtered"]);
    // Each is told.
    assert_eq!(run.stderr.matches("that system calls are filtered").count(), 2, "{}", run.stderr);
}

/// Every call that takes something from a builder, done by nobody.
#[test]
fn where_something_is_not_taken_from_builders_nothing_is_built() {
    let table = [
        // The kernel makes no user namespace for who still has the root of the host above its own.
        ("umount2", "namespaces", "cannot make the namespaces of `/`"),
        ("capset", "namespaces", "that it is who it should be, without capabilities"),
        ("setresuid", "namespaces", "that it is who it should be, without capabilities"),
        ("landlock_restrict_self", "chroot", "that abstract sockets of the host are out of reach"),
    ];
    for (call, isolation, reason) in table {
        // An ordinary user's builders are that user from the beginning.
        if call == "setresuid" && !is_root() || isolation == "chroot" && (!is_root() || !has_scopes()) {
            say(&format!("skipped: `{call}`, as whoever runs the tests, or this kernel, does without"));
            continue;
        }
        let scene = Scene::new();
        let build = ["build", "--no-link", &derivation("hello"), "--option", "build-isolation", isolation]
            .map(str::to_owned);
        let build: Vec<&str> = build.iter().map(String::as_str).collect();
        let run = confined::run(&scene, &["pretend", call], &build);
        assert_refused(&scene, &run, &[reason]);
    }
}

fn has_scopes() -> bool {
    let found = Scene::new().run(&["doctor"]).stdout;
    let version = found.lines().find_map(|line| line.split_once("scopes of Landlock: version "));
    version.is_some_and(|(_, version)| version.parse::<u32>().is_ok_and(|version| version >= 6))
}

#[test]
fn where_no_keyring_is_made_nothing_is_built() {
    let scene = Scene::new();
    let run = confined::run(&scene, &["pretend", "keyctl"], &["build", "--no-link", &derivation("hello")]);
    assert_refused(&scene, &run, &["cannot have a session keyring of its own"]);
}

#[test]
fn who_builds_without_isolation_is_not_held_up() {
    let scene = Scene::new();
    let options = ["--option", "build-use-chroot", "false"];
    let file = scene.write("open.json", shell_derivation("open", "echo x > $out"));
    let run = scene.run(&[&["-vv", "build", "--no-link", &file], &options[..]].concat());
    // A store elsewhere cannot be built in without isolation at all; that is what is told.
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(!run.stderr.contains(HOLDS) && !stamp(&scene).exists(), "{}", run.stderr);
}
