//! What a build may use of the machine: one that wants more takes itself down, and nothing else.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::processes::{SOON, within};
use crate::scene::{Run, Scene, isolations, say, shell_derivation};

/// A program that takes memory in pieces of a mebibyte and writes to each, in as many processes as it is told.
const HOG: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **words) {
    int pieces = atoi(words[1]), processes = atoi(words[2]);
    for (int i = 0; i < processes; i++) {
        if (fork() == 0) {
            for (int j = 0; j < pieces; j++) {
                char *piece = malloc(1 << 20);
                if (!piece) return 3;
                memset(piece, j + 1, 1 << 20);
            }
            sleep(processes > 1 ? 1 : 0);
            return 0;
        }
    }
    int status, worst = 0;
    while (wait(&status) > 0) {
        int bad = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        if (bad > worst) worst = bad;
    }
    printf("worst %d\n", worst);
    return worst;
}
"#;

/// A program that forks until it cannot, says how often it could, and then goes on.
const BOMB: &str = r#"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    int forked = 0;
    for (; forked < 400; forked++) {
        int pid = fork();
        if (pid < 0) break;
        if (pid == 0) { pause(); return 0; }
    }
    printf("%s %d\n", forked < 400 ? strerror(errno) : "endless", forked);
    fflush(stdout);
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    return 0;
}
"#;

/// Whether control groups with memory can be made: only root can here, where they are there at all.
fn has_memory_groups(scene: &Scene) -> bool {
    let run = scene.run(&["doctor"]);
    let has = run.stdout.contains("memory of builds can be limited (`max-build-memory`), by control groups");
    if !has {
        say("skipped in part: no control group of memory is writable here");
        assert!(run.stdout.contains("for each process only"), "{}", run.stdout);
    }
    has
}

fn build(scene: &Scene, name: &str, script: &str, options: &[&str]) -> Run {
    let file = scene.write(&format!("{name}.json"), shell_derivation(name, script));
    scene.run(&[&["build", "--no-link", "-L", &file], options].concat())
}

#[test]
fn a_build_that_wants_too_much_memory_is_told_so() {
    let scene = Scene::new();
    let hog = scene.c_program("hog", HOG);
    let shown = format!("/dev /proc /hog={hog}");
    let limited = ["--option", "build-chroot-dirs", &shown, "--option", "max-build-memory", "96M"];
    let enough = build(&scene, "enough", "/hog 24 1 > $out", &limited);
    assert_eq!(enough.code, Some(0), "{}", enough.stderr);
    let groups = has_memory_groups(&scene);
    let much = build(&scene, "much", "/hog 400 1; exit $?", &limited);
    assert_eq!(much.code, Some(100), "{}", much.stderr);
    if groups {
        assert!(much.stderr.contains("ran out of memory: its limit is 96 MiB"), "{}", much.stderr);
        assert!(much.stderr.contains("its peak was 96 MiB"), "{}", much.stderr);
        // None of four has too much, all together do.
        let shared = build(&scene, "shared", "/hog 40 4; exit $?", &limited);
        assert_eq!(shared.code, Some(100), "{}", shared.stderr);
        assert!(shared.stderr.contains("ran out of memory"), "{}", shared.stderr);
        assert!(!much.stderr.contains("is not limited"), "{}", much.stderr);
    } else {
        assert!(much.stderr.contains("worst 3"), "{}", much.stderr);
        assert_eq!(much.stderr.matches("memory of all processes together is not limited").count(), 1);
    }
}

#[test]
fn a_fork_bomb_stops_at_the_limit_of_its_build() {
    let scene = Scene::new();
    let bomb = scene.c_program("bomb", BOMB);
    let shown = format!("/dev /proc /bomb={bomb}");
    for cgroups in ["auto", "false"] {
        let options = [
            "--option",
            "build-chroot-dirs",
            &shown,
            "--option",
            "max-build-pids",
            "20",
            "--option",
            "use-cgroups",
            cgroups,
        ];
        let run = build(
            &scene,
            &format!("bomb-{cgroups}"),
            "/bomb > $out; read -r line < $out; echo $line",
            &options,
        );
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let line = run.stderr.lines().find(|line| line.contains("Resource temporarily unavailable"));
        let forked: u32 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default();
        assert!((15..20).contains(&forked), "{cgroups}: {}", run.stderr);
    }
}

#[test]
fn other_builds_go_on_beside_a_fork_bomb() {
    let scene = Scene::new();
    let bomb = scene.c_program("bomb", BOMB);
    let (shown, many) = (format!("/dev /proc /bomb={bomb}"), "/bomb; /bomb; /bomb > $out");
    let good = "i=0; while [ $i -lt 40 ]; do (:) || exit 1; i=$((i+1)); done; echo ok > $out";
    let files = [("many", many), ("good", good)]
        .map(|(name, script)| scene.write(&format!("{name}.json"), shell_derivation(name, script)));
    let run = scene.run(&[
        "build",
        "--no-link",
        "-j",
        "2",
        "--option",
        "build-chroot-dirs",
        &shown,
        "--option",
        "max-build-pids",
        "12",
        &files[0],
        &files[1],
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn a_limit_that_cannot_be_had_is_refused() {
    let scene = Scene::new();
    let options = ["--option", "use-cgroups", "false", "--option", "build-cpu-weight", "10"];
    let run = build(&scene, "weighted", "echo x > $out", &options);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains("`build-cpu-weight`") && run.stderr.contains("`use-cgroups`"),
        "{}",
        run.stderr
    );
}

/// The control groups with that limit of memory, which nobody else has set.
fn groups(limit: u64) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
        let has = |file: &str| {
            fs::read_to_string(directory.join(file)).is_ok_and(|text| text.trim() == limit.to_string())
        };
        if has("memory.limit_in_bytes") || has("memory.max") {
            found.push(directory);
        }
    }
    found
}

