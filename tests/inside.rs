//! Stepping into sandboxes: before a build, and after one that has failed.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use test_support::{Random, fixture};

use crate::failures::{FAILING_INPUT, check};
use crate::person::{Person, inside};
use crate::processes::{SOON, descendants, mounts_below, within};
use crate::scene::{Run, Scene, derivation, is_root, isolations, say, shell_derivation, text};

/// A derivation whose builder leaves something everywhere and fails.
fn failing(scene: &Scene) -> String {
    let script =
        "echo partial > $out; echo built > /build/file; echo temporary > /tmp/file; echo log; exit 3";
    scene.write("failing.json", shell_derivation("failing", script))
}

/// A derivation of `/bin/sh`, whatever that is here.
fn any(scene: &Scene) -> String {
    scene.write("any.json", shell_derivation("any", "exit 1"))
}

/// What is in the directories in which sandboxes are made.
fn left(scene: &Scene) -> Vec<String> {
    let mut names = Vec::new();
    for directory in ["nix/store", "nix/var/nix/builds"] {
        let entries = fs::read_dir(scene.root().join(directory)).unwrap().flatten();
        names.extend(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    names.retain(|name| !name.ends_with(".drv") && name != ".links");
    names
}

fn run_with_input(scene: &Scene, arguments: &[&str], input: &[u8]) -> std::process::Output {
    let mut command = scene.command(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A program that does not read it all is no mistake.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

#[test]
fn a_plan_is_shown_and_nothing_is_made() {
    let scene = Scene::new();
    scene.ok(&["derivation", "add", &derivation("hello")]);
    let before = left(&scene);
    let options = ["--option", "sandbox-shell", "none", "--option", "cores", "3"];
    let file = derivation("diamond") + "^out";
    let mut run = scene.run(&[&["sandbox", "show", &file], &options[..]].concat());
    // Root gives builders a user of their own, whose numbers are this machine's; some ordinary users can, too.
    let who = run.stdout.lines().find(|line| line.starts_with("identity")).unwrap().to_owned();
    let may_be_caller = who.ends_with("as the caller") || who.ends_with("of the caller if possible");
    assert_eq!(may_be_caller, !is_root(), "{who}");
    run.stdout = run.stdout.replace(&who, "identity 1000:100 as [USER]");
    run.stdout = run
        .stdout
        .lines()
        .filter(|line| !line.contains("/dev/kvm"))
        .map(|line| format!("{line}\n"))
        .collect();
    check(&scene, "sandbox-show", &run);
    assert_eq!(left(&scene), before);
}

#[test]
fn a_plan_is_shown_as_data() {
    let scene = Scene::new();
    let limits = ["--option", "max-build-dir-size", "1M"];
    let file = derivation("diamond");
    let shown = scene.ok(&[&["--json", "sandbox", "show", &file], &limits[..]].concat());
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let lines = scene.ok(&[&["sandbox", "show", &file], &limits[..]].concat());
    let absent = lines.lines().filter(|line| line.starts_with("# not in the store")).count();
    assert_eq!(shown["absent"].as_array().unwrap().len(), absent);
    assert!(shown["derivation"].as_str().unwrap().ends_with("-top.drv"), "{shown}");
    let plan = &shown["plan"];
    let names: Vec<&String> = plan.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "isolation",
            "lacks",
            "network",
            "identity",
            "limits",
            "filter",
            "new-privileges",
            "operations",
            "program"
        ]
    );
    assert_eq!(plan["isolation"]["scheme"], "namespaces");
    assert_eq!(plan["network"], "loopback");
    assert_eq!(plan["identity"]["outer"].is_null(), !is_root());
    // In the plan for people an operation is one line, between those about the whole and the program.
    let operations = plan["operations"].as_array().unwrap();
    let of_people = lines.lines().skip_while(|line| !line.starts_with("filter")).skip(1);
    let of_people: Vec<&str> = of_people.take_while(|line| !line.starts_with("exec")).collect();
    assert_eq!(operations.len(), of_people.len());
    let memory = operations.iter().find(|one| one["op"] == "memory" && one["target"] == "/build").unwrap();
    assert_eq!(memory["bytes"], 1 << 20);
    assert_eq!(plan["program"]["path"], "/bin/sh");
    let out = plan["program"]["environment"].as_array().unwrap().iter().find(|one| one["name"] == "out");
    assert!(out.unwrap()["value"].as_str().unwrap().ends_with("-top"), "{shown}");
}

#[test]
fn a_command_has_the_streams_of_whoever_calls() {
    let scene = Scene::new();
    let file = any(&scene);
    for isolation in isolations() {
        let script = "read word; echo got $word; echo wrong >&2; echo > $out; exit 7";
        let arguments = [
            "--option",
            "build-isolation",
            isolation,
            "--quiet",
            "sandbox",
            "run",
            &file,
            "--",
            "/bin/sh",
            "-c",
            script,
        ];
        let output = run_with_input(&scene, &arguments, b"this\n");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "got this\n");
        assert!(String::from_utf8_lossy(&output.stderr).ends_with("wrong\n"), "{output:?}");
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(left(&scene), [""; 0], "what was made is thrown away");
        assert!(mounts_below(&scene).is_empty());
    }
}

#[test]
fn a_signal_that_kills_a_command_shows() {
    let scene = Scene::new();
    // The first process of a namespace is deaf to its own signals; this one comes from the kernel.
    let script = "ulimit -t 1; while :; do :; done";
    let run = scene.run(&["sandbox", "run", &any(&scene), "--", "/bin/sh", "-c", script]);
    assert!(matches!(run.code, Some(137 | 152)), "{:?} {}", run.code, run.stderr);
}

#[test]
fn every_byte_passes_both_ways() {
    let scene = Scene::new();
    let mut random = Random::seeded(7);
    let bytes: Vec<u8> = random.bytes(10 << 20);
    let options = inside(&scene);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let file = any(&scene);
    let arguments = [&options[..], &["sandbox", "run", &file, "--", "/inside", "cat"]].concat();
    let output = run_with_input(&scene, &arguments, &bytes);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == bytes, "{} of {} bytes", output.stdout.len(), bytes.len());
}

