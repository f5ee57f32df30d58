//! The filter of system calls, tried from inside a build by a program that makes them itself.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use crate::scene::{Scene, derivation, is_root, isolations, say, shell_derivation};

/// Prints a line for each call: its name and the number of its error, or 0.
const PROBE: &str = include_str!("../fixtures/cli/system-calls.c");

/// Errors by name.
const ERRORS: &[(&str, &str)] = &[
    ("0", "ok"),
    ("1", "EPERM"),
    ("22", "EINVAL"),
    ("38", "ENOSYS"),
    ("93", "EPROTONOSUPPORT"),
    ("95", "EOPNOTSUPP"),
    ("97", "EAFNOSUPPORT"),
];

/// What the program saw in a build with these options; `what` is what it tries.
fn seen(scene: &Scene, what: &str, options: &[&str]) -> Vec<(String, String)> {
    let shown = format!("/dev /proc /probe={}", scene.c_program("probe", PROBE));
    let options = [&["--option", "build-chroot-dirs", &shown], options].concat();
    let text = scene.script(&format!("/probe {what} > $out"), &options);
    let line = |line: &str| line.rsplit_once(' ').map(|(what, how)| (what.to_owned(), name(how).to_owned()));
    text.lines().map(|text| line(text).unwrap()).collect()
}

/// The name of an error.
fn name(number: &str) -> &str {
    ERRORS.iter().find(|(known, _)| *known == number).map_or(number, |(_, name)| name)
}

/// Asserts that each call was answered like that, on every line that begins with its name.
fn assert_answers(seen: &[(String, String)], wanted: &[(&str, &str)]) {
    for (what, how) in wanted {
        let lines: Vec<_> = seen.iter().filter(|(name, _)| name == what).collect();
        assert!(!lines.is_empty(), "`{what}` was not tried: {seen:?}");
        for (_, answer) in lines {
            assert_eq!(answer, how, "{what}: {seen:?}");
        }
    }
}

/// Asserts that no way to make a setuid file led anywhere, and that the ways are many.
fn assert_no_setuid(seen: &[(String, String)]) {
    assert!(seen.len() >= 17, "{seen:?}");
    for (what, how) in seen {
        let wanted = match what.split_whitespace().next().unwrap() {
            "plain" => "ok",
            "x32" | "openat2" => "ENOSYS",
            _ => "EPERM",
        };
        assert_eq!(how, wanted, "{what}: {seen:?}");
    }
    let by_32_bit_code = seen.iter().filter(|(what, _)| what.starts_with("i386 ")).count();
    assert!(cfg!(not(target_arch = "x86_64")) || by_32_bit_code >= 7, "{seen:?}");
}

#[test]
fn nobody_makes_a_setuid_file_by_whichever_call() {
    assert_no_setuid(&seen(&Scene::new(), "setuid", &[]));
}

#[test]
fn nobody_does_under_chroot_either() {
    if !is_root() {
        say("skipped: isolation by chroot is for root");
        return;
    }
    assert_no_setuid(&seen(&Scene::new(), "setuid", &["--option", "build-isolation", "chroot"]));
}

/// The kernel takes a filter from who may gain privileges only where it has some; they are gone afterwards.
#[test]
fn who_may_gain_privileges_is_filtered_all_the_same() {
    for isolation in isolations() {
        let options = ["--option", "allow-new-privileges", "true", "--option", "build-isolation", isolation];
        assert_no_setuid(&seen(&Scene::new(), "setuid", &options));
        let look = "while read -r name value; do case $name in NoNew*|CapPrm*|CapEff*|CapAmb*) echo $name $value;; \
                    esac; done < /proc/self/status > $out";
        let none = "0000000000000000";
        let wanted = format!("CapPrm: {none}\nCapEff: {none}\nCapAmb: {none}\nNoNewPrivs: 0\n");
        assert_eq!(Scene::new().script(look, &options), wanted, "{isolation}");
    }
}

#[test]
fn without_the_filter_the_same_program_succeeds() {
    let seen = seen(&Scene::new(), "setuid", &["--option", "filter-syscalls", "false"]);
    assert_answers(&seen, &[("chmod", "ok"), ("fchmod", "ok"), ("openat", "ok"), ("mknod", "ok")]);
}

