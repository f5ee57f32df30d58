//! `store doctor`.

use crate::scene::Scene;

#[test]
fn this_machine_can_isolate_builds() {
    // The other tests rely on it: where something is missing, they are not skipped but fail, here first.
    let scene = Scene::new();
    let run = scene.run(&["doctor"]);
    let missing: Vec<_> = run.stdout.lines().filter(|line| line.starts_with("missing")).collect();
    // Whoever runs the tests may be in groups, which an ordinary user cannot leave.
    if let [what] = missing[..]
        && what.contains("groups, niceness, limits")
    {
        assert_eq!(run.code, Some(10), "{}{}", run.stdout, run.stderr);
        return;
    }
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
}
