//! `store build --explain`: what a build looked for and did not find.

use std::fs;
use std::path::Path;

use crate::processes::{Running, SOON, children, kill, processes, within};
use crate::scene::{Scene, derivation, is_root, isolations, say, shell_derivation};

/// Makes the lookups that shells do not make.
const LOOKUPS: &str = include_str!("../fixtures/cli/lookups.c");

/// A program that every machine has, and no build that was not given it.
const ENV: &str = "/usr/bin/env";

/// Returns what shows builds the program as `/lookups`.
fn lookups(scene: &Scene) -> String {
    format!("/dev /proc /lookups={}", scene.c_program("lookups", LOOKUPS))
}

/// Fails to build a script that has that program, and returns what was said.
fn failing(scene: &Scene, script: &str, options: &[&str]) -> String {
    let file = scene.write("script.json", shell_derivation("script", &format!("{script}; exit 1")));
    let shown = lookups(scene);
    let arguments = ["build", "--no-link", "--explain", &file, "--option", "build-chroot-dirs", &shown];
    scene.fails(100, &[&arguments, options].concat())
}

/// Returns the lines that name findings.
fn findings(said: &str) -> Vec<&str> {
    said.lines().filter_map(|line| line.strip_prefix("  - ")).collect()
}

#[test]
fn a_failure_says_what_was_looked_for_by_whom_and_what_to_add() {
    let said = failing(&Scene::new(), "/usr/bin/env true", &[]);
    let wanted = format!(
        "  what it looked for and did not find in its sandbox:\n  \
         - the program `{ENV}`, asked for by `sh`\n  \
         add inputs that have these; or show builds those of this machine: \
         --option extra-build-chroot-dirs {ENV}\n"
    );
    assert!(said.ends_with(&wanted), "{said}");
    assert!(!said.contains("what it lacked:"), "{said}");
}

#[test]
fn what_was_added_is_not_missed_any_more() {
    let scene = Scene::new();
    let said = failing(&scene, "/usr/bin/env true", &["--option", "extra-build-chroot-dirs", ENV]);
    assert_eq!(findings(&said), [""; 0], "{said}");
    assert!(said.contains("looked in vain for nothing"), "{said}");
}

#[test]
fn every_isolation_is_observed_and_so_is_who_has_no_filter() {
    let mut ways = vec![["filter-syscalls", "false"], ["nested-user-namespaces", "true"]];
    if is_root() {
        ways.push(["build-isolation", "chroot"]);
    } else {
        say("isolation by chroot is tried as root only");
    }
    for [setting, value] in ways {
        let said = failing(&Scene::new(), "/usr/bin/env true", &["--option", setting, value]);
        assert_eq!(findings(&said), [format!("the program `{ENV}`, asked for by `sh`")], "{setting}: {said}");
    }
}

/// The kernel takes no filter from who may gain privileges and has none; that is no reason not to build.
#[test]
fn a_build_that_cannot_be_observed_is_built_and_that_is_told() {
    let scene = Scene::new();
    let file = scene.write("x.json", shell_derivation("x", "/usr/bin/env; echo > $out"));
    let options = ["--option", "allow-new-privileges", "true", "--option", "filter-syscalls", "false"];
    let run = scene.run(&[&["build", "--no-link", "--explain", &file], &options[..]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("cannot observe what is looked for"), "{}", run.stderr);
    assert!(!run.stderr.contains("it was observed") && findings(&run.stderr).is_empty(), "{}", run.stderr);
}

#[test]
fn without_isolation_there_is_nothing_to_miss() {
    let scene = Scene::new();
    let said = failing(&scene, "/usr/bin/env true", &["--option", "build-use-chroot", "false"]);
    assert!(!said.contains("looked"), "{said}");
}

#[test]
fn a_builder_whose_interpreter_is_missing_is_explained() {
    let scene = Scene::new();
    let script = scene.write("configure", "#!/usr/bin/env sh\n");
    std::process::Command::new("chmod").args(["+x", &script]).status().unwrap();
    let builder = scene.ok(&["add", &script]);
    let json = format!(
        r#"{{ "name": "x", "system": "x86_64-linux", "builder": "{builder}", "args": [], "env": {{}},
             "inputSrcs": ["{builder}"], "inputDrvs": {{}}, "outputs": {{ "out": {{}} }} }}"#
    );
    let said = scene.fails(100, &["build", "--no-link", "--explain", &scene.write("x.json", json)]);
    let wanted = format!("`{ENV}`, without which `{builder}` cannot run, asked for by the builder");
    assert_eq!(findings(&said), [wanted], "{said}");
}

