//! `build-isolation = chroot`: what it gives, what it tells, and what stays of it on the host.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::processes::{
    Running, SOON, ancestors, children, descendants, kill, mounts_below, parent, processes, within,
};
use crate::scene::{Run, Scene, derivation, is_root, say, shell_derivation, text};

const CHROOT: [&str; 3] = ["--option", "build-isolation", "chroot"];

/// A scene for root; an ordinary user is told why not.
fn scene() -> Option<Scene> {
    let scene = Scene::new();
    if is_root() {
        return Some(scene);
    }
    let said = scene.fails(100, &[&["build", "--no-link", &*derivation("hello")], &CHROOT[..]].concat());
    assert!(said.contains("only root"), "{said}");
    None
}

fn build(scene: &Scene, script: &str, options: &[&str]) -> Run {
    let file = scene.write("script.json", shell_derivation("script", script));
    scene.run(&[&["build", "--no-link", &file], &CHROOT[..], options].concat())
}

/// Returns what a script wrote to `$out`.
fn output(scene: &Scene, script: &str, options: &[&str]) -> String {
    scene.script(script, &[&CHROOT[..], options].concat())
}

#[test]
fn each_step_is_told_to_those_who_ask() {
    let Some(scene) = scene() else { return };
    let run = build(&scene, "echo > $out", &["-vv"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let steps = |verb: &str| -> Vec<String> {
        let steps = run.stderr.lines().filter_map(|line| line.strip_prefix(&format!("script> {verb} ")));
        steps
            .map(|step| step.split_whitespace().find(|word| word.starts_with('/')).unwrap().to_owned())
            .collect()
    };
    let mounted: Vec<_> = ["bind", "proc", "tmpfs", "devpts"].iter().flat_map(|verb| steps(verb)).collect();
    let unmounted = steps("unmount");
    for target in ["/nix/store", "/build", "/tmp", "/proc", "/dev/null", "/dev/shm", "/dev/pts"] {
        assert!(mounted.iter().any(|mount| mount == target), "{target}: {}", run.stderr);
        assert!(unmounted.iter().any(|mount| mount == target), "{target}: {}", run.stderr);
    }
    let at = |target: &str| unmounted.iter().position(|mount| mount == target);
    assert!(at("/proc/sys") < at("/proc") && at("/proc") < at("/build") && at("/build") < at("/nix/store"));
    let less = build(&scene, "echo > $out; : less", &["-v"]);
    assert!(less.stderr.contains("script> making its root in `"), "{}", less.stderr);
    assert!(less.stderr.contains("script> undoing the mounts of its root"), "{}", less.stderr);
    assert!(!less.stderr.contains("script> bind"), "{}", less.stderr);
    let least = build(&scene, "echo > $out; : least", &[]);
    assert!(!least.stderr.contains("script>"), "{}", least.stderr);
}

#[test]
fn what_it_cannot_give_is_told_at_the_start() {
    let Some(scene) = scene() else { return };
    let said = build(&scene, "echo > $out", &[]).stderr;
    for lack in ["the network is the host's", "visible in /proc", "host name"] {
        assert!(said.contains(lack), "{lack}: {said}");
    }
}

#[test]
fn a_builder_is_who_it_is_said_to_be() {
    let Some(scene) = scene() else { return };
    let seen = output(
        &scene,
        "while read -r k uid rest; do case $k in Uid:|Gid:|Groups:|CapBnd:|NoNewPrivs:) echo $k $uid $rest;; esac; \
         done < /proc/self/status > $out; while read -r line; do case $line in nixbld*) echo $line;; esac; \
         done < /etc/passwd >> $out; pwd >> $out",
        &[],
    );
    let field =
        |key: &str| seen.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{seen}"));
    let uid: u32 = field("Uid: ").split_whitespace().next().unwrap().parse().unwrap();
    let gid: u32 = field("Gid: ").split_whitespace().next().unwrap().parse().unwrap();
    assert!(uid != 0 && gid != 0, "{seen}");
    assert!(seen.contains(&format!("nixbld:x:{uid}:{gid}:")), "{seen}");
    assert!(seen.contains("CapBnd: 0000000000000000") && seen.contains("NoNewPrivs: 1"), "{seen}");
    assert_eq!(field("Groups:").trim(), "", "{seen}");
    assert!(seen.ends_with("\n/build\n"), "{seen}");
}

#[test]
fn nothing_but_its_own_directories_can_be_written() {
    let Some(scene) = scene() else { return };
    let host = scene.path("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "").unwrap();
    fs::set_permissions(host.join("file"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let entries = format!("/dev /proc /host={} /sys", host.display());
    let seen = output(
        &scene,
        "for f in /host/file /etc/passwd /x /etc/x /dev/x /bin/sh; do (: >> $f) 2> /build/error || read -r line < /build/error; \
         echo $f ${line##*: }; done > $out; (: > /dev/shm/x) && (: > /tmp/x) && (: > /build/x) && echo own >> $out; \
         while read -r a b c d target options rest; do case $target in /sys*|/proc*|/host) echo $target ${options%%,*};; \
         esac; done < /proc/self/mountinfo >> $out",
        &["--option", "build-chroot-dirs", &entries],
    );
    for file in ["/host/file", "/etc/passwd", "/x", "/etc/x", "/dev/x", "/bin/sh"] {
        let line = seen.lines().find(|line| line.starts_with(&format!("{file} "))).unwrap();
        assert!(line.contains("Read-only") || line.contains("ermission denied"), "{line}");
    }
    assert!(seen.contains("/host/file Read-only") && seen.contains("\nown\n"), "{seen}");
    let below: Vec<_> =
        seen.lines().filter(|line| line.starts_with("/sys/") || line.starts_with("/proc/")).collect();
    assert!(!below.is_empty() && below.iter().all(|line| line.ends_with(" ro")), "{seen}");
}

#[test]
fn memory_and_terminals_are_its_own() {
    let Some(scene) = scene() else { return };
    let seen = output(&scene, "echo /dev/pts/* /dev/shm/* > $out", &[]);
    assert_eq!(seen, "/dev/pts/ptmx /dev/shm/*\n");
}

#[test]
fn a_symlink_does_not_lead_a_mount_out_of_the_root() {
    let Some(scene) = scene() else { return };
    let (shown, outside) = (scene.path("shown"), scene.path("outside"));
    fs::create_dir(&shown).unwrap();
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, shown.join("link")).unwrap();
    let entries = format!("/dev /proc /shown={} /shown/link/here={}", shown.display(), shown.display());
    let run = build(&scene, "echo > $out", &["--option", "build-chroot-dirs", &entries]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(run.stderr.contains("/shown/link/here"), "{}", run.stderr);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(mounts_below(&scene), [""; 0]);
    // What was made for mounts in a directory of the host is taken back.
    let entries = format!("/dev /proc /shown={} /shown/made/here={}", shown.display(), outside.display());
    let run = build(&scene, "echo > $out", &["--option", "build-chroot-dirs", &entries]);
    // It is read-only already, so that nothing can be made in it.
    assert!(!shown.join("made").exists(), "{}", run.stderr);
}

/// Forks and lets the parent exit, for ever, in sessions of their own.
const CHAIN: &str = r"
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (fork() == 0) {
        setsid();
        prctl(PR_SET_PDEATHSIG, 0);
        for (;;) {
            if (fork() > 0) _exit(0);
            if (argc > 2) usleep(1000);
        }
    }
    usleep(50000);
    return 0;
}";

#[test]
fn no_process_escapes_by_forking_on() {
    let Some(scene) = scene() else { return };
    let chain = scene.c_program("chain", CHAIN);
    let word = format!("chain-{}", std::process::id());
    let entries = format!("/dev /proc /chain={chain}");
    let script = format!("/chain {word}; /chain {word} slowly; echo > $out");
    for isolation in [&CHROOT[..], &[]] {
        let file =
            scene.write("chain.json", shell_derivation("chain", &format!("{script}; : {}", isolation.len())));
        let options = ["--option", "build-chroot-dirs", &entries];
        scene.ok(&[&["build", "--no-link", &file], &options[..], isolation].concat());
        assert_eq!(processes(&word), [""; 0]);
    }
    assert_eq!(mounts_below(&scene), [""; 0]);
}

/// Starts an endless build, and waits until it runs.
fn endless<'a>(scene: &'a Scene, word: &str) -> Running<'a> {
    let script = format!(": {word}; (while :; do :; done) & echo > /tmp/file; while :; do :; done");
    let file = scene.write("endless.json", shell_derivation("endless", &script));
    let arguments = [&["build", "--no-link", &file], &CHROOT[..]].concat();
    let running = Running::start(scene, &arguments);
    assert!(within(SOON, || processes(word).len() >= 2), "the build does not start");
    running
}

#[test]
fn what_a_crash_leaves_is_undone_by_the_next_start() {
    let Some(scene) = scene() else { return };
    let input = scene.build("hello").remove(0);
    let word = format!("crashed-{}", std::process::id());
    let mut running = endless(&scene, &word);
    let all = descendants(running.id());
    assert!(all.len() >= 4, "launcher, leash, keeper and builder: {all:?}");
    running.kill_all(&all);
    let builds = scene.root().join("nix/var/nix/builds");
    assert!(
        !mounts_below(&scene).is_empty() && fs::read_dir(&builds).unwrap().count() > 0,
        "nothing is left"
    );
    scene.ok(&["verify"]);
    assert_eq!(processes(&word), [""; 0]);
    assert_eq!(mounts_below(&scene), [""; 0]);
    assert_eq!(fs::read_dir(&builds).unwrap().count(), 0);
    let left = fs::read_dir(scene.root().join("nix/store")).unwrap().flatten();
    let left: Vec<_> =
        left.filter(|entry| entry.path().extension().is_some_and(|end| end == "chroot")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(fs::read_to_string(scene.real(&input)).unwrap(), "Hello, world.\n");
    assert!(Path::new("/dev/null").exists());
}

#[test]
fn a_killed_keeper_is_stood_in_for() {
    let Some(scene) = scene() else { return };
    let word = format!("unkept-{}", std::process::id());
    let mut running = endless(&scene, &word);
    let launcher = children(running.id())[0];
    // The first builder's line of parents leads over it to the launcher.
    let line = ancestors(&processes(&word)[0]);
    let keeper = *line.iter().find(|process| parent(**process) == Some(launcher)).unwrap();
    kill(&[keeper]);
    let run = running.wait();
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(within(SOON, || processes(&word).is_empty()), "{:?}", processes(&word));
    assert_eq!(mounts_below(&scene), [""; 0]);
}

#[test]
fn a_mount_that_stays_busy_hides_no_result() {
    let Some(scene) = scene() else { return };
    let word = format!("busy-{}", std::process::id());
    // The wait ends when a stranger is in one of its mounts.
    let script = format!(": {word}; while [ ! -e /tmp/go ]; do :; done; echo built > $out");
    let file = scene.write("busy.json", shell_derivation("busy", &script));
    let arguments = [&["build", "--no-link", &file], &CHROOT[..]].concat();
    let mut running = Running::start(&scene, &arguments);
    assert!(within(SOON, || !processes(&word).is_empty()), "the build does not start");
    let builder = processes(&word)[0].clone();
    let shm = mounts_below(&scene).into_iter().find(|mount| mount.ends_with("/dev/shm")).unwrap();
    let mut stranger =
        Command::new("sleep").arg("60").current_dir(&shm).stdin(Stdio::null()).spawn().unwrap();
    fs::write(Path::new(&builder).join("root/tmp/go"), "").unwrap();
    let run = running.wait();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("warning: cannot unmount `/dev/shm`"), "{}", run.stderr);
    assert_eq!(mounts_below(&scene), [""; 0]);
    assert_eq!(fs::read_to_string(scene.real(run.stdout.trim())).unwrap(), "built\n");
}

#[test]
fn nothing_is_removed_through_a_mount_of_somebody_else() {
    if !is_root() {
        say("skipped: only root can mount in the host's table");
        return;
    }
    let scene = Scene::new();
    scene.build("hello");
    let precious = scene.path("precious");
    fs::create_dir_all(precious.join("inner")).unwrap();
    fs::write(precious.join("inner/file"), "kept").unwrap();
    // No process has the highest number that fits.
    let dead = scene.root().join("nix/var/nix/builds/nix-2147483647-0");
    fs::create_dir_all(dead.join("a/mounted")).unwrap();
    fs::write(dead.join("b"), "").unwrap();
    let mount =
        |arguments: &[&str]| Command::new(arguments[0]).args(&arguments[1..]).status().unwrap().success();
    let target = text(dead.join("a/mounted"));
    if !mount(&["mount", "--bind", &text(&precious), &target]) {
        say("skipped: no `mount` that binds on this machine");
        return;
    }
    let run = scene.run(&["verify"]);
    assert_eq!(fs::read_to_string(precious.join("inner/file")).unwrap(), "kept", "{}", run.stderr);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("is a mount point"), "{}", run.stderr);
    assert!(mount(&["umount", &target]));
    scene.ok(&["verify"]);
    assert!(!dead.exists() && precious.join("inner/file").exists());
}