#[test]
fn a_reader_that_leaves_ends_a_command() {
    let scene = Scene::new();
    let store =
        scene.command(&["sandbox", "run", &any(&scene), "--", "/bin/sh", "-c", "while echo y; do :; done"]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "\"$@\" | head -n 1", "sh"]).arg(store.get_program()).args(store.get_args());
    let run: Run = shell.env("HOME", scene.path("home")).output().unwrap().into();
    assert_eq!(run.stdout, "y\n");
}

#[test]
fn whoever_steps_in_gets_what_the_builder_gets() {
    let scene = Scene::new();
    let source = fs::read_to_string(fixture("programs/dump.c")).unwrap();
    let source = source.replace("getenv(\"out\")", "argc > 1 ? argv[1] : getenv(\"out\")");
    let dump = scene.c_program("dump", &source);
    let file = scene.write(
        "dump.json",
        shell_derivation("dump", "").replace("/bin/sh", "/dump").replace("\"-c\", \"\"", ""),
    );
    let entries = format!("/dev /proc /dump={dump}");
    let shown = ["--option", "build-chroot-dirs", &entries];
    let built = scene.ok(&[&["build", "--no-link", &file], &shown[..]].concat());
    let built = fs::read_to_string(scene.real(&built)).unwrap();
    let arguments =
        [&["--quiet", "sandbox", "run", &file], &shown[..], &["--", "/dump", "/dev/stdout"]].concat();
    let by_pipes = scene.ok(&arguments);
    assert_eq!(without_streams(&by_pipes), without_streams(&built));
    let mut person = Person::with(&scene, &scene.command(&arguments));
    let at_terminal = person.sees("/proc/sysvipc/shm") + "/proc/sysvipc/shm" + &person.sees("\r\n");
    // Two lines that have to be another: one may speak to the terminal, and it is in the list of terminals.
    let differ = |dump: &str| {
        without_streams(dump).into_iter().filter(|line| !line.starts_with("terminal: ")).collect()
    };
    let terminal: Vec<String> =
        differ(&at_terminal.replace("\r\n", "\n").replace("\n0 20620 1000:100 device 136,0\n", "\n"));
    let builder: Vec<String> = differ(&built);
    assert_eq!(terminal, builder);
    assert_eq!(person.leaves().0, Some(0));
}

