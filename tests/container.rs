//! Inside containers: builds are isolated as everywhere, or refused with a reason, never something in between.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::scene::{Run, Scene, is_root, program, say, shell_derivation, text};

const SOURCE: &str = include_str!("../fixtures/programs/container.c");

/// Says how isolated it is.
const LOOK: &str = "{ for d in /usr /home /root /sys /etc/shadow; do [ -e $d ] && echo $d; done; echo pid $$; \
    read -r host < /proc/sys/kernel/hostname; echo $host; \
    while read -r name value; do case $name in CapEff:|CapBnd:|NoNewPrivs:|Seccomp:) echo $name $value ;; esac; \
    done < /proc/self/status; \
    while read -r name rest; do case $name in *:) echo $name ;; esac; done < /proc/net/dev; \
    (: > /proc/sys/kernel/hostname) 2> /dev/null && echo writable; :; } > $out";

/// What it says when everything is as it should be.
const ISOLATED: &str = "pid 1\nlocalhost\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\nNoNewPrivs: 1\n\
    Seccomp: 2\nlo:\n";

/// What `store` says in a container.
enum Answer<'a> {
    /// Builds, with full isolation.
    Works,
    /// Does not build, for a reason in which these words stand.
    Refuses(&'a [&'a str]),
}

use Answer::{Refuses, Works};

/// A machine in a machine: the program, a store and a home that its user owns.
struct Container {
    scene: Scene,
    container: String,
    store: String,
}

impl Container {
    /// `owner` is who its root is outside.
    fn new(owner: Option<u32>) -> Self {
        let scene = Scene::new();
        let container = scene.c_program("container", SOURCE);
        let store = text(scene.copy_program(program(), "program"));
        scene.write("look.json", shell_derivation("look", LOOK));
        let root = scene.path("");
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        if let Some(owner) = owner {
            for path in ["", "home", "program", "look.json", "container"].map(|name| root.join(name)) {
                chown(path, Some(owner), Some(owner)).unwrap();
            }
        }
        Self { scene, container, store }
    }

    fn run(&self, kinds: &[&str], arguments: &[&str]) -> Run {
        let mut command = Command::new(&self.container);
        command.args(kinds).args(["--", &self.store]).args(arguments).env_clear();
        command
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", self.scene.path("home"));
        command.current_dir(self.scene.path("")).stdin(Stdio::null()).output().unwrap().into()
    }

    /// What `doctor` and `build` do there has to agree.
    fn assert_answers(&self, kinds: &[&str], wanted: &Answer<'_>) {
        // Where they could build as the members of the host's group, that is another test's.
        let allocate = ["--option", "auto-allocate-uids", "true"];
        let doctor = self.run(kinds, &["doctor"]);
        let root = text(self.scene.root());
        let build = [&["--store", &root, "build", "--no-link", "look.json"], &allocate[..]].concat();
        let build = self.run(kinds, &build);
        let said = format!("{kinds:?}: {}{}\n{}", doctor.stdout, doctor.stderr, build.stderr);
        assert_ne!(build.code, Some(111), "the container could not be made: {said}");
        match wanted {
            Works => {
                assert_eq!(build.code, Some(0), "{said}");
                let seen = self.scene.real(build.stdout.trim_end());
                assert_eq!(fs::read_to_string(seen).unwrap(), ISOLATED, "{said}");
            }
            Refuses(reasons) => {
                assert!(matches!(build.code, Some(1 | 100)), "{said}");
                assert!(!has_outputs(&self.scene.root()), "{said}");
                assert!(matches!(doctor.code, Some(1 | 11)), "{said}");
                for reason in *reasons {
                    assert!(build.stderr.contains(reason), "the build does not say `{reason}`: {said}");
                }
            }
        }
    }
}

/// Whether a build of the test has become valid or left anything.
fn has_outputs(root: &Path) -> bool {
    let entries = fs::read_dir(root.join("nix/store")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| text(&name).ends_with("-look"))
}

/// As in a rootless container: who starts it is the only user there is.
#[test]
fn a_container_with_one_user() {
    let container = Container::new(None);
    // An ordinary user stays one; root has nobody to run builders as.
    let alone = if is_root() { Refuses(&["/proc/self/uid_map", "ordinary user"]) } else { Works };
    container.assert_answers(&["same"], &alone);
    let container = Container::new(None);
    container.assert_answers(&["one"], &Refuses(&["/proc/self/uid_map", "ordinary user"]));
}

/// As container runtimes leave it, which the kernel takes for something to be kept secret from those below.
#[test]
fn a_container_with_a_masked_proc() {
    if is_root() {
        let Some(ids) = spare_ids() else { return };
        let container = Container::new(Some(ids));
        let first = ids.to_string();
        let reason = ["mount the process file system at `/proc`: Operation not permitted"];
        container.assert_answers(&["masked", "many", &first, "state"], &Refuses(&reason));
        // Who has made the mask may look behind it.
        container.assert_answers(&["many", &first, "state", "masked"], &Works);
        return;
    }
    let container = Container::new(None);
    let reason = ["mount the process file system at `/proc`: Operation not permitted", "store doctor"];
    container.assert_answers(&["same", "masked"], &Refuses(&reason));
    let doctor = container.run(&["same", "masked"], &["doctor"]);
    assert_eq!(doctor.code, Some(11), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("masked"), "{}", doctor.stdout);
}

/// As root of a container that has a range of ids to itself.
#[test]
fn a_container_with_many_users() {
    let Some(ids) = spare_ids() else { return };
    let container = Container::new(Some(ids));
    container.assert_answers(&["many", &ids.to_string(), "state"], &Works);
}

#[test]
fn a_container_in_which_no_namespaces_are_left() {
    let reason = ["cannot make the namespaces", "No space left on device"];
    if is_root() {
        let Some(ids) = spare_ids() else { return };
        let container = Container::new(Some(ids));
        container.assert_answers(&["many", &ids.to_string(), "state", "last"], &Refuses(&reason));
        return;
    }
    let container = Container::new(None);
    container.assert_answers(&["same", "last"], &Refuses(&reason));
    let doctor = container.run(&["same", "last"], &["doctor"]);
    assert_eq!(doctor.code, Some(11), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("user.max_user_namespaces"), "{}", doctor.stdout);
}

#[test]
fn a_container_without_proc() {
    let container = Container::new(None);
    container.assert_answers(&["same", "hidden"], &Refuses(&["/proc/self/exe"]));
}

/// The first of 65536 ids that nobody has here; only root may give them to a container.
fn spare_ids() -> Option<u32> {
    let first = 0x7100_0000 + (std::process::id() % 512) * 0x1_0000;
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let mut numbers = map.split_whitespace().map(|number| number.parse::<u64>().unwrap());
    let (inside, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let exist = inside == 0 && count > u64::from(first) + 0x1_0000;
    if !is_root() || !exist {
        say("not tried: a container with many users (only root, with so many ids, can make one)");
        return None;
    }
    Some(first)
}