#[test]
fn attributes_devices_and_whiteouts_are_not_to_be_had() {
    let seen = seen(&Scene::new(), "files", &[]);
    assert_answers(
        &seen,
        &[
            ("whiteout", "EPERM"),
            ("whiteout at", "EPERM"),
            ("block device", "EPERM"),
            ("rename whiteout", "EINVAL"),
            ("rename exchange", "ok"),
        ],
    );
    let of_attributes: Vec<_> = seen.iter().filter(|(what, _)| what.contains("xattr")).collect();
    assert!(of_attributes.len() >= 16, "{seen:?}");
    assert!(of_attributes.iter().all(|(_, how)| how == "EOPNOTSUPP"), "{seen:?}");
}

#[test]
fn nobody_types_into_a_terminal_for_its_user() {
    let seen = seen(&Scene::new(), "terminal", &[]);
    assert_answers(
        &seen,
        &[
            ("ptmx", "ok"),
            ("TIOCSTI", "EPERM"),
            ("TIOCLINUX", "EPERM"),
            ("TIOCCONS", "EPERM"),
            ("TIOCSETD", "EPERM"),
            ("TIOCGETD", "ok"),
        ],
    );
    if cfg!(target_arch = "x86_64") {
        assert_answers(&seen, &[("i386 TIOCSTI", "EPERM")]);
    }
}

#[test]
fn sockets_are_for_talking_to_programs() {
    let scene = Scene::new();
    let seen = seen(&scene, "sockets", &[]);
    let wanted = [
        ("unix", "ok"),
        ("inet", "ok"),
        ("inet6", "ok"),
        ("pair", "ok"),
        ("route", "ok"),
        ("netlink", "EPROTONOSUPPORT"),
        ("packet", "EPERM"),
        ("vsock", "EAFNOSUPPORT"),
        ("alg", "EAFNOSUPPORT"),
        ("other", "EAFNOSUPPORT"),
    ];
    assert_answers(&seen, &wanted);
    if cfg!(target_arch = "x86_64") {
        let wanted = [("i386 unix", "ok"), ("i386 vsock", "EAFNOSUPPORT"), ("socketcall", "ENOSYS")];
        assert_answers(&seen, &wanted);
    }
}

/// The C library of 32-bit x86 has no other way to make a socket.
#[test]
fn builds_for_32_bit_systems_have_the_old_socket_call() {
    if cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let scene = Scene::new();
    let shown = format!("/dev /proc /probe={}", scene.c_program("probe", PROBE));
    let json = shell_derivation("old", "/probe sockets > $out").replace("x86_64-linux", "i686-linux");
    let file = scene.write("old.json", json);
    let path = scene.ok(&["build", "--no-link", "--option", "build-chroot-dirs", &shown, &file]);
    let seen = std::fs::read_to_string(scene.real(&path)).unwrap();
    assert!(seen.lines().any(|line| line == "socketcall 0"), "{seen}");
}

#[test]
fn the_kernel_s_other_doors_are_shut() {
    let seen = seen(&Scene::new(), "kernel", &[]);
    for (what, how) in &seen {
        let wanted = match what.strip_prefix("i386 ").unwrap_or(what) {
            plain if plain.starts_with("plain") => "ok",
            "unshare" | "unshare dirty" | "clone" | "mount" | "nested mount" | "fsopen" | "handle"
            | "syslog" | "module" => "EPERM",
            "persona" => "EINVAL",
            _ => "ENOSYS",
        };
        assert_eq!(how, wanted, "{what}: {seen:?}");
    }
    assert!(seen.len() >= 20, "{seen:?}");
}

#[test]
fn namespaces_of_a_builds_own_are_a_setting() {
    let seen = seen(&Scene::new(), "kernel", &["--option", "nested-user-namespaces", "true"]);
    // As far as the host allows them; what the filter would say is something else.
    for what in ["unshare", "clone", "nested mount"] {
        assert!(seen.iter().all(|(name, how)| name != what || ["ok", "28"].contains(&&**how)), "{seen:?}");
    }
    assert_answers(&seen, &[("unshare dirty", "EINVAL"), ("mount", "EPERM")]);
    assert!(seen.iter().any(|(name, how)| name == "clone3" && how != "ENOSYS"), "{seen:?}");
    assert_answers(&seen, &[("keyctl", "ENOSYS"), ("io_uring", "ENOSYS"), ("syslog", "EPERM")]);
}

