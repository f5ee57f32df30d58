//! What a build can see, and what it leaves behind.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::processes::{SOON, within};
use crate::scene::{Scene, derivation, has, is_ignored, is_root, shell_derivation, text};

#[test]
fn only_the_inputs_are_there() {
    let scene = Scene::new();
    let path = scene.build("look-around").remove(0);
    let seen = fs::read_to_string(scene.real(&path)).unwrap();
    // The path of the output differs from build to build of this test only if the fixture does.
    test_support::check("cli/look-around.txt", seen);
}

#[test]
fn no_kernel_setting_can_be_opened_for_writing() {
    let scene = Scene::new();
    let script = "for f in /proc/sys/*/* /proc/sys/*/*/* /proc/sys/*/*/*/*; do \
                  if [ -f $f ] && (: >> $f) 2>/dev/null; then echo $f; fi; done > $out";
    assert_eq!(scene.script(script, &[]), "");
}

#[test]
fn nothing_else_of_proc_can_be_written() {
    let scene = Scene::new();
    let script = "for f in /proc/sysrq-trigger /proc/mtrr /proc/irq/default_smp_affinity /proc/acpi/*; do \
                  if [ -f $f ] && (: >> $f) 2>/dev/null; then echo $f; fi; done > $out";
    assert_eq!(scene.script(script, &[]), "");
}

#[test]
fn devices_are_few() {
    let scene = Scene::new();
    let names = scene.script("cd /dev; echo * > $out", &[]);
    for device in
        ["null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "shm", "pts"]
    {
        assert!(names.split_whitespace().any(|name| name == device), "no `{device}` in {names}");
    }
    for other in ["mem", "kmsg", "sda", "vda", "nvme0", "kvm", "fuse", "net"] {
        assert!(!names.split_whitespace().any(|name| name == other), "`{other}` in {names}");
    }
}

#[test]
fn no_descriptor_of_the_caller_is_open() {
    let scene = Scene::new();
    // The shell's own listing opens one more, of the directory itself.
    let open = scene.script(
        "cd /proc/self/fd; for fd in *; do [ $fd -gt 2 ] && [ -e $fd ] && echo $fd; done > $out; :",
        &[],
    );
    assert!(open.lines().count() <= 2, "{open}");
}

#[test]
fn the_private_dev_and_proc_can_be_left_out() {
    let scene = Scene::new();
    let look = "for d in /dev/null /proc/self; do if [ -e $d ]; then echo $d; fi; done > $out";
    assert_eq!(scene.script(look, &["--option", "build-chroot-dirs", "-/dev -/proc"]), "");
}

#[test]
fn a_list_of_other_entries_keeps_them() {
    let scene = Scene::new();
    fs::create_dir(scene.path("shown")).unwrap();
    scene.write("shown/file", "of the host");
    let entry = format!("/shown={} /absent=/no/such/place?", scene.path("shown").display());
    let look = "read -r line < /shown/file || :; echo $line > $out; [ -e /dev/null ] && [ -e /proc/self ]; [ ! -e /absent ]";
    assert_eq!(scene.script(look, &["--option", "build-chroot-dirs", &entry]), "of the host\n");
}

#[test]
fn a_program_of_the_host_brings_its_libraries() {
    let scene = Scene::new();
    let script = "/bin/mkdir $out";
    let file = scene.write("mkdir.json", shell_derivation("mkdir", script));
    let path =
        scene.ok(&["build", "--no-link", "--option", "build-chroot-dirs", "/dev /proc /bin/mkdir", &file]);
    assert!(scene.real(&path).is_dir());
}

#[test]
fn a_compiled_program_is_shown_under_another_name() {
    let scene = Scene::new();
    let program = scene.c_program(
        "compiled",
        "#include <stdio.h>\nint main(int count, char **words) { printf(\"%d %s\\n\", count, words[0]); }\n",
    );
    let shown = format!("/dev /proc /probe={program}");
    assert_eq!(scene.script("/probe a > $out", &["--option", "build-chroot-dirs", &shown]), "2 /probe\n");
}

#[test]
fn there_is_no_shell_unless_one_is_wanted() {
    let scene = Scene::new();
    let file = derivation("hello");
    let said = scene.fails(100, &["build", "--no-link", "--option", "sandbox-shell", "none", &file]);
    assert!(said.contains("/bin/sh"), "{said}");
}

/// Returns the processes whose arguments contain a word that no other process has.
fn processes(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().parse::<u32>().is_ok())
        .filter(|path| {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            // Not the program that was asked to build it, whose arguments name a file.
            String::from_utf8_lossy(&line).contains(word)
        })
        .map(|path| path.to_str().unwrap().to_owned())
        .collect()
}

