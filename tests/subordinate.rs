//! Builders of an ordinary user under its subordinate ids (`/etc/subuid`, `/etc/subgid`).
//!
//! Root can make a host on which some user has such ids; anybody else would need some.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use test_support::fixture;

use crate::processes::{SOON, children, kill, processes, within};
use crate::scene::{Run, Scene, has, is_root, program, say, shell_derivation, text};

const USER: u32 = 61_777;
const BLOCK: u32 = 65_536;

/// Nobody else on this machine has these.
const FIRST: u32 = 0x7100_0000;

/// A host on which an ordinary user calls.
struct Host {
    scene: Scene,
    groups: &'static str,
}

impl Host {
    /// With lines of `/etc/subuid` and `/etc/subgid`; `None` where a test cannot make one.
    fn new(purpose: &str, ranges: &str) -> Option<Self> {
        let mappers = ["/usr/bin/newuidmap", "/usr/bin/newgidmap"].map(Path::new);
        let files = ["/etc/subuid", "/etc/subgid"].map(Path::new);
        let skip = |why: &str| {
            say(&format!("skipped: {purpose} ({why})"));
            None
        };
        match () {
            () if !is_root() => return skip("only root can make a host with subordinate ids"),
            () if !mappers.iter().chain(&files).all(|path| path.exists()) => {
                return skip("no newuidmap, or no /etc/subuid; see the package `uidmap`");
            }
            () if !has("unshare") || !has("setpriv") => return None,
            () => {}
        }
        let scene = Scene::new();
        fs::set_permissions(scene.path(""), Permissions::from_mode(0o755)).unwrap();
        scene.write("passwd", format!("root:x:0:0::/root:/bin/sh\nann:x:{USER}:{USER}::/:/bin/sh\n"));
        scene.write("subuid", ranges);
        scene.write("subgid", ranges);
        fs::create_dir(scene.root()).unwrap();
        for own in [scene.root(), scene.path("home")] {
            chown(own, Some(USER), Some(USER)).unwrap();
        }
        // Where it was built, that user may not come.
        scene.copy_program(program(), "program");
        Some(Self { scene, groups: "61100,61101" })
    }

