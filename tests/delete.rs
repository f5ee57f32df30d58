//! `store delete`.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::peer::{nix_store, nix_store_command};
use crate::scene::{Run, Scene, derivation, has_nix, text};

#[test]
fn what_nothing_needs_goes() {
    let scene = Scene::new();
    let file = scene.write("file", "x");
    let path = scene.ok(&["add", &file]);
    assert_eq!(scene.ok(&["delete", &path]), path);
    assert!(!scene.real(&path).exists());
    scene.fails(1, &["path-info", &path]);
}

#[test]
fn what_something_refers_to_stays() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let requisites = scene.ok(&["query", "--requisites", &top]);
    let bottom = requisites.lines().find(|line| line.ends_with("-bottom")).unwrap();
    let said = scene.fails(1, &["delete", bottom]);
    assert!(said.contains("-left") || said.contains("-right"), "{said}");
    assert!(scene.real(bottom).exists());
}

#[test]
fn what_a_root_keeps_stays_with_all_it_needs() {
    let scene = Scene::new();
    let top = scene.ok(&["build", &derivation("diamond")]);
    let said = scene.fails(1, &["delete", &top]);
    assert!(said.contains("result"), "{said}");
    assert!(scene.real(&top).exists());
}

#[test]
fn the_chain_from_a_root_is_told() {
    let scene = Scene::new();
    let top = scene.ok(&["build", &derivation("diamond")]);
    let requisites = scene.ok(&["query", "--requisites", &top]);
    let bottom = requisites.lines().find(|line| line.ends_with("-bottom")).unwrap();
    let said = scene.fails(1, &["delete", bottom]);
    assert!(
        said.contains(&format!("    {top}\n    → ")) && said.contains(&format!("      → {bottom}\n")),
        "{said}"
    );
    assert!(said.contains("store root remove"), "{said}");
    let refused: Value = serde_json::from_str(&scene.run(&["delete", "--json", bottom]).stdout).unwrap();
    assert_eq!(refused["deleted"], serde_json::json!([]));
    let root = &refused["kept"][0]["roots"][0];
    assert_eq!(
        (&root["root"]["kind"], &root["root"]["link"]),
        (&"link".into(), &text(scene.path("result")).into())
    );
    assert_eq!((root["chain"].as_array().unwrap().len(), &root["chain"][2]), (3, &bottom.into()));
}

#[test]
fn a_derivation_stays_as_long_as_a_root_needs_what_it_made() {
    let scene = Scene::new();
    let top = scene.ok(&["build", &derivation("diamond")]);
    let drv = scene.ok(&["query", "--deriver", &top]);
    let said = scene.fails(1, &["delete", &drv]);
    let link = text(scene.path("result"));
    assert!(
        said.contains(&format!("by the root `{link}`\n    {top}\n    → {drv} (its derivation")),
        "{said}"
    );
    assert!(said.contains("`--option keep-derivations false`"), "{said}");
    let refused: Value = serde_json::from_str(&scene.run(&["delete", "--json", &drv]).stdout).unwrap();
    let root = &refused["kept"][0]["roots"][0];
    assert_eq!(
        (&root["chain"], &root["settings"]),
        (&serde_json::json!([top, drv]), &serde_json::json!(["keep-derivations"]))
    );
    // What it was made from is kept by that in turn, and what a root refers to by no setting.
    let inputs = scene.ok(&["query", "--references", &drv]);
    let input = inputs.lines().find(|line| line.ends_with(".drv")).unwrap();
    assert!(scene.fails(1, &["delete", input]).contains(&format!("→ {input}")));
    if has_nix() {
        let refused = nix_store_command(&scene, &["--delete", &drv]).output().unwrap();
        assert!(!refused.status.success(), "Nix says the same");
    }
    assert_eq!(scene.run(&["delete", "--skip-alive", &drv]).stdout, "");
    assert!(scene.real(&drv).exists());
    assert_eq!(scene.ok(&["delete", "--option", "keep-derivations", "false", &drv]), drv);
    assert!(scene.real(&top).exists());
}