/// Takes from a dump what is about standard streams, and the name by which the program was called.
fn without_streams(dump: &str) -> Vec<String> {
    let sections = dump.trim().split("\n\n");
    let others = sections.filter(|one| !one.starts_with("# arguments") && !one.starts_with("# descriptors"));
    others.flat_map(str::lines).map(str::to_owned).collect()
}

#[test]
fn inputs_are_built_and_the_derivation_is_not() {
    let scene = Scene::new();
    let script = "for path in /nix/store/*; do echo $path; done";
    let seen = scene.ok(&["sandbox", "run", &derivation("diamond"), "--", "/bin/sh", "-c", script]);
    assert!(seen.contains("-left") && seen.contains("-right") && !seen.contains("-top"), "{seen}");
    assert!(left(&scene).iter().any(|name| name.ends_with("-left")));
    assert!(!left(&scene).iter().any(|name| name.ends_with("-top")));
}

#[test]
fn an_input_that_fails_is_told() {
    let scene = Scene::new();
    let file = scene.write("pair.json", FAILING_INPUT);
    check(&scene, "sandbox-without-inputs", &scene.run(&["sandbox", "enter", &file]));
}

#[test]
fn there_has_to_be_something_to_run() {
    let scene = Scene::new();
    let options = inside(&scene);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let file = any(&scene).replace("any.json", "none.json");
    fs::write(&file, shell_derivation("none", "").replace("/bin/sh", "/inside")).unwrap();
    let bare = [&options[..], &["--option", "sandbox-shell", "none"]].concat();
    let said = scene.fails(1, &[&bare[..], &["sandbox", "enter", &file]].concat());
    assert!(said.contains("`--option sandbox-shell PATH`"), "{said}");
    let said = scene.fails(1, &[&bare[..], &["sandbox", "run", &file, "--", "no-such-program"]].concat());
    assert!(said.contains("no `no-such-program`") && said.contains("`/path-not-set`"), "{said}");
    let said = scene.fails(1, &["--option", "build-use-chroot", "false", "sandbox", "enter", &any(&scene)]);
    assert!(said.contains("`build-use-chroot = false`"), "{said}");
    scene.fails(2, &["sandbox", "run", &file]);
    scene.fails(2, &["--json", "sandbox", "enter", &file]);
    // An input with a shell will do, and so will a builder that is one.
    fs::create_dir_all(scene.path("tools/bin")).unwrap();
    scene.copy_program(scene.path("inside"), "tools/bin/sh");
    let tools = scene.ok(&["add", "tools"]);
    let json = fs::read_to_string(&file).unwrap();
    let input = scene
        .write("input.json", json.replace("\"inputSrcs\": []", &format!("\"inputSrcs\": [\"{tools}\"]")));
    assert!(scene.ok(&[&bare[..], &["sandbox", "enter", &input]].concat()).contains("descriptor 2\n"));
    let shown = options[2].replace("/inside=", "/bash=");
    let of_builder = scene.write("bash.json", json.replace("/inside", "/bash"));
    let bare_bash = ["--option", "build-chroot-dirs", &shown, "--option", "sandbox-shell", "none"];
    assert!(
        scene.ok(&[&bare_bash[..], &["sandbox", "enter", &of_builder]].concat()).contains("descriptor 2\n")
    );
    // What is named is taken.
    let chosen = [&bare[..], &["sandbox", "enter", "--shell", "/inside", &file]].concat();
    assert!(scene.ok(&chosen).contains("descriptor 2\n"));
}