#[test]
fn so_is_a_script_that_a_build_runs() {
    let script = "echo '#!/usr/bin/env sh' > configure; chmod +x configure && echo made; ./configure";
    let said = failing(&Scene::new(), script, &[]);
    if !said.contains("> made") {
        say("skipped: the shell of builds on this machine has no `chmod`");
        return;
    }
    assert!(findings(&said)[0].starts_with(&format!("`{ENV}`, without which `/build/configure`")), "{said}");
}

#[test]
fn files_that_programs_open_are_told_by_what_they_are() {
    let header = "/usr/include/stdio.h";
    if !Path::new(header).exists() || !Path::new("/etc/ssl").is_dir() {
        say("skipped: no C headers, or no `/etc/ssl`, on this machine");
        return;
    }
    let script =
        format!("/lookups open /etc/ssl /etc/ld.so.cache /usr/include /usr/lib /no/such/file {header}");
    let said = failing(&Scene::new(), &script, &[]);
    assert_eq!(
        findings(&said),
        [
            format!("the header `{header}`, asked for by `lookups`"),
            "the directory `/etc/ssl`, asked for by `lookups`".to_owned()
        ],
        "{said}"
    );
}

/// Compilers ask for a directory once, and for no file in it if it is not there.
#[test]
fn a_header_is_told_although_its_directory_was_given_up() {
    let header = "/usr/include/stdio.h";
    if !Path::new(header).exists() {
        say("skipped: no C headers on this machine");
        return;
    }
    let script = "/lookups open /include /usr/include; /lookups open /no/include/stdio.h /no/include/no.h";
    let said = failing(&Scene::new(), script, &[]);
    assert_eq!(findings(&said), [format!("the header `{header}`, asked for by `lookups`")], "{said}");
}

#[test]
fn a_search_that_comes_to_something_is_no_finding() {
    let scene = Scene::new();
    let tools = format!("/tools/env={ENV}");
    let options = ["--option", "extra-build-chroot-dirs", &tools];
    let said =
        failing(&scene, "PATH=/usr/local/bin:/usr/bin:/tools; env env > /dev/null && echo found", &options);
    assert!(said.contains("> found"), "{said}");
    assert_eq!(findings(&said), [""; 0], "{said}");
    // The same, by a program that opens one after the other.
    let said = failing(&scene, "/lookups open /usr/bin/env /tools/env", &options);
    assert_eq!(findings(&said), [""; 0], "{said}");
    let said = failing(&scene, "/lookups open /tools/env /usr/bin/env", &options);
    assert_eq!(findings(&said).len(), 1, "{said}");
}