    fn usual(purpose: &str) -> Option<Self> {
        Self::new(purpose, &format!("ann:{FIRST}:{BLOCK}\n"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let script = "for file in passwd subuid subgid; do mount --bind $file /etc/$file || exit 9; done; \
                      exec setpriv --reuid $0 --regid $0 --groups \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(USER.to_string()).arg(self.groups);
        command.args(["env", "-i"]).arg(format!("HOME={}", text(self.scene.path("home"))));
        command.arg(self.scene.path("program")).arg("--store").arg(self.scene.root()).args(arguments);
        command.current_dir(self.scene.path("")).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().unwrap().into()
    }

    fn ok(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        run
    }

    fn derivation(&self, name: &str, script: &str) -> String {
        self.scene.write(&format!("{name}.json"), shell_derivation(name, script))
    }

    /// Builds a script and returns the store path of its output.
    fn build(&self, name: &str, script: &str, options: &[&str]) -> String {
        let file = self.derivation(name, script);
        self.ok(&[&["build", "--no-link", &file], options].concat()).stdout.trim().to_owned()
    }

    /// Who the builder of an output was outside, as it was written down, and all that was.
    fn record(&self, path: &str) -> (Vec<u32>, serde_json::Value) {
        let json: serde_json::Value =
            serde_json::from_str(&self.ok(&["path-info", "--json", path]).stdout).unwrap();
        let given = json[0]["isolation"]["given"].clone();
        let ids = given["outer"].as_array().cloned().unwrap_or_default();
        (ids.iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect(), given)
    }

    /// Everything of the store that is not the caller's.
    fn foreign(&self) -> Vec<PathBuf> {
        let mut open = vec![self.scene.root()];
        let mut foreign = Vec::new();
        while let Some(path) = open.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            if (metadata.uid(), metadata.gid()) != (USER, USER) {
                foreign.push(path.clone());
            }
            if metadata.is_dir() {
                open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        foreign
    }

    /// Looks at what the next start has to leave: a store in good order, and nothing of builds.
    fn assert_clean(&self) {
        let run = self.ok(&["verify"]);
        assert!(!run.stderr.contains("take back"), "{}", run.stderr);
        assert_eq!(self.foreign(), Vec::<PathBuf>::new());
        let builds: Vec<_> =
            fs::read_dir(self.scene.root().join("nix/var/nix/builds")).unwrap().flatten().collect();
        assert!(builds.is_empty(), "{builds:?}");
        let store = fs::read_dir(self.scene.root().join("nix/store")).unwrap().flatten();
        let scratch: Vec<_> =
            store.filter(|entry| entry.path().extension().is_some_and(|end| end == "chroot")).collect();
        assert!(scratch.is_empty(), "{scratch:?}");
    }
}

/// Makes a tree that only its owner can enter or change, in each place where a builder can write.
const TREES: &str = "for at in $out /build/tree /tmp/tree; do mkdir -p $at/a/b; : > $at/a/b/file; \
                     ln -s /etc/passwd $at/link; chmod 0 $at/a/b/file; chmod 500 $at/a/b; chmod 700 $at/a; done;";

fn ids(line: &str, status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|one| one.strip_prefix(line)).unwrap();
    line.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn a_builder_is_somebody_else_and_what_it_made_is_the_callers() {
    let Some(host) = Host::usual("builders under subordinate ids") else { return };
    let show = "while read -r key rest; do case $key in Groups:) echo groups $rest;; esac; done < /proc/self/status;";
    let path = host.build("x", &format!("{show} {TREES}"), &["-L"]);
    let (outer, given) = host.record(&path);
    assert!(
        matches!(outer[..], [uid, gid] if (FIRST..FIRST + BLOCK).contains(&uid) && uid == gid),
        "{given}"
    );
    assert!(!given["inherited"].to_string().contains("group"), "{given}");
    host.assert_clean();
    let real = host.scene.real(&path);
    assert!(real.join("a/b/file").exists() && real.join("link").is_symlink());
    let again =
        host.run(&["build", "--no-link", "-L", &host.derivation("groups", &format!("{show} echo > $out"))]);
    let groups: Vec<_> = again.stderr.lines().filter(|line| line.contains("groups> groups")).collect();
    assert!(matches!(groups[..], [line] if line.ends_with("groups> groups")), "{}", again.stderr);
    let needs = ["--option", "require-drop-supplementary-groups", "true"];
    host.build("drops", "echo > $out", &needs);
    let without = ["--option", "use-subordinate-ids", "false"];
    let file = host.derivation("keeps", "echo > $out");
    let refused = host.run(&[&["build", "--no-link", &file], &needs[..], &without].concat());
    assert!(refused.code == Some(100) && refused.stderr.contains("groups"), "{}", refused.stderr);
    let kept = host.build("keeps", "echo > $out", &without);
    assert_eq!(host.record(&kept).0, [0_u32; 0]);
    host.ok(&["delete", &path]);
    assert!(!real.exists());
    host.assert_clean();
}

#[test]
fn builds_at_the_same_time_are_different_users() {
    let Some(host) = Host::usual("builds under different ids") else { return };
    let wait = host.scene.path("wait");
    fs::create_dir(&wait).unwrap();
    let word = format!("subordinate-{}", std::process::id());
    let script = format!(": {word}; while [ ! -e /wait/go ]; do :; done; echo > $out");
    let files: Vec<String> =
        ["one", "two", "three"].iter().map(|name| host.derivation(name, &script)).collect();
    let shown = format!("/dev /proc /wait={}", text(&wait));
    let mut arguments = vec!["build", "--no-link", "-j", "3", "--option", "build-chroot-dirs", &shown];
    arguments.extend(files.iter().map(String::as_str));
    let mut build = host.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let seen = || -> Vec<Vec<u32>> {
        let status = |process: &String| fs::read_to_string(format!("{process}/status")).ok();
        let statuses = processes(&word).iter().filter_map(status).collect::<Vec<_>>();
        statuses.iter().map(|one| ids("Uid:", one)).filter(|uids| uids[0] >= FIRST).collect()
    };
    let started = within(SOON, || seen().len() == 3);
    let found = seen();
    fs::write(wait.join("go"), "").unwrap();
    assert!(build.wait().unwrap().success() && started, "{found:?}");
    let different: BTreeSet<u32> = found.concat().into_iter().collect();
    assert_eq!(different.len(), 3, "{found:?}");
    assert!(different.iter().all(|uid| (FIRST..FIRST + BLOCK).contains(uid)), "{found:?}");
    host.assert_clean();
}

#[test]
fn failed_builds_are_kept_for_the_caller() {
    let Some(host) = Host::usual("kept build directories of subordinate ids") else { return };
    for options in [&[][..], &["--option", "max-build-dir-size", "1M"]] {
        let file = host.derivation("fails", &format!("{TREES} exit 1"));
        let run = host.run(&[&["build", "--no-link", "--keep-failed", &file], options].concat());
        assert_eq!(run.code, Some(100), "{}", run.stderr);
        assert_eq!(host.foreign(), Vec::<PathBuf>::new(), "{options:?}");
        let kept: Vec<_> = fs::read_dir(host.scene.root().join("nix/var/nix/builds"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("build/tree/a/b/file").exists())
            .collect();
        assert_eq!(kept.len(), 1, "{options:?} {}", run.stderr);
        fs::remove_dir_all(&kept[0]).unwrap();
    }
    host.assert_clean();
}

#[test]
fn sandboxes_are_entered_and_builds_observed_as_ever() {
    let Some(host) = Host::usual("visits to sandboxes under subordinate ids") else { return };
    let file = host.derivation("looks", "[ -e /usr/bin/env ]; exit 1");
    let script = "read -r inner outer count < /proc/self/uid_map; echo $inner $count; mkdir /build/x /tmp/x && echo made";
    let run = host.ok(&["sandbox", "run", &file, "--", "/bin/sh", "-c", script]);
    assert_eq!(run.stdout, "1000 1\nmade\n", "{}", run.stderr);
    host.assert_clean();
    let run = host.run(&["build", "--no-link", "--explain", &file]);
    assert!(run.code == Some(100) && run.stderr.contains("program `/usr/bin/env`"), "{}", run.stderr);
    // From before its first program on, which nobody may look into whose id has just changed.
    assert!(!run.stderr.contains("could not be followed"), "{}", run.stderr);
    host.assert_clean();
}

#[test]
fn a_build_may_have_many_users_if_the_caller_has() {
    let Some(host) = Host::usual("65536 users of an ordinary user") else { return };
    let script = "mkdir $out; : > $out/file; read -r inner outer count < /proc/self/uid_map; \
                  echo $inner $count > $out/map; mkdir /new && chown 1234:65535 $out/file && echo yes > $out/owns; \
                  chown 65536 $out/map || echo no > $out/beyond";
    let json = shell_derivation("range", script)
        .replace(r#""env": {}"#, r#""env": { "requiredSystemFeatures": "uid-range" }"#);
    let shown =
        format!("/dev /proc /bin/busybox={0} /bin/chown={0} /bin/mkdir={0} /bin/sh={0}", "/bin/busybox");
    let file = host.scene.write("range.json", json);
    if !has("busybox") {
        return;
    }
    let path = host.ok(&["build", "--no-link", &file, "--option", "build-chroot-dirs", &shown]).stdout;
    let real = host.scene.real(path.trim());
    let read = |name: &str| fs::read_to_string(real.join(name)).unwrap_or_default();
    assert_eq!(
        (read("map"), read("owns"), read("beyond")),
        ("0 65536\n".into(), "yes\n".into(), "no\n".into())
    );
    assert_eq!(host.record(path.trim()).0, [FIRST, FIRST]);
    host.assert_clean();
    let Some(small) = Host::new("too few users", &format!("ann:{FIRST}:{}\n", BLOCK - 1)) else { return };
    let file = small.scene.write("range.json", fs::read(host.scene.path("range.json")).unwrap());
    let run = small.run(&["build", "--no-link", &file]);
    assert!(run.code == Some(100) && run.stderr.contains("/etc/subuid"), "{}", run.stderr);
}

#[test]
fn what_cannot_be_mapped_is_said_and_built_as_before() {
    let Some(host) = Host::usual("ranges that cannot be mapped") else { return };
    // The program that maps looks into the file of another host, which gives them to nobody.
    let command = |arguments: &[&str]| {
        let inner = host.command(arguments);
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs none /usr/local/bin; printf '#!/bin/sh\nexit 1\n' > /usr/local/bin/newgidmap; \
                      chmod 755 /usr/local/bin/newgidmap; mount --bind /usr/local/bin/newgidmap /usr/bin/newgidmap; \
                      exec \"$0\" \"$@\"";
        command.args(["--mount", "sh", "-c", script]).arg(inner.get_program()).args(inner.get_args());
        command.current_dir(host.scene.path("")).stdin(Stdio::null());
        command
    };
    let (one, two) = (host.derivation("one", "echo > $out"), host.derivation("two", "echo > $out"));
    let run: Run = command(&["build", "--no-link", &one, &two]).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stderr.matches("newgidmap").count(), 1, "{}", run.stderr);
    for path in run.stdout.lines() {
        let (outer, given) = host.record(path);
        assert!(outer.is_empty() && given["inherited"].to_string().contains("subordinate"), "{given}");
    }
    let doctor: Run = command(&["doctor"]).output().unwrap().into();
    assert!(
        doctor.code == Some(10) && doctor.stdout.contains("subordinate ids cannot be mapped"),
        "{}",
        doctor.stdout
    );
    let needs = ["--option", "require-drop-supplementary-groups", "true"];
    let file = host.derivation("three", "echo > $out");
    let refused: Run =
        command(&[&["build", "--no-link", &file], &needs[..]].concat()).output().unwrap().into();
    assert!(refused.code == Some(100) && refused.stderr.contains("newgidmap"), "{}", refused.stderr);
    let Some(without) = Host::new("a user without ranges", "bob:1879048192:65536\n") else { return };
    let path = without.build("x", "echo > $out", &[]);
    let (outer, given) = without.record(&path);
    assert!(outer.is_empty() && given["inherited"].to_string().contains("2 supplementary groups"), "{given}");
}

#[test]
fn such_a_build_sees_what_one_of_root_sees() {
    let Some(host) = Host::usual("what builds under subordinate ids see") else { return };
    let source = fs::read_to_string(fixture("programs/dump.c")).unwrap();
    let dump = host.scene.c_program("dump", &source);
    let file = host.scene.write("dump.json", shell_derivation("dump", "").replace("/bin/sh", "/dump"));
    let shown = format!("/dev /proc /dump={dump}");
    let options = ["--option", "sandbox-shell", "none", "--option", "build-chroot-dirs", &shown];
    let path = host.ok(&[&["build", "--no-link", &file], &options[..]].concat()).stdout;
    let seen = fs::read_to_string(host.scene.real(path.trim())).unwrap();
    let golden = fs::read_to_string(fixture("cli/purity-root.txt")).unwrap();
    // Hard limits of this machine are no matter of ids.
    let lines = |text: &str| -> Vec<String> {
        let is_limit = |line: &str| line.split(' ').count() == 3 && line.split(' ').skip(1).all(is_amount);
        text.lines().filter(|line| !is_limit(line)).map(str::to_owned).collect()
    };
    assert_eq!(lines(&seen), lines(&golden));
}

fn is_amount(word: &str) -> bool {
    word == "unlimited" || word.parse::<u64>().is_ok()
}

/// Leaves trees, and stays whatever happens to its parents.
const STUBBORN: &str = r"
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(void) {
    for (int signal = 1; signal < 65; signal++) sigaction(signal, &(struct sigaction){ .sa_handler = SIG_IGN }, 0);
    prctl(PR_SET_PDEATHSIG, 0);
    if (fork() == 0) { setsid(); prctl(PR_SET_PDEATHSIG, 0); }
    for (;;) pause();
}";

/// A build that does not end by itself.
struct Stubborn<'a> {
    host: &'a Host,
    word: String,
    store: Child,
}

impl<'a> Stubborn<'a> {
    fn start(host: &'a Host, purpose: &str) -> Self {
        let word = format!("subordinate-{purpose}-{}", std::process::id());
        let program = host.scene.c_program("stubborn", STUBBORN);
        let file = host.derivation("stubborn", &format!("{TREES} exec /stubborn {word}"));
        let shown = format!("/dev /proc /stubborn={program}");
        let arguments = ["build", "--no-link", &file, "--option", "build-chroot-dirs", &shown];
        let store = host.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let is_program =
            |one: &String| fs::read(format!("{one}/comm")).is_ok_and(|name| name == b"stubborn\n");
        let started = || processes(&word).iter().filter(|one| is_program(one)).count() == 2;
        assert!(within(SOON, started), "the build does not start");
        Self { host, word, store }
    }

    fn launcher(&self) -> u32 {
        children(self.store.id())[0]
    }

    /// The children of the launcher that are no build: leash and gatherer.
    fn others(&self) -> Vec<u32> {
        let builders = processes(&self.word);
        let others = children(self.launcher()).into_iter();
        others.filter(|one| !builders.contains(&format!("/proc/{one}"))).collect()
    }

    fn assert_gone(&mut self) {
        let _ = self.store.wait();
        let gone = || processes(&self.word).is_empty();
        assert!(within(SOON, gone), "{:?}", processes(&self.word));
        self.host.assert_clean();
    }
}

#[test]
fn killing_store_or_its_launcher_leaves_nothing() {
    let Some(host) = Host::usual("killing what builds under subordinate ids") else { return };
    let mut build = Stubborn::start(&host, "store");
    kill(&[build.store.id()]);
    build.assert_gone();
    let mut build = Stubborn::start(&host, "launcher");
    kill(&[build.launcher()]);
    build.assert_gone();
    let mut build = Stubborn::start(&host, "both");
    kill(&[build.store.id(), build.launcher()]);
    build.assert_gone();
}

#[test]
fn killing_everything_but_the_build_leaves_it_to_the_next_start() {
    let Some(host) = Host::usual("killing all but a build under a subordinate id") else { return };
    let mut build = Stubborn::start(&host, "all");
    let all = [vec![build.store.id(), build.launcher()], build.others()].concat();
    kill(&all);
    let _ = build.store.wait();
    assert_ne!(host.foreign(), Vec::<PathBuf>::new(), "nothing was left to take back");
    // Ends it first.
    host.ok(&["verify"]);
    build.assert_gone();
}

#[test]
fn left_overs_without_their_ranges_are_warned_of() {
    let Some(host) = Host::usual("left-overs of subordinate ids that are gone") else { return };
    let mut build = Stubborn::start(&host, "ranges");
    kill(&[vec![build.store.id(), build.launcher()], build.others()].concat());
    let _ = build.store.wait();
    File::create(host.scene.path("subuid")).unwrap();
    let run = host.ok(&["verify"]);
    assert!(run.stderr.contains("take back"), "{}", run.stderr);
    assert_ne!(host.foreign(), Vec::<PathBuf>::new());
    host.scene.write("subuid", format!("ann:{FIRST}:{BLOCK}\n"));
    host.ok(&["verify"]);
    build.assert_gone();
}
