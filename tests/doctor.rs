//! `store doctor`.

use crate::scene::Scene;

#[test]
fn this_machine_can_isolate_builds() {
    // The other tests rely on it: where something is missing, they are not skipped but fail, here first.
    let scene = Scene::new();
    let run = scene.run(&["doctor"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
}