/// Returns the mount table of the host, without what tests that run at the same time mount.
fn mounts(scene: &Scene) -> String {
    let (table, own) = (fs::read_to_string("/proc/self/mounts").unwrap(), text(scene.path("")));
    let ours = |line: &&str| !line.contains("store-test-") || line.contains(&own);
    table.lines().filter(ours).collect::<Vec<_>>().join("\n")
}

/// A word that is in the arguments of this test's builder and nowhere else.
fn word(purpose: &str) -> String {
    format!("{purpose}-{}", std::process::id())
}

/// Kills `store` in the middle of a build, and looks at what is left.
fn kill_in_mid_build(scene: &Scene, word: &str, options: &[&str]) {
    let before = mounts(scene);
    let script = format!(": {word}; (while :; do :; done) & while :; do :; done");
    let file = scene.write("endless.json", shell_derivation("endless", &script));
    let arguments = [&["build", "--no-link", &file], options].concat();
    let mut store = scene.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
    assert!(within(SOON, || processes(word).len() >= 2), "the build does not start");
    let users: Vec<_> = processes(word).iter().filter_map(|process| outer_user(process)).collect();
    assert!(users.iter().all(|&user| user != 0), "a builder is root outside: {users:?}");
    store.kill().unwrap();
    store.wait().unwrap();
    assert!(within(SOON, || processes(word).is_empty()), "{:?}", processes(word));
    // Only chroot mode has mounts in this table; its keeper needs a moment to undo them.
    assert!(within(SOON, || mounts(scene) == before), "{}", mounts(scene));
    scene.ok(&["verify"]);
}

#[test]
fn a_kill_leaves_neither_process_nor_mount() {
    kill_in_mid_build(&Scene::new(), &word("endless"), &[]);
}

/// Plain chroot is for root only; says so otherwise.
fn chroot_mode() -> Option<[&'static str; 3]> {
    let options = ["--option", "build-isolation", "chroot"];
    if is_root() {
        return Some(options);
    }
    let scene = Scene::new();
    let said = scene.fails(100, &[&["build", "--no-link", &*derivation("hello")], &options[..]].concat());
    assert!(said.contains("only root"), "{said}");
    None
}

#[test]
fn chroot_mode_leaves_no_mount() {
    let Some(options) = chroot_mode() else { return };
    let scene = Scene::new();
    let before = mounts(&scene);
    scene.ok(&[&["build", "--no-link", &*derivation("diamond")], &options[..]].concat());
    assert_eq!(mounts(&scene), before);
    let seen = scene
        .script("for d in /usr /home /etc/resolv.conf; do [ -e $d ] && echo $d; done > $out; :", &options);
    assert_eq!(seen, "");
}

#[test]
fn chroot_mode_leaves_no_mount_when_killed() {
    let Some(options) = chroot_mode() else { return };
    kill_in_mid_build(&Scene::new(), &word("chrooted"), &options);
}

/// Returns the user of a process as seen from here.
fn outer_user(process: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

#[test]
fn what_a_build_started_ends_with_it() {
    let scene = Scene::new();
    let word = word("straggler");
    let script = format!(": {word}; (while :; do :; done) > /dev/null 2>&1 & echo > $out");
    let file = scene.write("straggler.json", shell_derivation("straggler", &script));
    let before = mounts(&scene);
    scene.ok(&["build", "--no-link", &file]);
    assert_eq!(processes(&word), [""; 0]);
    assert_eq!(mounts(&scene), before);
}

#[test]
fn an_interrupt_ends_the_build_with_its_own_code() {
    if !has("kill") {
        return;
    }
    for (signal, number) in [("TERM", Signal::SIGTERM), ("INT", Signal::SIGINT), ("HUP", Signal::SIGHUP)] {
        // That of Ctrl-C is given back by whoever starts `store` here.
        if number != Signal::SIGINT && is_ignored(number) {
            println!("skipped: whoever runs the tests has SIG{signal} ignored, and so does `store`");
            continue;
        }
        let scene = Scene::new();
        let word = word(signal);
        let script = format!(": {word}; while :; do :; done");
        let file = scene.write("endless.json", shell_derivation("endless", &script));
        let mut store = scene.command(&["build", "--no-link", &file]).stderr(Stdio::null()).spawn().unwrap();
        assert!(within(SOON, || !processes(&word).is_empty()), "the build does not start");
        let sent = std::process::Command::new("kill").args(["-s", signal, &store.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(store.wait().unwrap().code(), Some(130));
        assert!(within(SOON, || processes(&word).is_empty()));
    }
}