/// A limit that is this test's alone: a whole number of pages, as the kernel keeps it.
fn own_limit(test: u64) -> u64 {
    (1 << 30) + (u64::from(std::process::id()) * 8 + test) * 4096
}

#[test]
fn control_groups_are_private() {
    let scene = Scene::new();
    if !has_memory_groups(&scene) {
        return;
    }
    let script = "while read -r line; do echo $line; done < /proc/self/cgroup > $out";
    let file = scene.write("look.json", shell_derivation("look", script));
    let limit = own_limit(0);
    let memory = limit.to_string();
    let options = ["--option", "use-cgroups", "true", "--option", "max-build-memory", &memory];
    let path = scene.ok(&[&["build", "--no-link", &file][..], &options].concat());
    let seen = fs::read_to_string(scene.real(&path)).unwrap();
    for controller in ["memory", "pids"] {
        let line = seen.lines().find(|line| line.contains(controller));
        assert!(line.is_none_or(|line| line.ends_with(":/")), "{seen}");
    }
    assert_eq!(groups(limit), Vec::<PathBuf>::new());
}

#[test]
fn a_killed_store_leaves_no_control_group() {
    let scene = Scene::new();
    if !has_memory_groups(&scene) {
        return;
    }
    for (test, with_launcher) in [(1, false), (2, true)] {
        let limit = own_limit(test);
        let memory = limit.to_string();
        let name = format!("endless-{test}");
        let file = scene.write(&format!("{name}.json"), shell_derivation(&name, "while :; do :; done"));
        let arguments = ["build", "--no-link", &file, "--option", "max-build-memory", &memory];
        let mut store =
            scene.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let runs = || {
            let procs = |group: &PathBuf| fs::read_to_string(group.join("cgroup.procs"));
            groups(limit).iter().any(|group| procs(group).is_ok_and(|text| !text.is_empty()))
        };
        assert!(within(SOON, runs));
        let own = store.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        store.kill().unwrap();
        if with_launcher {
            let launcher = children.split_whitespace().next().unwrap();
            assert!(Command::new("kill").args(["-9", launcher]).status().unwrap().success());
        }
        store.wait().unwrap();
        assert!(within(SOON, || groups(limit).is_empty()), "{with_launcher} {:?}", groups(limit));
    }
}

/// Fills the build directory, says so, and leaves what is kept.
const FILL: &str = "echo text > note; /mkdir sub; echo deep > sub/file; \
                    while echo 0123456789012345678901234567890123456789012345678901234567890123; do :; done > fill 2>/dev/null; \
                    if echo x > more 2>/dev/null; then echo no limit; else echo it is full; fi; exit 3";

/// A shell need not know how to make a directory.
const MKDIR: &str =
    "#include <sys/stat.h>\nint main(int count, char **words) { return mkdir(words[1], 0755); }\n";

fn kept_dir(run: &Run) -> PathBuf {
    let said = run.stderr.split("its build directory is kept in `").nth(1);
    PathBuf::from(said.unwrap_or_else(|| panic!("{}", run.stderr)).split('`').next().unwrap())
}

#[test]
fn a_full_build_directory_is_its_builds_alone_and_is_kept() {
    let scene = Scene::new();
    let shown = format!("/dev /proc /mkdir={}", scene.c_program("mkdir", MKDIR));
    for isolation in isolations() {
        let options = [
            "--keep-failed",
            "--option",
            "build-chroot-dirs",
            &shown,
            "--option",
            "max-build-dir-size",
            "1M",
            "--option",
            "build-isolation",
            isolation,
        ];
        let run = build(&scene, &format!("fills-{isolation}"), FILL, &options);
        assert_eq!(run.code, Some(100), "{}", run.stderr);
        assert!(run.stderr.contains("it is full") && run.stderr.contains("returned 3"), "{}", run.stderr);
        let kept = kept_dir(&run);
        assert_eq!(fs::read_to_string(kept.join("note")).unwrap(), "text\n");
        assert_eq!(fs::read_to_string(kept.join("sub/file")).unwrap(), "deep\n");
        let filled = fs::metadata(kept.join("fill")).unwrap().len();
        assert!((900_000..=1 << 20).contains(&filled), "{filled}");
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(scene.path("").to_str().unwrap()), "{mounts}");
}

#[test]
fn files_for_the_builder_are_in_a_limited_directory_too() {
    let scene = Scene::new();
    let script = "read -r line < $textPath; echo $line > $out; : > $textPath; [ -w $PWD ] && [ -O $PWD ]";
    let derivation = shell_derivation("passed", script)
        .replace(r#""env": {}"#, r#""env": { "passAsFile": "text", "text": "as a file\n" }"#);
    let file = scene.write("passed.json", derivation);
    let path = scene.ok(&["build", "--no-link", &file, "--option", "max-build-dir-size", "1M"]);
    assert_eq!(fs::read_to_string(scene.real(&path)).unwrap(), "as a file\n");
}

#[test]
fn a_build_directory_is_limited_in_a_sandbox_only() {
    let scene = Scene::new();
    let options = ["--option", "build-use-chroot", "false", "--option", "max-build-dir-size", "1M"];
    let run = build(&scene, "open", "echo x > $out", &options);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(run.stderr.contains("`max-build-dir-size`"), "{}", run.stderr);
}
