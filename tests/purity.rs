//! What a build sees is the same wherever it runs, as far as a kernel lets that be set.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use test_support::fixture;

use crate::scene::{Run, Scene, is_root, isolations, say, shell_derivation, text};

fn program(scene: &Scene, name: &str) -> String {
    let source = fs::read_to_string(fixture(&format!("programs/{name}.c"))).unwrap();
    scene.c_program(name, &source)
}

/// Builds what prints all that a build sees; `change` may do so on another host.
fn dump(scene: &Scene, name: &str, change: impl FnOnce(Command) -> Command) -> String {
    let dump = program(scene, "dump");
    let json = shell_derivation(name, "").replace("/bin/sh", "/dump");
    let file = scene.write("dump.json", json);
    let entries = format!("/dev /proc /dump={dump}");
    let options = ["--option", "sandbox-shell", "none", "--option", "build-chroot-dirs", &entries];
    // Where the ordinary user who runs the tests has such ids, `subordinate` looks at that.
    let caller = ["--option", "use-subordinate-ids", "false"];
    let command = scene.command(&[&["build", "--no-link", &file], &options[..], &caller].concat());
    let run: Run = change(command).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    fs::read_to_string(scene.real(run.stdout.trim())).unwrap()
}

/// Whether this process can raise hard limits; not every root can, and root of a container only seems to.
fn may_raise_limits() -> bool {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "ulimit -n 3000 && ulimit -n 3001"]).stderr(Stdio::null());
    shell.status().unwrap().success()
}

/// Puts what the hard limits of an ordinary user do not allow in place of what it should be.
fn as_far_as_allowed(golden: &str) -> String {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let hard = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().nth(1).unwrap().parse::<u64>().ok()
    };
    let named = [
        ("cpu", "Max cpu time"),
        ("fsize", "Max file size"),
        ("data", "Max data size"),
        ("stack", "Max stack size"),
        ("core", "Max core file size"),
        ("rss", "Max resident set"),
        ("nproc", "Max processes"),
        ("nofile", "Max open files"),
        ("memlock", "Max locked memory"),
        ("as", "Max address space"),
        ("locks", "Max file locks"),
        ("sigpending", "Max pending signals"),
        ("msgqueue", "Max msgqueue size"),
        ("rttime", "Max realtime timeout"),
    ];
    let line = |line: &str| {
        let most = named
            .iter()
            .find(|(short, _)| line.starts_with(&format!("{short} ")))
            .and_then(|(_, name)| hard(name));
        let Some(most) = most.filter(|_| line.split(' ').count() == 3 && !is_root()) else {
            return line.to_owned();
        };
        let near = |word: &str| match word.parse::<u64>() {
            Ok(wanted) => wanted.min(most).to_string(),
            Err(_) if word == "unlimited" => most.to_string(),
            Err(_) => word.to_owned(),
        };
        line.split(' ').map(near).collect::<Vec<_>>().join(" ")
    };
    golden.lines().map(|text| line(text) + "\n").collect()
}

/// Takes out the one thing that an ordinary user cannot give away.
fn without_groups(dump: &str) -> String {
    let line =
        |line: &str| if line.starts_with("groups") { "groups\n".to_owned() } else { format!("{line}\n") };
    dump.lines().map(line).collect()
}

#[test]
fn a_build_sees_the_same_on_every_host() {
    let scene = Scene::new();
    let here = dump(&scene, "dump", |command| command);
    let seen = without_groups(&here);
    if is_root() {
        assert_eq!(here, seen, "as root there are no groups");
    }
    // As root, what belongs to nobody inside belongs to root outside; else everything is the caller's.
    let name = if is_root() { "cli/purity-root.txt" } else { "cli/purity-user.txt" };
    let golden = fs::read_to_string(fixture(name)).unwrap();
    let allowed = as_far_as_allowed(&golden);
    // What is lower here for reasons of this machine is not what is to be written down.
    test_support::check(name, if seen == allowed { golden } else { seen });
}

#[test]
fn another_host_is_no_other() {
    let scene = Scene::new();
    let here = dump(&scene, "dump", |command| command);
    let wrapper = program(&scene, "elsewhere");
    let directory = scene.path("etc");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
    let other = Scene::new();
    let there = dump(&other, "dump", |command| {
        let mut elsewhere = Command::new(&wrapper);
        elsewhere.arg(text(&directory)).arg(command.get_program()).args(command.get_args());
        elsewhere.env_clear().env("HOME", other.path("home")).env("PATH", "/nowhere");
        elsewhere
    });
    let (here, there) = (without_groups(&here), without_groups(&there));
    let differ: Vec<_> = here.lines().zip(there.lines()).filter(|(here, there)| here != there).collect();
    assert_eq!(differ, []);
    assert_eq!(here.lines().count(), there.lines().count());
}

#[test]
fn builders_run_in_long_slices() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers =
        release.split(|char: char| !char.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    let is_shown = fs::read_to_string("/proc/self/sched").is_ok_and(|text| text.contains("se.slice"));
    if version < (6, 12) || !is_shown {
        say("skipped: this kernel has slices of its own, or does not show them");
        return;
    }
    let scene = Scene::new();
    let script = r#"while read -r name colon value; do case "$name" in se.slice) echo "$value" > $out;; esac; done < /proc/self/sched"#;
    for isolation in isolations() {
        let name = format!("slices-{isolation}");
        let file = scene.write("slices.json", shell_derivation(&name, script));
        let out = scene.ok(&["build", "--no-link", "--option", "build-isolation", isolation, &file]);
        assert_eq!(fs::read_to_string(scene.real(out.trim())).unwrap(), "20000000\n", "{isolation}");
    }
}

#[test]
fn what_an_ordinary_user_cannot_hide_is_told() {
    let scene = Scene::new();
    let mut shell = Command::new("/bin/sh");
    let doctor = scene.command(&["doctor"]);
    shell.args(["-c", "ulimit -n 3000; exec nice -n 3 \"$@\"", "sh"]);
    shell.arg(doctor.get_program()).args(doctor.get_args()).env_clear();
    let run: Run = shell
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", scene.path("home"))
        .output()
        .unwrap()
        .into();
    if may_raise_limits() {
        assert!(!run.stdout.contains("hard limit of open files"), "{}", run.stdout);
        return;
    }
    assert_eq!(run.code, Some(10), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("the hard limit of open files, 3000"), "{}", run.stdout);
    if is_root() {
        return;
    }
    assert!(run.stdout.contains("niceness 3"), "{}", run.stdout);
    if fs::read_to_string("/proc/self/status").unwrap().contains("Groups:\t61100") {
        let drops_them = run.stdout.contains("builders are some of them outside");
        assert_eq!(run.stdout.contains("supplementary groups"), !drops_them, "{}", run.stdout);
    } else {
        say("not tried: whoever runs the tests has no further groups");
    }
}
