//! Kernels, and containers, without the calls that mount by descriptor: builds see the same, made in the older way.

use std::fs;
use std::process::Command;

use crate::processes::mounts_below;
use crate::scene::{Run, Scene, derivation, isolations, shell_derivation, text};

/// Runs its arguments where `open_tree`, `move_mount`, `fsopen` and their kin, and `mount_setattr`, fail with the error
/// that the first word says; where they are unknown, `close_range` is, too.
const OLD: &str = r#"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int count, char **words) {
    int error = atoi(words[1]);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 442, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, error == 1 ? 442 : 436, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 428, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 434, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 1;
    execv(words[2], words + 2);
    return 1;
}
"#;

fn run(scene: &Scene, error: &str, arguments: &[&str]) -> Run {
    let store = scene.command(arguments);
    let mut command = Command::new(scene.c_program("old", OLD));
    command.arg(error).arg(store.get_program()).args(store.get_args()).current_dir(scene.path(""));
    command.env_clear().envs(store.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.output().unwrap().into()
}

/// What a build sees of its mounts, and which of them it can write to.
const LOOK: &str = "while read -r a b c d target options rest; do echo $target ${options%%,*}; done < /proc/self/mountinfo; \
    for f in INPUT /proc/sys/kernel/hostname /etc/passwd /shown/file /shown/sub/file /dev/null /x; do \
    (: >> $f) 2> /dev/null && echo $f can be written; done; echo";

#[test]
fn mounts_are_the_same_where_they_cannot_be_made_by_descriptor() {
    for isolation in isolations() {
        let scene = Scene::new();
        let source = scene.write("source", "of the host");
        let input = scene.ok(&["add", &source]);
        let shown = scene.path("shown");
        fs::create_dir_all(shown.join("sub")).unwrap();
        fs::write(shown.join("file"), "").unwrap();
        fs::write(shown.join("sub/file"), "").unwrap();
        let inputs = format!(r#""inputSrcs": [{input:?}]"#);
        let entries = format!("/dev /proc /shown={}", text(&shown));
        let build = |name: &str, error: Option<&str>| {
            let script = format!("({}) > $out", LOOK.replace("INPUT", &input));
            let json = shell_derivation(name, &script).replace(r#""inputSrcs": []"#, &inputs);
            let file = scene.write(&format!("{name}.json"), json);
            let arguments = ["build", "--no-link", "--option", "build-isolation", isolation];
            let arguments = [&arguments[..], &["--option", "build-chroot-dirs", &entries, &file]].concat();
            let run = match error {
                Some(error) => self::run(&scene, error, &arguments),
                None => scene.run(&arguments),
            };
            assert_eq!(run.code, Some(0), "{isolation} {error:?}: {}", run.stderr);
            let seen = fs::read_to_string(scene.real(run.stdout.trim())).unwrap();
            // Under chroot they are those of the host, other tests' too.
            let own = |line: &&str| *isolation == "namespaces" || line.ends_with("written");
            let mut lines: Vec<String> = seen.lines().filter(own).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let usual = build("usual", None);
        assert!(usual.contains(&"/dev/null can be written".to_owned()), "{usual:?}");
        assert_eq!(usual.iter().filter(|line| line.ends_with("written")).count(), 1, "{usual:?}");
        // ENOSYS, and what containers say.
        assert_eq!(build("unknown", Some("38")), usual, "{isolation}");
        assert_eq!(build("forbidden", Some("1")), usual, "{isolation}");
        assert_eq!(mounts_below(&scene), [""; 0]);
        assert_eq!(fs::read_to_string(scene.real(&input)).unwrap(), "of the host");
    }
}

#[test]
fn a_build_directory_in_memory_needs_a_newer_kernel() {
    let scene = Scene::new();
    let arguments = ["build", "--no-link", "--option", "max-build-dir-size", "1M", &derivation("hello")];
    let run = run(&scene, "38", &arguments);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(
        run.stderr.contains("file system in memory at `/tmp`")
            && run.stderr.contains("Function not implemented"),
        "{}",
        run.stderr
    );
}