#[test]
fn a_command_is_found_where_the_builder_would_find_it() {
    let scene = Scene::new();
    let options = inside(&scene);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let json =
        shell_derivation("path", "exit 1").replace("\"env\": {}", r#""env": { "PATH": "/nowhere:/:/bin" }"#);
    let file = scene.write("path.json", json);
    let looked = scene.ok(&[&options[..], &["sandbox", "run", &file, "--", "inside"]].concat());
    assert!(looked.contains("descriptor 0\n"), "{looked}");
}

#[test]
fn a_shell_has_a_terminal_of_the_sandbox() {
    let scene = Scene::new();
    let options = inside(&scene);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let file = any(&scene);
    for isolation in isolations() {
        let arguments =
            [&options[..], &["--option", "build-isolation", isolation, "sandbox", "enter", &file]].concat();
        let mut person = Person::with(&scene, &scene.command(&arguments));
        let head = person.sees("what is made here is thrown away");
        assert!(head.contains("-any.drv") && head.contains("$out is /nix/store/"), "{head}");
        assert!(head.contains("to run the builder: /bin/sh -c 'exit 1'"), "{head}");
        person.types("/inside; echo end$((40 + 2))");
        let seen = person.sees("end42").replace('\r', "");
        let file_systems =
            seen.lines().filter_map(|line| line.split_once("terminal /dev/pts/0 file system "));
        let ours =
            fs::metadata("/dev/pts").map_or(0, |metadata| std::os::unix::fs::MetadataExt::dev(&metadata));
        let file_systems: Vec<&str> = file_systems.map(|(_, number)| number).collect();
        assert!(
            file_systems.len() >= 3 && file_systems.iter().all(|one| *one != format!("{ours:x}")),
            "{seen}"
        );
        assert!(seen.contains("inject: EPERM"), "{seen}");
        assert!(seen.contains("size 30 90") && seen.contains("session 1, front 1"), "{seen}");
        person.resizes(44, 120);
        person.types("/inside; echo end$((40 + 3))");
        // The news come as a signal, and the person may type faster.
        while !person.sees("end43").contains("size 44 120") {
            person.types("/inside; echo end$((40 + 3))");
        }
        person.types("exit 5");
        assert_eq!(person.leaves().0, Some(5));
        assert_eq!(left(&scene), [""; 0]);
        assert!(mounts_below(&scene).is_empty());
    }
}

#[test]
fn a_build_of_the_same_goes_on_beside_a_visit() {
    let scene = Scene::new();
    let file = scene.write("good.json", shell_derivation("good", "echo > $out"));
    let mut person = Person::with(&scene, &scene.command(&["sandbox", "enter", &file]));
    person.sees("thrown away");
    person.types("echo mine > $out; echo ready$((40 + 2))");
    person.sees("ready42");
    let built = scene.ok(&["build", "--no-link", &file]);
    assert_eq!(fs::read_to_string(scene.real(&built)).unwrap(), "\n");
    person.types("read x < $out; echo still $x; exit");
    person.sees("still mine");
    assert_eq!(person.leaves().0, Some(0));
    assert_eq!(fs::read_to_string(scene.real(&built)).unwrap(), "\n");
}

#[test]
fn without_a_private_dev_there_are_pipes_only() {
    let scene = Scene::new();
    let options = ["--option", "build-chroot-dirs", "-/dev", "sandbox", "run"];
    let file = any(&scene);
    let arguments = [&options[..], &[&file, "--", "/bin/sh", "-c", "echo in"]].concat();
    assert_eq!(scene.ok(&arguments), "in");
    let person = Person::with(&scene, &scene.command(&arguments));
    let (code, said) = person.leaves();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`/dev/ptmx`") && said.contains("`-/dev`"), "{said}");
}

#[test]
fn ctrl_c_goes_to_what_is_in_front() {
    let scene = Scene::new();
    let options = inside(&scene);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let file = any(&scene);
    let mut person =
        Person::with(&scene, &scene.command(&[&options[..], &["sandbox", "enter", &file]].concat()));
    person.sees("thrown away");
    // It waits for input that never comes, and says so when asked to.
    person.types("echo front$((40 + 2)); /inside cat; echo status$?");
    person.sees("front42");
    person.types("to cat");
    // Once from the echo of the terminal, once from the program.
    person.sees("to cat");
    person.sees("to cat");
    person.presses("\x03");
    // What is typed before the shell is back is thrown away with the line.
    person.sees("^C");
    person.sees("$ ");
    person.types("echo alive$((40 + 2)); exit 6");
    person.sees("alive42");
    assert_eq!(person.leaves().0, Some(6));
}

fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() & 1 << (signal as i32 - 1) != 0
}

