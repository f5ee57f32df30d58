//! What others have written into derivations and logs, shown without power over the terminal.

use crate::scene::{Run, Scene, shell_derivation};

/// Clears the screen, as JSON writes it.
const CLEAR: &str = "\\u001b[2J";

#[test]
fn a_derivation_that_is_refused_does_not_steer_the_terminal() {
    let scene = Scene::new();
    let json = shell_derivation("refused", ":").replace("\"out\"", &format!("\"{CLEAR}\""));
    let said = scene.fails(1, &["build", "--no-link", &scene.write("refused.json", json)]);
    assert!(said.contains(r"\u{1b}[2J") && !said.contains('\x1b'), "{said}");
}

#[test]
fn the_plan_of_a_derivation_does_not_steer_the_terminal() {
    let scene = Scene::new();
    let json = shell_derivation("planned", CLEAR).replace("/bin/sh", &format!("/bin/{CLEAR}"));
    let plan = scene.ok(&["sandbox", "show", &scene.write("planned.json", json.replace("\\\\", "\\"))]);
    assert!(plan.contains(r"exec /bin/\x1b[2J in /build"), "{plan}");
    assert!(!plan.contains('\x1b'), "{plan}");
}

#[test]
fn a_log_sets_colours_of_its_own_lines_and_nothing_else() {
    let scene = Scene::new();
    let script = r"printf 'a\033[?4mb\033[\010\010mc\033[>4;2md\033[8mhidden\nnext\n'; exit 3";
    let file = scene.write("colourful.json", shell_derivation("colourful", script));
    for options in [&["-L"][..], &[]] {
        let mut command = scene.command(&[&["build", "--no-link", &file], options].concat());
        let run: Run = command.env("CLICOLOR_FORCE", "1").output().unwrap().into();
        let said = run.stderr;
        assert!(said.contains(" abcd\x1b[8mhidden\x1b[0m\n"), "{said:?}");
        let said_plainly = scene.fails(100, &[&["build", "--no-link", &file], options].concat());
        assert!(
            said_plainly.contains("> abcdhidden\n") && !said_plainly.contains('\x1b'),
            "{said_plainly:?}"
        );
        assert!(!said.contains('\x08'), "{said:?}");
    }
}
