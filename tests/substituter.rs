//! External substituters: the worked example, what it fetches and what not, and programs that do not keep to the protocol.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use test_support::fixture;

use crate::processes::{Running, SOON, processes, within};
use crate::scene::{Run, Scene, derivation, shell_derivation, text};

/// Makes an executable script beside the store.
fn script(scene: &Scene, name: &str, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let file = scene.write(name, format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

fn example() -> String {
    text(fixture("substituters/from-directory.sh"))
}

/// A store in which things were built, beside a directory with their archives.
struct Publisher {
    scene: Scene,
}

impl Publisher {
    fn new() -> Self {
        let scene = Scene::new();
        fs::create_dir(scene.path("archives")).unwrap();
        Self { scene }
    }

    /// Publishes the closure of what comes of a derivation, and returns its outputs.
    fn publish(&self, file: &str) -> Vec<String> {
        let paths = self.scene.ok(&["build", "--no-link", file]);
        let paths: Vec<String> = paths.lines().map(str::to_owned).collect();
        for path in &paths {
            self.publish_path(path);
        }
        paths
    }

    fn publish_path(&self, path: &str) {
        let archive = self.scene.path(format!("archives/{}.nar", name(path)));
        fs::write(archive, self.scene.command(&["dump", path]).output().unwrap().stdout).unwrap();
        let info = self.scene.ok(&["path-info", "--json", path]);
        let info: Value = serde_json::from_str(&info).unwrap();
        let info = info
            .get(path)
            .or_else(|| info.get("info").and_then(|all| all.get(name(path))))
            .unwrap_or(&info[0]);
        let full = |path: &Value| format!("/nix/store/{}", name(path.as_str().unwrap()));
        let references: Vec<String> = info["references"].as_array().unwrap().iter().map(full).collect();
        let deriver =
            info["deriver"].as_str().map_or(String::new(), |deriver| format!("/nix/store/{}", name(deriver)));
        let mut lines = vec![deriver, references.len().to_string()];
        lines.extend(references.iter().cloned());
        lines.extend(["100".to_owned(), info["narSize"].to_string()]);
        fs::write(self.scene.path(format!("archives/{}.info", name(path))), lines.join("\n") + "\n").unwrap();
        references
            .iter()
            .filter(|reference| *reference != path)
            .for_each(|reference| self.publish_path(reference));
    }

    /// Returns what is published of the paths that end so.
    fn published(&self, end: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.scene.path("archives")).unwrap().flatten().map(|entry| entry.path());
        files.filter(|file| file.file_stem().unwrap().to_string_lossy().ends_with(end)).collect()
    }

    fn forget(&self, end: &str) {
        self.published(end).iter().for_each(|file| fs::remove_file(file).unwrap());
    }

    /// Returns the program on another store, with what this one has published.
    fn command(&self, scene: &Scene, program: &str, arguments: &[&str]) -> Command {
        let common = ["build", "--no-link", "--option", "external-substituters", program];
        let mut command = scene.command(&[&common, arguments].concat());
        command.env("SUBSTITUTES", self.scene.path("archives"));
        command.env("STORE", test_support::store_binary(env!("CARGO_BIN_EXE_store")));
        command
    }

    fn build(&self, scene: &Scene, program: &str, arguments: &[&str]) -> Run {
        self.command(scene, program, arguments).output().unwrap().into()
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// What was told of a kind in events, by a field.
fn events(scene: &Scene, kind: &str, field: &str) -> Vec<String> {
    let text = fs::read_to_string(scene.path("events")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events = events.filter(|event| event["type"] == kind);
    events.map(|event| event[field].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn what_is_damaged_is_fetched_again() {
    let (publisher, scene) = (Publisher::new(), Scene::new());
    publisher.publish(&derivation("labelled"));
    // One that nothing here makes, and one that could be built.
    let added = scene.ok(&["add", &scene.write("added", "added")]);
    assert_eq!(publisher.scene.ok(&["add", &publisher.scene.write("added", "added")]), added);
    publisher.publish_path(&added);
    let built = scene.ok(&["build", "--no-link", &derivation("labelled")]);
    let greeting = scene.ok(&["query", "--requisites", built.lines().next().unwrap()]);
    let greeting = greeting.lines().find(|path| path.ends_with("-greeting")).unwrap();
    crate::verify::damage(&scene.real(&added));
    fs::remove_file(scene.real(greeting)).unwrap();
    let mut command = scene.command(&["verify", "--contents", "--repair"]);
    command.args(["--option", "external-substituters", &example()]);
    command.env("SUBSTITUTES", publisher.scene.path("archives"));
    command.env("STORE", test_support::store_binary(env!("CARGO_BIN_EXE_store")));
    let run: Run = command.output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert_eq!(run.stdout.matches("repaired: fetched by").count(), 2, "{}", run.stdout);
    assert_eq!(fs::read_to_string(scene.real(&added)).unwrap(), "added");
    scene.ok(&["verify", "--contents"]);
}

#[test]
fn what_a_substituter_has_is_fetched_and_nothing_is_built() {
    let (publisher, scene) = (Publisher::new(), Scene::new());
    let paths = publisher.publish(&derivation("labelled"));
    let greeter = paths.iter().find(|path| path.ends_with("-greeter")).unwrap();
    let run = publisher.build(&scene, &example(), &["--events", "events", &derivation("labelled")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout.lines().collect::<Vec<_>>(), paths);
    assert_eq!(events(&scene, "started", "drvPath"), [""; 0]);
    let fetched = events(&scene, "fetched", "path");
    let place = |end: &str| fetched.iter().position(|path| path.ends_with(end)).unwrap();
    assert!(place("-greeting") < place("-greeter"), "references first: {fetched:?}");
    assert_eq!(fetched.len(), 2);
    let substituted = events(&scene, "substituted", "drvPath");
    assert!(substituted.len() == 1 && substituted[0].ends_with("-greeter.drv"), "top down: {substituted:?}");
    assert_eq!(scene.ok(&["dump", greeter]), publisher.scene.ok(&["dump", greeter]));
    for option in ["--references", "--deriver"] {
        assert_eq!(scene.ok(&["query", option, greeter]), publisher.scene.ok(&["query", option, greeter]));
    }
    scene.ok(&["verify", "--contents"]);
    let left: Vec<_> = fs::read_dir(scene.real("/nix/store/")).unwrap().flatten().collect();
    let left = left.iter().filter(|entry| entry.file_name().to_string_lossy().contains("chroot")).count();
    assert_eq!(left, 0, "where it was unpacked is gone");
}

#[test]
fn what_nobody_has_is_built() {
    let (publisher, scene) = (Publisher::new(), Scene::new());
    publisher.publish(&derivation("labelled"));
    publisher.forget("-greeter");
    let run = publisher.build(&scene, &example(), &["--events", "events", &derivation("labelled")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let fetched = events(&scene, "fetched", "path");
    assert!(fetched.len() == 1 && fetched[0].ends_with("-greeting"), "{fetched:?}");
    let built = events(&scene, "built", "drvPath");
    assert!(built.len() == 1 && built[0].ends_with("-greeter.drv"), "{built:?}");
    // Without what it refers to, what is there is of no use.
    let (publisher, scene) = (Publisher::new(), Scene::new());
    publisher.publish(&derivation("labelled"));
    publisher.forget("-greeting");
    let run = publisher.build(&scene, &example(), &["--events", "events", &derivation("labelled")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(events(&scene, "built", "drvPath").len(), 2);
}

#[test]
fn settings_and_derivations_have_a_say() {
    let publisher = Publisher::new();
    let json = shell_derivation("own", "echo own > $out")
        .replace(r#""env": {}"#, r#""env": { "allowSubstitutes": "" }"#);
    let own = publisher.scene.write("own.json", json);
    let other = derivation("hello");
    publisher.publish(&own);
    publisher.publish(&other);
    let is_fetched = |arguments: &[&str]| {
        let scene = Scene::new();
        let run = publisher.build(&scene, &example(), &[&["--events", "events"], arguments].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        (events(&scene, "fetched", "path").len(), events(&scene, "built", "drvPath").len()) == (1, 0)
    };
    assert!(is_fetched(&[&other]) && !is_fetched(&["--option", "substitute", "false", &other]));
    assert!(!is_fetched(&[&own]) && is_fetched(&["--option", "always-allow-substitutes", "true", &own]));
}

#[test]
fn a_check_builds() {
    let (publisher, scene) = (Publisher::new(), Scene::new());
    publisher.publish(&derivation("hello"));
    assert_eq!(publisher.build(&scene, &example(), &[&derivation("hello")]).code, Some(0));
    let run = publisher.build(&scene, &example(), &["--check", "--events", "events", &derivation("hello")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(events(&scene, "checked", "drvPath").len(), 1);
}

/// What goes wrong where a program answers well, and then does this instead of fetching.
fn fetched_by(instead: &str, said: &str) {
    let publisher = Publisher::new();
    publisher.publish(&derivation("labelled"));
    let (scene, example) = (Scene::new(), example());
    let program = script(
        &scene,
        "substituter",
        &format!("case $1 in --substitute) {instead} ;; *) exec {example} \"$@\" ;; esac"),
    );
    let run = publisher.build(&scene, &program, &[&derivation("labelled")]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    for part in [said, "cannot fetch the outputs of", "fallback"] {
        assert!(run.stderr.contains(part), "no `{part}` in {}", run.stderr);
    }
    assert!(!run.stderr.contains('\x1b'), "it does not steer the terminal: {}", run.stderr);
    assert_eq!(scene.ok(&["query", "--requisites", &drv_of(&scene)]).lines().count(), 2, "nothing is valid");
    let left = fs::read_dir(scene.real("/nix/store/")).unwrap().flatten();
    let left: Vec<String> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| name.ends_with(".drv") || name == ".links"), "{left:?}");
    let fallback = ["--option", "fallback", "true", "--events", "events", &derivation("labelled")];
    let run = publisher.build(&scene, &program, &fallback);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains(said) && !run.stderr.contains('\x1b'), "{}", run.stderr);
    assert_eq!(events(&scene, "built", "drvPath").len(), 2);
    assert_eq!(events(&scene, "fell-back", "drvPath").len(), 2);
    scene.ok(&["verify", "--contents"]);
}

/// The derivation of the greeter.
fn drv_of(scene: &Scene) -> String {
    let entries = fs::read_dir(scene.real("/nix/store/")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    format!("/nix/store/{}", names.into_iter().find(|name| name.ends_with("-greeter.drv")).unwrap())
}

#[test]
fn what_is_damaged_is_refused() {
    fetched_by(&format!("{} \"$@\" >/dev/null; echo sha256:$(printf %064d 0)", example()), "is damaged");
}

#[test]
fn a_program_that_dies_has_fetched_nothing() {
    fetched_by("mkdir \"$3\"; echo half > \"$3/file\"; kill -9 $$", "was killed by signal 9");
    fetched_by("printf '\\033[2Jalas\\n' >&2; exit 3", "alas");
}

#[test]
fn what_is_no_tree_or_no_hash_is_refused() {
    fetched_by("echo sha256:$(printf %064d 0)", "cannot take what");
    fetched_by("mkfifo \"$3\"; echo sha256:$(printf %064d 0)", "cannot take what");
    fetched_by("echo x > \"$3\"; printf '\\033[2J'", "did not print the SHA-256");
}

#[test]
fn contents_have_to_be_what_their_derivation_promises() {
    let (publisher, scene) = (Publisher::new(), Scene::new());
    let path = publisher.publish(&derivation("fixed-output")).remove(0);
    fs::write(publisher.scene.path("other"), "something else").unwrap();
    let other = publisher.scene.command(&["dump", "other"]).output().unwrap().stdout;
    fs::write(publisher.scene.path(format!("archives/{}.nar", name(&path))), other).unwrap();
    let run = publisher.build(&scene, &example(), &[&derivation("fixed-output")]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(run.stderr.contains("is not what its derivation promises"), "{}", run.stderr);
    assert!(!scene.real(&path).exists());
}

#[test]
fn what_does_not_answer_as_it_should_is_not_asked_again() {
    let other = "/nix/store/q790zdjk75hm2cn42nh77pqw4gbv1b88-hello.txt";
    let endless = "while :; do echo; read -r have paths; set -- $paths; while :; do echo $1; done; done";
    for (answer, said) in [
        ("exit 3", "returned 3"),
        ("printf '\\n/nix/st'", "ends in the middle"),
        (&format!("echo; echo {other}; echo"), "for which nobody asked"),
        ("echo; printf '\\033]0;x\\a\\n\\n'", "for which nobody asked"),
        ("echo; printf '\\033[2Jalas\\n' >&2; exit 1", "alas"),
        (endless, "printed too much"),
        (
            "echo; read -r have paths; case $have in have) printf '%s\\n' $paths '' ;; \
             info) for path in $paths; do printf '%s\\n' $path '' 1 /etc/passwd 0 0; done ;; esac",
            "is no path of this store",
        ),
    ] {
        let (publisher, scene) = (Publisher::new(), Scene::new());
        let count = text(scene.path("count"));
        let program = script(&scene, "substituter", &format!("echo >> {count}\n{answer}"));
        let run = publisher.build(&scene, &program, &[&derivation("chain")]);
        assert_eq!(run.code, Some(0), "{answer}: {}", run.stderr);
        assert!(run.stderr.contains(said), "no `{said}` in {}", run.stderr);
        assert!(!run.stderr.contains('\x1b'), "it does not steer the terminal: {}", run.stderr);
        assert!(fs::read_to_string(&count).unwrap().lines().count() <= 2, "{answer}");
    }
    let scene = Scene::new();
    let run = Publisher::new().build(&scene, "/absent/substituter", &[&derivation("hello")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("cannot start the substituter"), "{}", run.stderr);
}

#[test]
fn paths_that_refer_to_each_other_in_a_circle_are_built() {
    let (publisher, scene) = (Publisher::new(), Scene::new());
    let greeter = publisher.publish(&derivation("labelled")).remove(0);
    let info =
        |end: &str| publisher.published(end).into_iter().find(|file| file.extension().unwrap() == "info");
    fs::write(info("-greeting").unwrap(), format!("\n1\n{greeter}\n0\n0\n")).unwrap();
    let run = publisher.build(&scene, &example(), &["--events", "events", &derivation("labelled")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(events(&scene, "built", "drvPath").len(), 2);
}

#[test]
fn one_of_several_may_have_it() {
    let (publisher, scene) = (Publisher::new(), Scene::new());
    publisher.publish(&derivation("hello"));
    let silent = script(&scene, "silent", "exit 0");
    let programs = format!("{silent} {}", example());
    let run = publisher.build(&scene, &programs, &["--events", "events", &derivation("hello")]);
    assert_eq!((run.code, events(&scene, "fetched", "path").len()), (Some(0), 1), "{}", run.stderr);
    assert!(!run.stderr.contains("warning"), "one that ends at once has nothing: {}", run.stderr);
}

#[test]
fn an_interrupted_substituter_is_ended() {
    let publisher = Publisher::new();
    publisher.publish(&derivation("hello"));
    for verb in ["--query", "--substitute"] {
        let scene = Scene::new();
        let begun = text(scene.path("begun"));
        let hangs = format!("{verb}) echo > {begun}; trap '' TERM; while :; do sleep 1; done ;;");
        let program = format!(
            "case $1 in {hangs} *) SUBSTITUTES={} exec {} \"$@\" ;; esac",
            text(publisher.scene.path("archives")),
            example()
        );
        let program = script(&scene, "substituter", &program);
        let arguments =
            ["build", "--no-link", "--option", "external-substituters", &program, &derivation("hello")];
        let mut running = Running::start(&scene, &arguments);
        assert!(within(SOON, || scene.path("begun").exists()), "{verb}");
        Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap();
        assert!(running.ends_within(SOON), "{verb}");
        let run = running.wait();
        assert_eq!(run.code, Some(130), "{verb}: {}", run.stderr);
        assert!(within(SOON, || processes(&program).is_empty()), "{verb}");
    }
}

#[test]
fn no_more_are_fetched_at_once_than_the_settings_say() {
    let (publisher, scene) = (Publisher::new(), Scene::new());
    let file = |name: &str| {
        let script = format!("echo {name} > $out");
        publisher.scene.write(&format!("{name}.json"), shell_derivation(name, &script))
    };
    let files = ["one", "two", "three"].map(file);
    files.iter().for_each(|file| drop(publisher.publish(file)));
    let (alone, example) = (text(scene.path("alone")), example());
    let fetch = format!("mkdir {alone} || exit 1; sleep 0.3; {example} \"$@\"; rmdir {alone}");
    let program = format!("case $1 in --substitute) {fetch} ;; *) exec {example} \"$@\" ;; esac");
    let program = script(&scene, "substituter", &program);
    let options = ["--option", "max-substitution-jobs", "1", "--events", "events"];
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let run = publisher.build(&scene, &program, &[&options, &files[..]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(events(&scene, "fetched", "path").len(), 3);
}

#[test]
fn where_one_fails_the_next_one_is_tried() {
    let publisher = Publisher::new();
    let paths = publisher.publish(&derivation("labelled"));
    for instead in ["echo alas >&2; exit 3", "echo x > \"$3\"; echo sha256:$(printf %064d 0)"] {
        let scene = Scene::new();
        let fails = format!("case $1 in --substitute) {instead} ;; *) exec {} \"$@\" ;; esac", example());
        let programs = format!("{} {}", script(&scene, "fails", &fails), example());
        let run = publisher.build(&scene, &programs, &["--events", "events", &derivation("labelled")]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(run.stdout.lines().collect::<Vec<_>>(), paths);
        assert_eq!(events(&scene, "built", "drvPath"), [""; 0]);
        let fetched = events(&scene, "fetched", "path").len();
        assert_eq!(run.stderr.matches("; trying `").count(), fetched, "{}", run.stderr);
        scene.ok(&["verify", "--contents"]);
    }
}

#[test]
fn what_is_fetched_is_seen_and_can_be_cancelled() {
    let (publisher, scene) = (Publisher::new(), Scene::new());
    let path = publisher.publish(&derivation("hello")).remove(0);
    let begun = text(scene.path("begun"));
    let hangs = format!("--substitute) echo > {begun}; trap '' TERM; while :; do sleep 1; done ;;");
    let program =
        script(&scene, "substituter", &format!("case $1 in {hangs} *) exec {} \"$@\" ;; esac", example()));
    let to = File::create(scene.path("said")).unwrap();
    let mut command = publisher.command(&scene, &program, &["--events", "events", &derivation("hello")]);
    let mut child = command.stdout(to.try_clone().unwrap()).stderr(to).spawn().unwrap();
    assert!(within(SOON, || scene.path("begun").exists()));
    let told: Value = serde_json::from_str(&scene.ok(&["ps", "--json"])).unwrap();
    assert_eq!((&told[0]["state"], &told[0]["program"]), (&"fetching".into(), &program.as_str().into()));
    assert!(scene.ok(&["ps"]).contains("fetched by substituter"));
    assert!(scene.fails(1, &["log", "-f", &path]).contains("is not built, but fetched by"));
    scene.ok(&["cancel", &path]);
    assert!(within(SOON, || child.try_wait().unwrap().is_some()));
    let said = fs::read_to_string(scene.path("said")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("1 fetch was cancelled, and 1 was not tried for that"), "{said}");
    assert_eq!(events(&scene, "not-fetched", "path"), [path]);
    assert!(within(SOON, || processes(&program).is_empty()));
    assert_eq!(scene.ok(&["ps", "--json"]), "[]");
}