#[test]
fn a_shell_ends_with_store_and_leaves_the_terminal_as_it_was() {
    let scene = Scene::new();
    let file = any(&scene);
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        if is_ignored(signal) {
            // A shell's `&` and `nohup` do that, and `store` keeps to it.
            say(&format!("skipped: {signal}, which the tests were started to ignore"));
            continue;
        }
        let mut person = Person::with(&scene, &scene.command(&["sandbox", "enter", &file]));
        person.sees("thrown away");
        person.types("echo ready$((40 + 2))");
        person.sees("ready42");
        assert!(person.is_raw());
        person.signals(signal);
        // It looks at the terminal, too.
        assert_eq!(person.leaves().0, Some(130), "{signal}");
        assert_eq!(left(&scene), [""; 0]);
    }
}

#[test]
fn nothing_runs_on_when_store_is_killed() {
    let scene = Scene::new();
    let file = any(&scene);
    let mut person = Person::with(&scene, &scene.command(&["sandbox", "enter", &file]));
    person.sees("thrown away");
    person.types("echo ready$((40 + 2))");
    person.sees("ready42");
    let started = descendants(person.id());
    assert!(started.len() >= 2, "a launcher and a shell: {started:?}");
    person.signals(Signal::SIGKILL);
    let is_over = || started.iter().all(|one| !fs::exists(format!("/proc/{one}/status")).unwrap());
    assert!(within(SOON, is_over));
    drop(person);
    // The next start clears away what is left on disk.
    scene.ok(&["sandbox", "run", &file, "--", "/bin/sh", "-c", ":"]);
    assert_eq!(left(&scene), [""; 0]);
}

#[test]
fn after_a_failure_a_shell_is_where_the_builder_was() {
    let scene = Scene::new();
    let file = failing(&scene);
    for isolation in isolations() {
        for size in ["0", "1M"] {
            let options = ["--option", "build-isolation", isolation, "--option", "max-build-dir-size", size];
            let build =
                [&["build", "--no-link", "--on-fail=shell", "--keep-failed", &file], &options[..]].concat();
            let mut person = Person::with(&scene, &scene.command(&build));
            let said = person.sees("thrown away");
            assert!(said.contains("it returned 3") && said.contains("> log"), "{said}");
            person.types("for f in $out /build/file /tmp/file; do read x < $f; echo \"<$x>\"; done; echo new > /build/new");
            for word in ["partial", "built", "temporary"] {
                person.sees(&format!("<{word}>"));
            }
            person.types("exit 9");
            let (code, said) = person.leaves();
            assert_eq!(code, Some(100), "it counts as failed: {said}");
            let (_, kept) = said.split_once("is kept in `").unwrap();
            let kept = kept.split_once('`').unwrap().0;
            assert_eq!(
                fs::read_to_string(format!("{kept}/new")).unwrap(),
                "new\n",
                "with what was made in it"
            );
            assert_eq!(left(&scene).len(), 1, "nothing else is left: {:?}", left(&scene));
            assert!(mounts_below(&scene).is_empty());
            fs::remove_dir_all(std::path::Path::new(kept).parent().unwrap()).unwrap();
        }
    }
}

#[test]
fn an_output_that_is_refused_can_be_looked_at() {
    let scene = Scene::new();
    let file = derivation("wrong-hash");
    let mut person = Person::with(&scene, &scene.command(&["build", "--no-link", "--on-fail=shell", &file]));
    let said = person.sees("thrown away");
    assert!(said.contains("another hash than promised"), "{said}");
    person.types("test -s $out && echo there$((40 + 2)); exit");
    person.sees("there42");
    assert_eq!(person.leaves().0, Some(102));
}

