//! Colour, and how much is said.

use std::fs;

use crate::failures::FAILING_INPUT;
use crate::person::Person;
use crate::scene::{Run, Scene, shell_derivation};

/// Prints in colours of its own.
const COLOURFUL: &str = r"printf '\033[35mviolet\033[0m\n'; echo made > $out";

/// Builds with variables of the user.
fn build(scene: &Scene, variables: &[(&str, &str)], arguments: &[&str]) -> Run {
    let mut command = scene.command(&[&["build", "--no-link"], arguments].concat());
    command.envs(variables.iter().copied()).output().unwrap().into()
}

#[test]
fn without_a_terminal_there_is_none_unless_it_is_forced() {
    let scene = Scene::new();
    let well = scene.write("well.json", shell_derivation("well", COLOURFUL));
    let ill = scene.write("ill.json", FAILING_INPUT);
    for variables in [&[][..], &[("TERM", "xterm")], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]] {
        let scene = Scene::new();
        for file in [&well, &ill] {
            let run = build(&scene, variables, &["-L", file]);
            assert!(!run.stderr.contains('\x1b'), "{variables:?}: {:?}", run.stderr);
        }
    }
    let run = build(&scene, &[("CLICOLOR_FORCE", "1")], &["-L", &well]);
    assert!(run.stderr.contains("\x1b[32mbuilt\x1b[0m"), "{:?}", run.stderr);
    assert!(run.stderr.contains("\x1b[2mwell>\x1b[0m \x1b[35mviolet\x1b[0m"), "{:?}", run.stderr);
    assert!(!run.stdout.contains('\x1b') && run.stdout.starts_with("/nix/store/"), "{:?}", run.stdout);
    let run = build(&scene, &[("CLICOLOR_FORCE", "1")], &[&ill]);
    assert!(run.stderr.contains("\x1b[1;31mstore:\x1b[0m the builder of"), "{:?}", run.stderr);
}

#[test]
fn on_a_terminal_there_is_some_unless_it_is_forbidden() {
    for (variable, is_coloured) in [("NO_COLOR", false), ("ANYTHING", true)] {
        let scene = Scene::new();
        let file = scene.write("well.json", shell_derivation("well", COLOURFUL));
        let mut command = scene.command(&["build", "--no-link", "-L", &file]);
        command.env("TERM", "xterm").env(variable, "1");
        let (code, seen) = Person::with(&scene, &command).leaves();
        assert_eq!(code, Some(0), "{seen}");
        assert_eq!(seen.contains("\x1b[32m"), is_coloured, "{seen:?}");
        assert_eq!(seen.contains("\x1b[35mviolet"), is_coloured, "{seen:?}");
    }
}

#[test]
fn quiet_says_what_went_wrong_only_and_verbose_says_more() {
    let scene = Scene::new();
    let well = scene.write("well.json", shell_derivation("well", "echo made > $out"));
    let ill = scene.write("ill.json", FAILING_INPUT);
    let run = build(&scene, &[], &["--quiet", &well]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert_eq!(fs::read_to_string(scene.real(run.stdout.trim_end())).unwrap(), "made\n");
    let quiet = build(&scene, &[], &["--quiet", &ill]).stderr;
    assert!(quiet.starts_with("store: the builder of") && !quiet.contains("building"), "{quiet}");
    let normal = build(&scene, &[], &[&ill]).stderr;
    let names = |text: &str| text.lines().filter(|line| line.starts_with("  /nix/store/")).count();
    assert_eq!(names(&normal), 0, "{normal}");
    let verbose = build(&scene, &[], &["-v", &ill]).stderr;
    assert_eq!(names(&verbose), 2, "{verbose}");
}
