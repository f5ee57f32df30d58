//! Mounts, network and names of a sandbox belong to nobody in it: also without the filter nothing undoes them.

use std::fs;

use crate::scene::{Scene, shell_derivation};

/// Tries to undo what the sandbox is made of: as the builder, as root of a user namespace below, and with mounts of
/// its own there. Prints a line for what succeeds.
const UNDO: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static const char *input;
static void tell(const char *who, const char *what, int failed) { if (!failed) printf("%s: %s\n", who, what); fflush(stdout); }
static void undo(const char *who) {
    struct ifreq lo = { .ifr_flags = 0 };
    strcpy(lo.ifr_name, "lo");
    tell(who, "umount an input", umount2(input, MNT_DETACH));
    tell(who, "umount /proc/sys", umount2("/proc/sys", MNT_DETACH));
    tell(who, "umount /dev/null", umount2("/dev/null", MNT_DETACH));
    tell(who, "umount /nix/store", umount2("/nix/store", MNT_DETACH));
    tell(who, "input writable", mount(0, input, 0, MS_REMOUNT | MS_BIND, 0));
    tell(who, "/ writable", mount(0, "/", 0, MS_REMOUNT | MS_BIND, 0));
    tell(who, "/proc/sys writable", mount(0, "/proc/sys", 0, MS_REMOUNT | MS_BIND, 0));
    tell(who, "open input", open(input, O_WRONLY) < 0);
    tell(who, "host name", sethostname("x", 1));
    tell(who, "loopback down", ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &lo));
    tell(who, "namespace of users", setns(open("/proc/1/ns/user", O_RDONLY), 0));
    tell(who, "namespace of mounts", setns(open("/proc/1/ns/mnt", O_RDONLY), 0));
}
static void apart(const char *who, int namespaces) {
    int pid = fork();
    if (pid == 0) {
        if (unshare(namespaces)) { printf("%s: no namespace\n", who); fflush(stdout); } else undo(who);
        _exit(0);
    }
    waitpid(pid, 0, 0);
}
int main(int count, char **words) {
    input = words[1];
    /* Who owns them is told to nobody below the owner. */
    tell("builder", "owns its mounts", ioctl(open("/proc/self/ns/mnt", O_RDONLY), NS_GET_USERNS) < 0);
    tell("builder", "owns its network", ioctl(open("/proc/self/ns/net", O_RDONLY), NS_GET_USERNS) < 0);
    undo("builder");
    apart("root", CLONE_NEWUSER);
    apart("mounts", CLONE_NEWUSER | CLONE_NEWNS);
    return 0;
}
"#;

#[test]
fn nothing_of_a_sandbox_can_be_undone_from_inside() {
    let scene = Scene::new();
    let source = scene.write("source", "of the host");
    let input = scene.ok(&["add", &source]);
    let shown = format!("/dev /proc /undo={}", scene.c_program("undo", UNDO));
    let script = format!("/undo {input} > $out");
    let inputs = format!(r#""inputSrcs": [{input:?}]"#);
    let file =
        scene.write("undo.json", shell_derivation("undo", &script).replace(r#""inputSrcs": []"#, &inputs));
    for filter in ["true", "false"] {
        let options = ["--option", "nested-user-namespaces", "true", "--option", "filter-syscalls", filter];
        let shown = ["--option", "build-chroot-dirs", &shown];
        let path = scene.ok(&[&["build", "--no-link", &file][..], &options, &shown].concat());
        assert_eq!(fs::read_to_string(scene.real(&path)).unwrap(), "", "filter-syscalls = {filter}");
        scene.ok(&["delete", &path]);
    }
    assert_eq!(fs::read_to_string(scene.real(&input)).unwrap(), "of the host");
}
