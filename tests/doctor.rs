//! `store doctor`.

use crate::scene::Scene;

#[test]
fn this_machine_can_isolate_builds() {
    // The other tests rely on it: where something is missing, they are not skipped but fail, here first.
    let scene = Scene::new();
    let run = scene.run(&["doctor"]);
    let missing: Vec<_> = run.stdout.lines().filter(|line| line.starts_with("missing")).collect();
    // Whoever runs the tests may be in groups, which an ordinary user cannot leave, and a network helper may be missing.
    let known = ["groups, niceness, limits", "a network of their own for fixed-output builds"];
    let others = missing.iter().filter(|what| !known.iter().any(|known| what.contains(known)));
    assert_eq!(others.count(), 0, "{}{}", run.stdout, run.stderr);
    let code = if missing.is_empty() { 0 } else { 10 };
    assert_eq!(run.code, Some(code), "{}{}", run.stdout, run.stderr);
}