#[test]
fn an_output_stays_as_long_as_a_root_needs_its_derivation_if_that_is_wanted() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let drv = scene.ok(&["query", "--deriver", &top]);
    scene.ok(&["root", "add", "keep", &drv]);
    let said = scene.fails(1, &["delete", "--option", "keep-outputs", "true", &top]);
    assert!(said.contains(&format!("{drv}\n    → {top} (its output, see `keep-outputs`)")), "{said}");
    assert_eq!(scene.ok(&["delete", &top]), top);
}

#[test]
fn closures_are_deleted_as_far_as_they_may() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let requisites = scene.ok(&["query", "--requisites", &top]);
    let bottom = requisites.lines().find(|line| line.ends_with("-bottom")).unwrap();
    scene.ok(&["root", "add", "keep", bottom]);
    scene.fails(1, &["delete", "--recursive", &top]);
    assert!(scene.real(&top).exists(), "all or none");
    let run = scene.run(&["delete", "--recursive", "--skip-alive", &top, "--json"]);
    let done: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(done["deleted"].as_array().unwrap().len(), requisites.lines().count() - 1, "{done}");
    assert_eq!(done["kept"][0]["path"], bottom);
    assert_eq!((run.code, run.stderr.contains("1 path is still needed")), (Some(0), true), "{}", run.stderr);
    assert!(scene.real(bottom).exists() && !scene.real(&top).exists());
}

#[test]
fn what_refers_to_a_path_goes_with_it_on_request() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let requisites = scene.ok(&["query", "--requisites", &top]);
    let bottom = requisites.lines().find(|line| line.ends_with("-bottom")).unwrap();
    assert!(scene.fails(1, &["delete", bottom]).contains("--also-referrers"));
    assert_eq!(scene.ok(&["delete", "--also-referrers", bottom]).lines().count(), requisites.lines().count());
}

#[test]
fn roots_are_ignored_on_request_and_references_never() {
    let scene = Scene::new();
    let top = scene.ok(&["build", &derivation("diamond")]);
    let requisites = scene.ok(&["query", "--requisites", &top]);
    let bottom = requisites.lines().find(|line| line.ends_with("-bottom")).unwrap();
    scene.fails(1, &["delete", "--ignore-liveness", bottom]);
    assert_eq!(scene.ok(&["delete", "--ignore-liveness", &top]), top);
    scene.fails(2, &["delete", "--ignore-liveness", "--skip-alive", bottom]);
    assert!(!scene.real(&top).exists() && scene.real(bottom).exists());
}

#[test]
fn more_paths_are_deleted_than_a_shell_lets_files_be_open() {
    let scene = Scene::new();
    scene.ok(&["add", &scene.write("file", "x")]);
    // As killed builds leave them.
    let paths: Vec<String> = (0..100).map(|number| format!("/nix/store/{number:032}-left")).collect();
    paths.iter().for_each(|path| std::fs::write(scene.real(path), "").unwrap());
    let delete: Vec<&str> = ["delete"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    let program = scene.command(&delete);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -S -n 64 && exec \"$0\" \"$@\""]).arg(program.get_program());
    let output = limited.args(program.get_args()).env("HOME", scene.path("home")).output();
    let run: Run = output.unwrap().into();
    assert_eq!((run.code, run.stdout.lines().count()), (Some(0), 100), "{}", run.stderr);
    assert!(!paths.iter().any(|path| scene.real(path).exists()));
}

#[test]
fn nix_adds_what_is_deleted_at_that_moment() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let file = scene.write("file", "x");
    let path = scene.ok(&["add", &file]);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::SeqCst) {
                let run = scene.run(&["delete", &path]);
                let is_fine = run.code == Some(0)
                    || run.stderr.contains("is not valid")
                    || run.stderr.contains("which is wanted");
                assert!(is_fine, "{}", run.stderr);
            }
        });
        // What Nix says to be there is, until nobody wants it any more.
        let added: Vec<_> =
            (0..25).map(|_| nix_store_command(&scene, &["--add", &file]).output().unwrap()).collect();
        is_done.store(true, Ordering::SeqCst);
        for output in added {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    });
    nix_store(&scene, &["--verify", "--check-contents"]);
    scene.ok(&["verify", "--contents"]);
    assert_eq!(scene.real(&path).exists(), scene.run(&["path-info", &path]).code == Some(0));
}
