//! A build that has too little room somewhere says where, and is done once there is room. `cargo xtask crash --disk-full` tries
//! all sizes; here are some.

use std::fs;
use std::process::Command;

use crate::scene::{Run, Scene, has, is_root, say, shell_derivation};

/// Where a disk is mounted in a store, what is said of it, and sizes in KiB that are too small.
const USES: [(&str, &str, [usize; 3]); 4] = [
    ("nix/store", "the store", [4, 44, 84]),
    ("nix/var/nix/builds", "the directories of builds", [4, 44, 84]),
    ("nix/var/nix/db", "the database of the store", [4, 100, 180]),
    ("nix/var/log/nix", "the logs of builds", [4, 44, 84]),
];

/// Prints, keeps in its build directory, and puts out about 100 KiB each.
const SCRIPT: &str = "i=0; while [ $i -lt 900 ]; do l=\"line $i: 0123456789012345678901234567890123456789012345678901234567890\
    12345678901234567890123456789012345678901234567890123456789\"; echo $l || exit 1; echo $l >> kept || exit 1; \
    echo $l >> $out || exit 1; i=$((i+1)); done";

/// Mounts a disk, builds, makes room, and builds again.
const STEPS: &str = r#"
    mount -t tmpfs -o size="$SIZE" none "$PLACE" || exit 90
    $AS "$@" build --quiet --no-link x.json 2> first
    echo $? > code
    mount -o remount,size=64m none "$PLACE" || exit 91
    $AS "$@" verify --contents || exit 92
    $AS "$@" build --quiet --no-link x.json || exit 93
    $AS "$@" verify --contents || exit 94
"#;

/// Returns what was said with little room, and with which code; nothing where no disk can be mounted.
fn build_with(place: &str, kib: usize) -> Option<(String, String)> {
    let scene = Scene::new();
    let small = scene.root().join(place);
    fs::create_dir_all(&small).unwrap();
    scene.write("x.json", shell_derivation("x", SCRIPT));
    let command = scene.command(&[]);
    let mut confined = Command::new("unshare");
    confined.args(if is_root() { &["--mount"][..] } else { &["--mount", "--user", "--map-root-user"] });
    confined.args(["sh", "-c", STEPS, "sh"]).arg(command.get_program()).args(command.get_args());
    confined.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    confined.env("HOME", scene.path("home")).current_dir(scene.path(""));
    confined.env("PLACE", &small).env("SIZE", format!("{kib}k"));
    // Root of a user namespace has no users to build as.
    confined.env("AS", if is_root() { "" } else { "unshare --user --map-user=1000 --map-group=1000" });
    let run: Run = confined.output().unwrap().into();
    let first = fs::read_to_string(scene.path("first"));
    if first.as_ref().map_or(true, |first| first.starts_with("unshare: ")) {
        assert!(run.code == Some(90) || run.stderr.contains("unshare"), "{}", run.stderr);
        say("skipped: nobody may mount a disk here");
        return None;
    }
    let told = format!("{place} of {kib} KiB: {}{}", run.stdout, run.stderr);
    assert_eq!(run.code, Some(0), "once there is room: {told}");
    let (first, code) = (first.unwrap(), fs::read_to_string(scene.path("code")).unwrap());
    assert!(first.contains(small.to_str().unwrap()), "{told}\n{first}");
    Some((first, code.trim().to_owned()))
}

fn try_out((place, name, sizes): &(&str, &str, [usize; 3])) {
    for size in sizes {
        let Some((said, code)) = build_with(place, *size) else { return };
        // Without its log, a build goes on.
        let is_log = name.contains("logs");
        assert_eq!(code == "0", is_log, "{place} of {size} KiB: {said}");
        let is_told =
            is_log || said.contains("the disk is full: `") && said.contains(&format!("with {name} in `"));
        assert!(is_told, "{place} of {size} KiB: {said}");
    }
}

#[test]
fn what_has_no_room_is_told_and_done_when_there_is_room() {
    if has("unshare") {
        std::thread::scope(|scope| USES.iter().for_each(|one| drop(scope.spawn(|| try_out(one)))));
    }
}