#[test]
fn without_a_terminal_the_build_directory_is_kept() {
    let scene = Scene::new();
    let said = scene.fails(100, &["build", "--no-link", "--on-fail", "shell", &failing(&scene)]);
    assert!(said.contains("needs a terminal"), "{said}");
    let (_, kept) = said.split_once("is kept in `").unwrap();
    assert_eq!(fs::read_to_string(format!("{}/file", kept.split_once('`').unwrap().0)).unwrap(), "built\n");
    let said = scene.fails(100, &["build", "--no-link", "--option", "on-fail", "keep", &failing(&scene)]);
    assert!(said.contains("is kept in `") && !said.contains("needs a terminal"), "{said}");
    let said = scene.fails(100, &["build", "--no-link", "--on-fail=none", &failing(&scene)]);
    assert!(!said.contains("is kept in `"), "{said}");
    assert!(scene.fails(2, &["build", "--on-fail=never", "x"]).contains("`shell`, `keep` or `none`"));
}

#[test]
fn other_builds_go_on_while_somebody_looks_at_a_failure() {
    let scene = Scene::new();
    // The second one waits for the first to have failed, which it sees by a file of this machine.
    let gate = scene.path("gate");
    fs::create_dir(&gate).unwrap();
    let entries = format!("/dev /proc /gate={}", text(&gate));
    let wait = "while ! test -e /gate/open; do :; done; echo > $out; echo heard";
    let (failing, file) = (failing(&scene), scene.write("slow.json", shell_derivation("slow", wait)));
    let options = ["--max-jobs", "2", "--keep-going", "-L", "--option", "build-chroot-dirs", &entries];
    let build = [&["build", "--no-link", "--on-fail=shell", &failing, &file], &options[..]].concat();
    let mut person = Person::with(&scene, &scene.command(&build));
    person.sees("thrown away");
    person.types("echo ready$((40 + 2))");
    person.sees("ready42");
    fs::write(gate.join("open"), "").unwrap();
    let is_built = || left(&scene).iter().any(|name| name.ends_with("-slow"));
    assert!(within(SOON, is_built), "it is built meanwhile");
    person.types("echo quiet$((40 + 2))");
    let meanwhile = person.sees("quiet42");
    assert!(!meanwhile.contains("heard") && !meanwhile.contains("built"), "{meanwhile}");
    person.types("exit");
    let (code, said) = person.leaves();
    assert!(said.contains("slow> heard") && said.contains("built /nix/store/"), "{said}");
    assert_eq!(code, Some(100));
}

#[test]
fn a_failure_ends_with_the_line_to_paste() {
    let scene = Scene::new();
    let said = scene.fails(100, &["build", "--no-link", &failing(&scene)]);
    let line = said.trim_end().lines().last().unwrap();
    let command = line.strip_prefix("  step into its sandbox: store ").unwrap();
    let words: Vec<&str> = command.split(' ').collect();
    let mut pasted = scene.elsewhere();
    let run = run_shell(pasted.args(&words), "echo $out");
    assert!(run.stdout.starts_with("/nix/store/") && run.code == Some(0), "{}{}", run.stdout, run.stderr);
}

#[test]
fn the_line_to_paste_repeats_what_shapes_the_sandbox() {
    let scene = Scene::new();
    let options = ["--option", "sandbox-build-dir", "/elsewhere", "--cores", "3"];
    let said = scene.fails(100, &[&["build", "--no-link"], &options[..], &[&failing(&scene)]].concat());
    let commands: Vec<&str> =
        said.lines().filter_map(|line| line.split_once(": store ")).map(|(_, command)| command).collect();
    for verb in ["build", "sandbox enter"] {
        let command = commands.iter().find(|command| command.starts_with(verb)).unwrap();
        assert!(command.contains("--option sandbox-build-dir /elsewhere --option cores 3 "), "{said}");
    }
    let words: Vec<&str> = commands.last().unwrap().split(' ').collect();
    let run = run_shell(scene.elsewhere().args(words), "echo $PWD $NIX_BUILD_CORES");
    assert_eq!((run.stdout.as_str(), run.code), ("/elsewhere 3\n", Some(0)), "{}", run.stderr);
}

fn run_shell(command: &mut Command, script: &str) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{script}\n").as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}
