//! Builds of one call, one after the other, of which none leaves anything to the next.

use std::fs;

use crate::scene::Scene;

/// Leaves all it can in the store directory, and closes or opens that to others.
const LITTER: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int count, char **words) {
    chdir("/nix/store");
    mkdir("litter", 0700);
    close(open("litter/file", O_CREAT | O_WRONLY, 0));
    chmod("litter", 0);
    close(open(".hidden", O_CREAT | O_WRONLY, 0600));
    close(open("00000000000000000000000000000000-litter", O_CREAT | O_WRONLY, 0600));
    symlink("/etc", "11111111111111111111111111111111-link");
    mkfifo("22222222222222222222222222222222-fifo", 0600);
    rmdir(words[1]);
    unlink(words[1]);
    rename(words[1], "moved");
    close(open(getenv("out"), O_CREAT | O_WRONLY, 0600));
    return chmod(".", atoi(words[2]));
}
"#;

fn one(name: &str, script: &str, sources: &str, inputs: &str) -> String {
    format!(
        r#""/nix/store/00000000000000000000000000000000-{name}.drv": {{ "name": {name:?}, "system": "x86_64-linux",
             "builder": "/bin/sh", "args": ["-c", {script:?}], "env": {{}}, "inputSrcs": [{sources}],
             "inputDrvs": {{ {inputs} }}, "outputs": {{ "out": {{}} }} }}"#
    )
}

#[test]
fn what_a_build_leaves_in_the_store_directory_is_not_there_for_the_next() {
    let scene = Scene::new();
    let litter = scene.c_program("litter", LITTER);
    let (first, second) = (scene.write("first", "1"), scene.write("second", "2"));
    let [first, second] = [first, second].map(|file| scene.ok(&["add", &file]));
    let quoted = |path: &str| format!("{path:?}");
    let shown = format!("/dev /proc /litter={litter}");
    for mode in ["0", "511", "448"] {
        let littering = one("litters", &format!("/litter {first} {mode}"), &quoted(&first), "");
        let look =
            "cd /nix/store; ls=; for f in * .[!.]*; do ls=\"$ls ${f#*-}\"; done; echo $ls > $out; : MODE";
        let input = r#""/nix/store/00000000000000000000000000000000-litters.drv": ["out"]"#;
        let looking = one("looks", &look.replace("MODE", mode), &quoted(&second), input);
        let file = scene.write("both.json", format!("{{ {littering}, {looking} }}"));
        let path = scene.ok(&["build", "--no-link", "--option", "build-chroot-dirs", &shown, &file]);
        let seen = fs::read_to_string(scene.real(&path)).unwrap();
        let mut seen: Vec<&str> = seen.split_whitespace().collect();
        seen.sort_unstable();
        assert_eq!(seen, [".[!.]*", "litters", "second"], "{mode}");
    }
    scene.ok(&["verify", "--contents"]);
    let left = fs::read_dir(scene.root().join("nix/store")).unwrap().flatten();
    let left: Vec<_> =
        left.filter(|entry| entry.path().extension().is_some_and(|end| end == "chroot")).collect();
    assert!(left.is_empty(), "{left:?}");
}