#[test]
fn every_signal_has_its_default_action() {
    // Also the two that the C library does not let go of; the program prints what is not as it should be.
    let scene = Scene::new();
    let shown = format!("/dev /proc /probe={}", scene.c_program("probe", PROBE));
    let json =
        shell_derivation("signals", "").replace("/bin/sh", "/probe").replace("\"-c\", \"\"", "\"signals\"");
    let file = scene.write("signals.json", json);
    let build = ["build", "--no-link", "--option", "build-chroot-dirs", &shown, &file];
    let ignoring = scene.c_program("ignoring", IGNORING);
    let store = scene.command(&build);
    let mut command = Command::new(ignoring);
    command.arg(store.get_program()).args(store.get_args()).current_dir(scene.path("")).env_clear();
    command.envs(store.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = String::from_utf8(output.stdout).unwrap();
    assert_eq!(std::fs::read_to_string(scene.real(path.trim())).unwrap(), "");
}

/// Ignores and blocks every signal that can be, then runs its arguments.
const IGNORING: &str = "
#define _GNU_SOURCE
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **words) {
    unsigned long ignore[4] = { 1 }, all = ~0ul;
    for (int signal = 1; signal <= 64; signal++)
        if (signal != SIGCHLD) syscall(SYS_rt_sigaction, signal, ignore, 0, 8);
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, 0, 8);
    execv(words[1], words + 1);
    return 1;
}
";

/// As in a container that lets nobody filter.
#[test]
fn without_the_filter_nothing_is_built_unless_a_setting_says_so() {
    let scene = Scene::new();
    let probe = scene.c_program("probe", PROBE);
    let run = |arguments: &[&str]| {
        let store = scene.command(arguments);
        let mut command = Command::new(&probe);
        command.arg("without-filters").arg(store.get_program()).args(store.get_args());
        command.env_clear().envs(store.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.current_dir(scene.path("")).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code(), said)
    };
    let build = ["build", "--no-link", &derivation("hello")];
    let (code, said) = run(&build);
    assert_eq!(code, Some(100), "{said}");
    assert!(
        said.contains("cannot filter the system calls") && said.contains("`filter-syscalls = false`"),
        "{said}"
    );
    let (code, said) = run(&["doctor"]);
    assert_eq!(code, Some(11), "{said}");
    assert!(
        said.contains("missing  a filter of system calls") && said.contains("seccomp=unconfined"),
        "{said}"
    );
    let (code, said) = run(&[&build[..], &["--option", "filter-syscalls", "false"]].concat());
    assert_eq!(code, Some(0), "{said}");
}

/// A builder on the host's network could otherwise reach whoever listens there, and be handed descriptors.
#[test]
fn abstract_sockets_of_the_host_are_out_of_reach() {
    let scene = Scene::new();
    let probe = scene.c_program("probe", PROBE);
    let output = Command::new(&probe).arg("landlock").output().unwrap();
    let version: i32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    if version < 6 {
        say(&format!("skipped: scopes need version 6 of Landlock, this kernel has {version} (-1: none)"));
        return;
    }
    let name = format!("store-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let script = format!(
        "echo $(/probe abstract {name}); [ \"$(/probe abstract {name})\" = 'abstract 1' ] && echo > $out"
    );
    let json = shell_derivation("fixed", &script).replace(
        "\"out\": {}",
        // SHA-256 of one line end.
        "\"out\": { \"hashAlgo\": \"sha256\", \"hash\": \
         \"01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b\" }",
    );
    let file = scene.write("fixed.json", json);
    let shown = format!("/dev /proc /probe={probe}");
    let options = ["--option", "build-chroot-dirs", &shown, "--option", "fod-network", "host"];
    scene.ok(&[&["build", "--no-link", &file], &options[..]].concat());
}
