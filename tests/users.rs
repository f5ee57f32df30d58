//! Whom builders run as, as root: a user for each, nobody else's.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::processes::{SOON, within};
use crate::scene::{Run, Scene, has, is_root, say, shell_derivation, text};

const BLOCK: u32 = 65_536;

/// Ids that no other run of these tests uses; each test has a part of them.
fn own_ids() -> u32 {
    0x6600_0000 + (std::process::id() % 1024) * 32 * BLOCK
}

/// Whether this user namespace has those ids.
fn exist(first: u32, count: u32) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap());
        let (start, _, length) = (numbers.next().unwrap(), numbers.next(), numbers.next().unwrap());
        start <= u64::from(first) && u64::from(first) + u64::from(count) <= start + length
    })
}

/// A host of our own: other accounts, and locks that nobody else takes.
struct Host {
    scene: Scene,
}

impl Host {
    /// `None` where a test cannot make one.
    fn new(purpose: &str, accounts: &[(&str, u32)], groups: &str) -> Option<Self> {
        if !is_root() {
            say(&format!("skipped: {purpose} (only root gives builders other users)"));
            return None;
        }
        if !has("unshare") {
            return None;
        }
        if !exist(own_ids(), 32 * BLOCK) {
            say(&format!("skipped: {purpose} (this container has no such ids)"));
            return None;
        }
        let scene = Scene::new();
        let line = |(name, uid): &(&str, u32)| format!("{name}:x:{uid}:{uid}::/:/bin/false\n");
        let passwd: String = accounts.iter().map(line).collect();
        scene.write("passwd", format!("root:x:0:0::/root:/bin/sh\n{passwd}"));
        scene.write("group", format!("root:x:0:\n{groups}"));
        fs::create_dir(scene.path("state")).unwrap();
        fs::create_dir_all("/nix/var/nix").unwrap();
        Some(Self { scene })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let store = self.scene.command(arguments);
        let script = "mount --bind passwd /etc/passwd && mount --bind group /etc/group && \
                      mount --bind state /nix/var/nix && exec \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(store.get_program()).args(store.get_args());
        command.current_dir(self.scene.path("")).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().unwrap().into()
    }

