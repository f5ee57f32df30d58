//! The job server that builds share on request, seen from inside builds.

use std::thread::available_parallelism;

use serde_json::Value;

use crate::scene::{Scene, isolations, say, shell_derivation};

/// Opens the fifo that `MAKEFLAGS` names; `count` tells how many tokens there are, and gives them back; `take` keeps them;
/// `call` and `answer` find each other through it.
const PROBE: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int in, out;
static int has(char wanted) {
    char token, found = 0;
    while (read(in, &token, 1) == 1) if (token == wanted) found = 1;
    return found;
}
int main(int count, char **words) {
    const char *start = "--jobserver-auth=fifo:", *flags = getenv("MAKEFLAGS");
    if (!flags || strncmp(flags, start, strlen(start))) { puts("no job server"); return 1; }
    const char *path = flags + strlen(start);
    in = open(path, O_RDONLY | O_NONBLOCK), out = open(path, O_WRONLY | O_NONBLOCK);
    if (in < 0 || out < 0) { perror(path); return 1; }
    if (!strcmp(words[1], "count") || !strcmp(words[1], "take")) {
        char token;
        int tokens = 0;
        while (read(in, &token, 1) == 1) tokens++;
        for (int i = 0; i < tokens && words[1][0] == 'c'; i++) if (write(out, &token, 1) != 1) return 1;
        printf("tokens %d\n", tokens);
        return 0;
    }
    int is_call = !strcmp(words[1], "call");
    for (int i = 0; i < 3000; i++) {
        if (is_call && write(out, "c", 1) != 1) return 1;
        usleep(10000);
        if (!has(is_call ? 'a' : 'c')) continue;
        for (int j = 0; j < 100 && !is_call; j++, usleep(10000)) if (write(out, "a", 1) != 1) return 1;
        return 0;
    }
    puts("nobody is there");
    return 1;
}
"#;

struct Probe {
    scene: Scene,
    dirs: String,
}

impl Probe {
    fn new() -> Self {
        let scene = Scene::new();
        let probe = scene.c_program("probe", PROBE);
        Self { dirs: format!("/dev /proc /probe={probe}"), scene }
    }

    fn file(&self, name: &str, script: &str) -> String {
        self.scene.write(&format!("{name}.json"), shell_derivation(name, script))
    }

    /// Builds files with the job server; returns the exit code and what was said.
    fn build(&self, files: &[&str], options: &[&str]) -> (Option<i32>, String, String) {
        let fixed = ["build", "--no-link", "-L", "--option", "build-chroot-dirs", &self.dirs];
        let on = ["--option", "build-job-server", "true"];
        let run = self.scene.run(&[&fixed, &on[..], options, files].concat());
        (run.code, run.stdout.trim().to_owned(), run.stderr)
    }
}

/// Processors that one builder does not have anyway.
fn tokens() -> usize {
    let tokens = available_parallelism().unwrap().get() - 1;
    if tokens == 0 {
        say("skipped in part: with one processor there are no tokens");
    }
    tokens
}

#[test]
fn there_is_none_unless_somebody_asks() {
    let scene = Scene::new();
    let script = "echo \"flags $MAKEFLAGS\" > $out; for file in /*; do echo $file >> $out; done";
    let seen = scene.script(script, &[]);
    assert!(seen.starts_with("flags \n") && !seen.contains("job"), "{seen}");
}

#[test]
fn on_request_there_is_a_token_for_each_further_processor() {
    let probe = Probe::new();
    for isolation in isolations() {
        let file = probe.file(isolation, &format!("/probe count && echo $MAKEFLAGS {isolation} > $out"));
        let (code, path, said) = probe.build(&[&file], &["--option", "build-isolation", isolation]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("> tokens {}\n", tokens())), "{said}");
        let written = std::fs::read_to_string(probe.scene.real(&path)).unwrap();
        assert_eq!(written, format!("--jobserver-auth=fifo:/job-server {isolation}\n"));
        let info: Value = serde_json::from_str(&probe.scene.ok(&["path-info", "--json", &path])).unwrap();
        assert_eq!(info[0]["isolation"]["state"], "less");
        assert_eq!(info[0]["isolation"]["jobServer"], true);
        let about = probe.scene.ok(&["log", "--about", &path]);
        assert!(about.contains("it shared a job server with the builds beside it"), "{about}");
    }
    let file = probe.file("visit", "exit 1");
    let visit = ["sandbox", "run", &file, "--option", "build-chroot-dirs", &probe.dirs];
    let said =
        probe
            .scene
            .ok(&[&visit[..], &["--option", "build-job-server", "true", "--", "/probe", "count"]].concat());
    assert_eq!(said, format!("tokens {}", tokens()), "as a builder would see it");
    let own = shell_derivation("own", "echo $MAKEFLAGS > $out")
        .replace(r#""env": {}"#, r#""env": { "MAKEFLAGS": "-k" }"#);
    let file = probe.scene.write("own.json", own);
    let (_, path, said) = probe.build(&[&file], &[]);
    assert_eq!(std::fs::read_to_string(probe.scene.real(&path)).unwrap(), "-k\n", "its own: {said}");
}

#[test]
fn tokens_of_a_killed_builder_come_back() {
    let probe = Probe::new();
    let takes = probe.file("a-takes", "/probe take && while :; do :; done");
    let counts = probe.file("b-counts", "/probe count > $out && /probe count");
    let options = ["--timeout", "2", "--keep-going", "-j", "1"];
    let (code, _, said) = probe.build(&[&takes, &counts], &options);
    assert_eq!(code, Some(101), "{said}");
    for name in ["a-takes", "b-counts"] {
        assert!(said.contains(&format!("{name}> tokens {}\n", tokens())), "{said}");
    }
}

#[test]
fn builds_at_the_same_time_share_it_and_it_goes_with_them() {
    let probe = Probe::new();
    let calls = probe.file("calls", "/probe call && echo > $out");
    let answers = probe.file("answers", "/probe answer && echo > $out");
    let (code, _, said) = probe.build(&[&calls, &answers], &["-j", "2"]);
    assert_eq!(code, Some(0), "{said}");
    let builds = std::fs::read_dir(probe.scene.root().join("nix/var/nix/builds")).unwrap();
    assert_eq!(builds.count(), 0, "the fifo is gone");
}
