//! Derivations that are made anew each time.

use std::fs;

use crate::content_addressed::{FLOATING, add, builds, stand_in};
use crate::scene::Scene;

const IMPURE: &str = r#"{ "hashAlgo": "r:sha256", "impure": true }"#;
const TIME: &str = "read line < /proc/uptime; echo $line > $out";

#[test]
fn each_build_makes_it_once_more() {
    let scene = Scene::new();
    let impure = add(&scene, "impure", TIME, IMPURE, &[]);
    let user = add(&scene, "user", &format!("echo {} > $out", stand_in(&impure)), IMPURE, &[&impure]);
    for _ in 0..2 {
        let run = scene.run(&["build", "--no-link", &user, &impure]);
        assert_eq!((run.code, builds(&run)), (Some(0), 2), "{}", run.stderr);
        let paths: Vec<&str> = run.stdout.lines().collect();
        assert_eq!(fs::read_to_string(scene.real(paths[0])).unwrap().trim_end(), paths[1]);
    }
    assert_eq!(scene.ok(&["query", "--outputs", &impure]), "", "what was built is not what it is");
}

#[test]
fn a_pure_derivation_may_not_take_it_in() {
    let scene = Scene::new();
    let impure = add(&scene, "impure", "echo built > $out", IMPURE, &[]);
    let script = format!("echo {} > $out", stand_in(&impure));
    for output in [FLOATING, "{}"] {
        let pure = add(&scene, "pure", &script, output, &[&impure]);
        let run = scene.run(&["build", "--no-link", &pure]);
        assert_eq!((run.code, builds(&run)), (Some(1), 0), "{}", run.stderr);
        let base = |drv: &str| drv["/nix/store/".len()..].to_owned();
        let expected = format!("the derivation `{}` takes in the impure `{}`", base(&pure), base(&impure));
        assert!(run.stderr.contains(&expected), "{}", run.stderr);
    }
}