#[test]
fn store_paths_that_are_no_inputs_are_told_valid_or_not() {
    let scene = Scene::new();
    let valid = scene.ok(&["add", &scene.write("data", "data")]);
    let absent = "/nix/store/00000000000000000000000000000007-absent";
    let input = scene.ok(&["add", &scene.write("input", "input")]);
    let script = format!("read x < {valid}; /lookups open {absent}/a {absent}/b $out {input}/below; exit 1");
    let json =
        shell_derivation("x", &script).replace(r#""inputSrcs": []"#, &format!(r#""inputSrcs": ["{input}"]"#));
    let (file, shown) = (scene.write("x.json", json), lookups(&scene));
    let options = ["--explain", "--option", "build-chroot-dirs", &shown];
    let said = scene.fails(100, &[&["build", "--no-link", &file], &options[..]].concat());
    assert_eq!(
        findings(&said),
        [
            format!("`{absent}/a` and another one, asked for by `lookups`"),
            format!("`{valid}`, asked for by `sh`")
        ],
        "{said}"
    );
    assert!(said.contains(&format!("valid in this store: add `{valid}` to the inputs")), "{said}");
    assert!(said.contains(&format!("`{absent}` is not valid in this store")), "{said}");
}

#[test]
fn networks_are_told_by_address_and_name() {
    let said = failing(&Scene::new(), "/lookups network", &[]);
    let found = findings(&said);
    for wanted in [
        "the network: a connection to 192.0.2.1:443, asked for by `lookups`",
        "the network: a connection to [2001:db8::1]:80, asked for by `lookups`",
        "the network: the address of `cache.example`, asked for by `lookups`",
        "a connection to `/usr/bin/env`, asked for by `lookups`",
    ] {
        assert!(found.contains(&wanted), "{wanted}: {said}");
    }
    assert_eq!(found.len(), 4, "{said}");
    assert!(said.contains("promised hash"), "{said}");
}

#[test]
fn the_command_that_explains_is_told_and_works() {
    let scene = Scene::new();
    let file = scene.write("x.json", shell_derivation("x", "/usr/bin/env; exit 1"));
    let said = scene.fails(100, &["build", "--no-link", &file]);
    let command = said.lines().find_map(|line| line.strip_prefix("  what it lacked: store ")).unwrap();
    let said = scene.elsewhere().args(command.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(findings(&said), [format!("the program `{ENV}`, asked for by `sh`")], "{said}");
}

#[test]
fn a_failed_build_is_run_once_more_for_it_and_another_one_is_not() {
    let scene = Scene::new();
    let failing = scene.write("x.json", shell_derivation("x", "echo a turn; /usr/bin/env; exit 1"));
    let said = scene.fails(100, &["build", "--no-link", "--explain=retry", "-L", "--keep-failed", &failing]);
    assert_eq!(said.lines().filter(|line| *line == "x> a turn").count(), 2, "{said}");
    assert!(said.contains("running it once more, observed"), "{said}");
    assert_eq!(findings(&said), [format!("the program `{ENV}`, asked for by `sh`")], "{said}");
    assert_eq!(said.matches("is kept in").count(), 1, "{said}");
    let good = scene.write("y.json", shell_derivation("y", "echo a turn; /usr/bin/env; echo > $out"));
    let run = scene.run(&["build", "--no-link", "--explain=retry", "-L", &good]);
    assert_eq!((run.code, run.stderr.matches("y> a turn").count()), (Some(0), 1), "{}", run.stderr);
    assert_eq!(findings(&run.stderr), [""; 0], "{}", run.stderr);
}

#[test]
fn a_build_that_succeeds_is_explained_too_when_all_are() {
    let scene = Scene::new();
    let file = scene.write("x.json", shell_derivation("x", "/usr/bin/env; echo > $out"));
    let run = scene.run(&["build", "--no-link", "--option", "explain", "always", &file]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(findings(&run.stderr), [format!("the program `{ENV}`, asked for by `sh`")], "{}", run.stderr);
}

#[test]
fn builds_at_the_same_time_are_told_apart() {
    let scene = Scene::new();
    let one = |name: &str, program: &str| {
        scene.write(&format!("{name}.json"), shell_derivation(name, &format!("{program}; echo > $out")))
    };
    let (env, other) = (one("env", ENV), one("kill", "/usr/bin/kill 2>/dev/null"));
    let run = scene.run(&["build", "--no-link", "--explain", "--max-jobs", "2", &env, &other]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let mut found = findings(&run.stderr);
    found.sort_unstable();
    let wanted =
        ["/usr/bin/env", "/usr/bin/kill"].map(|path| format!("the program `{path}`, asked for by `sh`"));
    if !Path::new("/usr/bin/kill").exists() {
        say("told apart from a build that lacks nothing: no `/usr/bin/kill` on this machine");
        assert_eq!(found, wanted[..1], "{}", run.stderr);
        return;
    }
    assert_eq!(found, wanted, "{}", run.stderr);
}

/// Everything that a build can see of itself, but for what has to differ.
const LOOK: &str = "{ echo /proc/self/fd/*; set; umask; ulimit -a;
    while read -r name value; do case $name in
        Seccomp_filters:|*ctxt_switches:|Vm*|Rss*|Pid:|Tgid:|NSpid:|NStgid:|NSpgid:) ;;
        *) echo $name $value;; esac; done < /proc/self/status
    while read -r line; do echo $line; done < /proc/self/mounts; echo /*; echo /dev/*; } > $out";

#[test]
fn a_build_makes_the_same_observed_or_not_and_sees_no_observer() {
    let scene = Scene::new();
    let file = scene.write("look.json", shell_derivation("look", LOOK));
    let told = |arguments: &[&str]| {
        let path = scene.ok(&[&["build", "--no-link", &file], arguments].concat());
        let text = fs::read_to_string(scene.real(&path)).unwrap();
        scene.ok(&["delete", &path]);
        (path, text)
    };
    let (path, text) = told(&[]);
    assert!(text.contains("Seccomp: 2") && text.lines().count() > 30, "{text}");
    assert_eq!(told(&["--explain"]), (path, text));
}

#[test]
fn real_derivations_have_the_same_hash_observed_or_not() {
    let hash = |options: &[&str]| {
        let scene = Scene::new();
        let file = derivation("hello");
        let paths = scene.ok(&[&["build", "--no-link", &file], options].concat());
        let hashes =
            paths.lines().map(|path| scene.ok(&["hash", "path", scene.real(path).to_str().unwrap()]));
        (paths.clone(), hashes.collect::<Vec<_>>())
    };
    assert_eq!(hash(&[]), hash(&["--explain"]));
}

#[test]
fn odd_paths_are_no_trouble_and_steer_no_terminal() {
    let said = failing(&Scene::new(), "/lookups odd && echo went well", &[]);
    assert!(said.contains("> went well"), "{said}");
    assert!(!said.contains('\x1b'), "{said}");
    let found = findings(&said);
    assert!(found.iter().any(|found| found.contains("-odd/")), "{said}");
    assert!(found.contains(&"the program `/usr/bin/env`, asked for by `lookups`"), "{said}");
    assert!(!said.contains("could not be followed"), "{said}");
}

#[test]
fn processes_may_die_while_they_ask() {
    let said = failing(&Scene::new(), "/lookups dying && echo went well", &[]);
    assert!(said.contains("> went well"), "{said}");
    assert!(said.contains("-dying`"), "{said}");
}

#[test]
fn a_build_may_look_for_thousands_of_files() {
    let said = failing(&Scene::new(), "/lookups many && echo went well; /usr/bin/env", &[]);
    assert!(said.contains("> went well"), "{said}");
    assert_eq!(findings(&said), [format!("the program `{ENV}`, asked for by `sh`")], "{said}");
}

#[test]
fn calls_for_32_bit_code_are_heard_and_so_are_relative_paths() {
    let said = failing(&Scene::new(), "/lookups relative", &[]);
    assert_eq!(findings(&said), [format!("the program `{ENV}`, asked for by `lookups`")], "{said}");
    let said = failing(&Scene::new(), "/lookups narrow", &[]);
    if !said.contains("> 2\n") {
        say("skipped: this kernel runs no 32-bit code");
        return;
    }
    assert_eq!(findings(&said), [format!("the program `{ENV}`, asked for by `lookups`")], "{said}");
}

/// The one thing that a build can tell, and a builder that listens to calls of its own is rare.
#[test]
fn a_build_cannot_listen_to_its_own_calls_while_it_is_observed() {
    let scene = Scene::new();
    assert!(failing(&scene, "/lookups listen", &[]).contains("> busy"));
    let shown = lookups(&scene);
    assert_eq!(
        scene.script("/lookups listen > $out", &["--option", "build-chroot-dirs", &shown]),
        "listens\n"
    );
}

/// A build that asks for files for ever.
struct Asking<'a> {
    scene: &'a Scene,
    word: String,
    running: Running<'a>,
}

impl<'a> Asking<'a> {
    fn start(scene: &'a Scene, purpose: &str, isolation: &str) -> Self {
        let word = format!("asking-{purpose}-{}", std::process::id());
        let file =
            scene.write("asking.json", shell_derivation("asking", &format!("/lookups ask {word} & wait")));
        let shown = lookups(scene);
        let options = ["--option", "build-chroot-dirs", &shown, "--option", "build-isolation", isolation];
        let running =
            Running::start(scene, &[&["build", "--no-link", "--explain", &file], &options[..]].concat());
        assert!(within(SOON, || processes(&word).len() == 2), "the build does not start");
        Self { scene, word, running }
    }

    fn launcher(&self) -> u32 {
        children(self.running.id())[0]
    }

    fn observer(&self) -> u32 {
        let is_observer = |child: &u32| {
            fs::read(format!("/proc/{child}/comm")).is_ok_and(|name| name == b"store-observer\n")
        };
        children(self.launcher()).into_iter().find(is_observer).unwrap()
    }

    fn assert_gone(&self, observer: u32) {
        let is_there = || Path::new(&format!("/proc/{observer}")).exists();
        let gone = || processes(&self.word).is_empty() && !is_there();
        assert!(within(SOON, gone), "{:?}, observer {}", processes(&self.word), is_there());
        self.scene.ok(&["verify"]);
    }
}

#[test]
fn a_build_whose_observer_is_killed_fails_for_that_reason() {
    for isolation in isolations() {
        let scene = Scene::new();
        let mut build = Asking::start(&scene, "observer", isolation);
        let observer = build.observer();
        kill(&[observer]);
        let run = build.running.wait();
        assert_eq!(run.code, Some(100), "{}", run.stderr);
        assert!(run.stderr.contains("without its observer, which was killed"), "{}", run.stderr);
        build.assert_gone(observer);
    }
}

#[test]
fn nothing_of_an_observed_build_outlives_store_or_the_launcher() {
    for isolation in isolations() {
        let scene = Scene::new();
        let mut build = Asking::start(&scene, "store", isolation);
        let observer = build.observer();
        build.running.kill_all(&[]);
        build.assert_gone(observer);
        let mut build = Asking::start(&scene, "launcher", isolation);
        let observer = build.observer();
        kill(&[build.launcher()]);
        assert_eq!(build.running.wait().code, Some(100));
        build.assert_gone(observer);
        let mut build = Asking::start(&scene, "all", isolation);
        let (launcher, observer) = (build.launcher(), build.observer());
        build.running.kill_all(&[launcher, observer]);
        build.assert_gone(observer);
    }
}

#[test]
fn a_value_that_is_none_is_refused() {
    let said = Scene::new().fails(2, &["build", "--explain=sometimes", &derivation("hello")]);
    assert!(said.contains("`always`, `retry` or `never`"), "{said}");
}