    /// Builds a script and returns what it wrote.
    fn script(&self, name: &str, script: &str, options: &[&str]) -> String {
        let file = self.scene.write(&format!("{name}.json"), shell_derivation(name, script));
        let run = self.run(&[&["build", "--no-link", &file], options].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let output = self.scene.real(run.stdout.trim());
        assert_eq!(fs::symlink_metadata(&output).unwrap().uid(), 0);
        fs::read_to_string(output).unwrap()
    }
}

const SHOW: &str = "read -r inner uid count < /proc/self/uid_map; read -r inner gid count < /proc/self/gid_map; \
                    while read -r key groups; do case $key in Groups:) break;; esac; done < /proc/self/status; \
                    echo $uid $gid $count $groups > $out";

/// A process that sleeps as that user, in no sandbox.
fn sleeper(uid: u32) -> Child {
    Command::new("sleep").arg("60").uid(uid).gid(uid).stdin(Stdio::null()).spawn().unwrap()
}

/// Ends a sleeper and tells whether it was still alive.
fn was_alive(mut child: Child) -> bool {
    sleep(Duration::from_millis(100));
    let alive = child.try_wait().unwrap().is_none();
    let _ = child.kill();
    child.wait().unwrap();
    alive
}

#[test]
fn a_build_has_ids_that_no_account_holds() {
    let Some(host) = Host::new("allocated users", &[("in-the-way", own_ids() + 5)], "") else { return };
    let first = own_ids().to_string();
    let options = ["--option", "start-id", &first, "--option", "id-count", "131072"];
    let uid = own_ids() + BLOCK;
    assert_eq!(host.script("show", SHOW, &options), format!("{uid} {uid} 1\n"));
}

#[test]
fn every_running_build_has_a_user_of_its_own() {
    let Some(host) = Host::new("users of builds at the same time", &[], "") else { return };
    let script =
        "read -r inner outer count < /proc/self/uid_map; echo $outer > $out; read -r line < /wait/go";
    let wait = host.scene.path("wait");
    fs::create_dir(&wait).unwrap();
    assert!(Command::new("mkfifo").arg(wait.join("go")).status().unwrap().success());
    fs::set_permissions(wait.join("go"), Permissions::from_mode(0o666)).unwrap();
    let (shown, first) = (format!("/dev /proc /wait={}", wait.display()), own_ids().to_string());
    let mut arguments =
        vec!["build", "--no-link", "--option", "build-chroot-dirs", &shown, "--option", "start-id", &first];
    let names = ["one", "two", "three"];
    let files = names.map(|name| host.scene.write(&format!("{name}.json"), shell_derivation(name, script)));
    // Two processes of `store`, one of them with two builds.
    arguments.extend(["-j", "2"]);
    let start = |files: &[String]| {
        let arguments: Vec<&str> =
            arguments.iter().copied().chain(files.iter().map(String::as_str)).collect();
        host.command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let builds = [start(&files[..2]), start(&files[2..])];
    let outer = || -> Vec<u32> {
        let Ok(store) = fs::read_dir(host.scene.root().join("nix/store")) else { return Vec::new() };
        let scratch =
            store.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "chroot"));
        scratch
            .flat_map(|entry| fs::read_dir(entry.path().join("store")).into_iter().flatten().flatten())
            .filter_map(|output| fs::read_to_string(output.path()).ok()?.trim().parse().ok())
            .collect()
    };
    within(SOON, || outer().len() == 3);
    let mut seen = outer();
    // Opened for reading too, so that this never waits; a build that has read its line lets the next one read.
    let mut go = File::options().read(true).write(true).open(wait.join("go")).unwrap();
    for _ in 0..3 {
        go.write_all(b"g\n").unwrap();
    }
    for build in builds {
        let output = build.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    seen.sort_unstable();
    assert_eq!(seen, [own_ids(), own_ids() + BLOCK, own_ids() + 2 * BLOCK]);
}

#[test]
fn members_of_the_group_are_used_with_their_groups_and_locks_of_nix() {
    let (one, two) = (own_ids() + 11, own_ids() + 12);
    let groups = format!("builders:x:{}:b1,b2\nkvm:x:{}:b1\n", own_ids() + 10, own_ids() + 20);
    let Some(host) = Host::new("a group of build users", &[("b1", one), ("b2", two)], &groups) else {
        return;
    };
    let group = ["--option", "build-users-group", "builders"];
    let gid = own_ids() + 10;
    // A group that is not mapped is nobody's to the builder, and real to the kernel.
    assert_eq!(host.script("first", SHOW, &group), format!("{one} {gid} 1 65534\n"));
    let lock = File::options().write(true).open(host.scene.path(format!("state/userpool/{one}"))).unwrap();
    lock.lock().unwrap();
    let left = sleeper(two);
    assert_eq!(host.script("second", SHOW, &group), format!("{two} {gid} 1\n"));
    assert!(!was_alive(left), "what the last build of this user left is still there");
}

/// Starts what has to wait, as the one user is in use until the file is dropped; returns when it says so.
fn waiting(host: &Host, uid: u32, arguments: &[&str]) -> (File, Child) {
    fs::create_dir_all(host.scene.path("state/userpool")).unwrap();
    let lock = File::create(host.scene.path(format!("state/userpool/{uid}"))).unwrap();
    lock.lock().unwrap();
    let arguments = [arguments, &["--option", "build-users-group", "builders"]].concat();
    let said = File::create(host.scene.path("said")).unwrap();
    let mut child = host.command(&arguments).stdout(Stdio::null()).stderr(said).spawn().unwrap();
    let waits =
        || fs::read_to_string(host.scene.path("said")).unwrap().contains("every user for builders is in use");
    assert!(within(SOON, waits) && child.try_wait().unwrap().is_none());
    (lock, child)
}

#[test]
fn a_build_waits_for_a_free_user() {
    let uid = own_ids() + 31;
    let groups = format!("builders:x:{}:b1\n", own_ids() + 30);
    let Some(host) = Host::new("waiting for a user", &[("b1", uid)], &groups) else { return };
    let file = host.scene.write("waits.json", shell_derivation("waits", "echo x > $out"));
    let (lock, mut build) = waiting(&host, uid, &["build", "--no-link", &file]);
    drop(lock);
    assert!(build.wait().unwrap().success(), "{}", fs::read_to_string(host.scene.path("said")).unwrap());
}

#[test]
fn a_build_that_waits_for_a_user_can_be_cancelled() {
    let uid = own_ids() + 51;
    let groups = format!("builders:x:{}:b1\n", own_ids() + 50);
    let Some(host) = Host::new("cancelling what waits for a user", &[("b1", uid)], &groups) else { return };
    let file = host.scene.write("waits.json", shell_derivation("waits", "echo x > $out"));
    let drv = host.scene.ok(&["derivation", "add", &file]);
    let (_lock, mut build) = waiting(&host, uid, &["build", "--no-link", &file]);
    host.scene.ok(&["cancel", &drv]);
    assert_eq!(build.wait().unwrap().code(), Some(130));
}

#[test]
fn a_visit_that_waits_for_a_user_can_be_given_up() {
    let uid = own_ids() + 41;
    let groups = format!("builders:x:{}:b1\n", own_ids() + 40);
    let Some(host) = Host::new("giving up a visit", &[("b1", uid)], &groups) else { return };
    let file = host.scene.write("waits.json", shell_derivation("waits", "echo x > $out"));
    let (_lock, mut visit) = waiting(&host, uid, &["sandbox", "enter", &file]);
    kill(Pid::from_raw(visit.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(visit.wait().unwrap().code(), Some(130));
}

#[test]
fn a_group_that_cannot_give_users_is_refused() {
    let Some(host) = Host::new("a group without users", &[], "empty:x:7:\nodd:x:8:root\n") else { return };
    let file = host.scene.write("x.json", shell_derivation("x", "echo x > $out"));
    for (group, word) in [("absent", "does not exist"), ("empty", "no members"), ("odd", "`root`")] {
        let run = host.run(&["build", "--no-link", &file, "--option", "build-users-group", group]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains(word) && run.stderr.contains("build-users-group"), "{}", run.stderr);
    }
}

#[test]
fn strangers_live_on_and_their_ids_are_passed_over() {
    let Some(host) = Host::new("ids that are in use", &[], "") else { return };
    let first = own_ids() + 8 * BLOCK;
    let stranger = sleeper(first + 7);
    let start = first.to_string();
    let shown = host.script("next", SHOW, &["--option", "start-id", &start]);
    assert!(was_alive(stranger), "a build has killed a process that was none of its own");
    assert_eq!(shown, format!("{0} {0} 1\n", first + BLOCK));
}

#[test]
fn what_a_crash_left_running_is_killed_before_the_next_build() {
    let Some(host) = Host::new("left-overs of builds", &[], "") else { return };
    let first = own_ids() + 16 * BLOCK;
    let left = sleeper(first);
    // The mark that a `store` makes which does not come to remove it.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::create_dir_all(host.scene.path("state/userpool2")).unwrap();
    let slot = text(host.scene.path("state/userpool2/slot-0"));
    fs::write(&slot, boot.trim()).unwrap();
    let start = first.to_string();
    let shown = host.script("after", SHOW, &["--option", "start-id", &start]);
    assert!(!was_alive(left), "what ran under the build's user lives on");
    assert_eq!(shown, format!("{first} {first} 1\n"));
    assert_eq!(fs::read_to_string(&slot).unwrap(), "");
}

#[test]
fn groups_that_cannot_be_dropped_are_refused_on_demand() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
    let own = fs::metadata("/proc/self").unwrap().gid().to_string();
    let keeps = !is_root() && groups.split_whitespace().any(|group| group != own);
    let scene = Scene::new();
    let file = scene.write("x.json", shell_derivation("x", "echo x > $out"));
    let demand = ["--option", "require-drop-supplementary-groups", "true"];
    let caller = ["--option", "use-subordinate-ids", "false"];
    let run = scene.run(&[&["build", "--no-link", &file], &demand[..], &caller].concat());
    if keeps {
        assert_eq!(run.code, Some(100), "{}", run.stderr);
        assert!(run.stderr.contains("require-drop-supplementary-groups"), "{}", run.stderr);
    } else {
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
}

/// What a container needs: other users, a mount namespace, a root to write to.
const CONTAINER: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
static void tell(const char *what, int failed) { printf("%s %s\n", what, failed ? "no" : "yes"); }
int main(int count, char **words) {
    char path[4096];
    tell("root", getuid() != 0 || getgid() != 0);
    mkdir(words[1], 0755);
    snprintf(path, sizeof path, "%s/file", words[1]);
    close(open(path, O_CREAT | O_WRONLY, 0644));
    tell("chown", chown(path, 1234, 65535));
    tell("chown beyond", chown(path, 65536, 0));
    int status, pid = fork();
    if (pid == 0) _exit(setgid(4321) || setuid(4321));
    waitpid(pid, &status, 0);
    tell("setuid", status);
    tell("etc", mkdir("/etc/new", 0755));
    tell("root directory", mkdir("/new", 0755));
    tell("sys", access("/sys/class/net/lo", F_OK));
    tell("sys writable", access("/sys/kernel", W_OK));
    pid = fork();
    if (pid == 0) _exit(unshare(CLONE_NEWNS) || mount("x", "/new", "tmpfs", 0, 0));
    waitpid(pid, &status, 0);
    tell("mount", status);
    tell("remount of the host", mount(0, "/proc/sys", 0, MS_REMOUNT | MS_BIND, 0));
    fflush(stdout);
    return 0;
}
"#;

fn range_derivation(script: &str) -> String {
    shell_derivation("range", script)
        .replace(r#""env": {}"#, r#""env": { "requiredSystemFeatures": "uid-range" }"#)
}

#[test]
fn a_build_may_have_many_users() {
    let groups = format!("builders:x:{}:b1\n", own_ids() + 40);
    let Some(host) = Host::new("65536 users", &[("b1", own_ids() + 41)], &groups) else { return };
    let program = host.scene.c_program("container", CONTAINER);
    let first = own_ids() + 20 * BLOCK;
    let (shown, start) = (format!("/dev /proc /container={program}"), first.to_string());
    let script = "/container $out > said; read -r inner outer count < /proc/self/uid_map; \
                  while read -r line; do echo $line; done < said; echo $inner $outer $count; \
                  while read -r line; do echo $line; done < /etc/passwd";
    let file = host.scene.write("range.json", range_derivation(script));
    let options = ["--option", "build-chroot-dirs", &shown, "--option", "start-id", &start];
    let group = ["--option", "build-users-group", "builders"];
    let run = host.run(&[&["build", "--no-link", "-L", &file][..], &options, &group].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let has = |line: &str| {
        assert!(run.stderr.lines().any(|said| said.ends_with(line)), "no `{line}`: {}", run.stderr)
    };
    for line in [
        "root yes",
        "chown yes",
        "chown beyond no",
        "setuid yes",
        "etc yes",
        "root directory yes",
        "sys yes",
        "sys writable no",
        "mount yes",
        "remount of the host no",
        "nixbld:x:0:0:Nix build user:/build:/noshell",
    ] {
        has(line);
    }
    has(&format!("0 {first} 65536"));
    let output = fs::metadata(host.scene.real(run.stdout.trim()).join("file")).unwrap();
    assert_eq!((output.uid(), output.gid(), output.mode() & 0o7777), (0, 0, 0o444));
}

#[test]
fn many_users_are_refused_where_there_are_none() {
    let scene = Scene::new();
    let file = scene.write("range.json", range_derivation("echo x > $out"));
    let arguments = ["build", "--no-link", &file];
    let (options, remedy): (&[&str], _) = match is_root() {
        true => (&["--option", "id-count", "0"], "`id-count`"),
        false => (&["--option", "use-subordinate-ids", "false"], "run as root"),
    };
    let said = scene.fails(100, &[&arguments[..], options].concat());
    assert!(said.contains("uid-range") && said.contains(remedy), "{said}");
}
