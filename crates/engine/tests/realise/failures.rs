//! Builds that fail, and what becomes of the others.

use store_path::StorePath;

use crate::world::{World, named, needing, script};

/// `broken` fails; `above` and `top` need it, `other` does not. All are ready to be tried in this order.
fn half_broken(world: &mut World) -> [StorePath; 4] {
    let broken = world.add(script("broken", "echo about to fail; exit 7"));
    let above = world.add(needing(named("above", ""), &[&broken]));
    let other = world.add(named("other", ""));
    let top = world.add(needing(named("top", ""), &[&above, &other]));
    [broken, above, other, top]
}

pub(crate) fn keep_going_builds_what_does_not_need_it() {
    let mut world = World::new();
    world.set("keep-going", "true");
    let [broken, above, other, top] = half_broken(&mut world);
    let (report, told) = world.realise(&[&top, &other]);
    let failed: Vec<_> = report.failures.iter().map(|failure| &failure.drv).collect();
    assert_eq!(failed, [&broken]);
    assert_eq!(report.failures[0].wanted_by, [top.clone(), above.clone(), broken.clone()]);
    assert_eq!(report.failures[0].blocked, 2);
    let blocked: Vec<_> = report.blocked.iter().map(|blocked| (&blocked.drv, &blocked.by)).collect();
    assert_eq!(blocked, [(&above, &broken), (&top, &broken)]);
    assert_eq!(report.built, [other]);
    assert!(report.not_started.is_empty());
    // What could be had is handed out, as it is valid.
    assert_eq!(report.realised.len(), 1);
    assert_eq!(world.contents(&report.realised[0]), "other\n");
    assert!(told.contains(&"blocked top by broken".to_owned()), "{told:?}");
}

pub(crate) fn without_keep_going_nothing_new_starts() {
    let mut world = World::new();
    let [broken, _, other, top] = half_broken(&mut world);
    let (report, told) = world.realise(&[&top]);
    assert_eq!(report.failures.len(), 1);
    assert_eq!(report.failures[0].drv, broken);
    assert_eq!(report.not_started, [other]);
    assert_eq!(report.blocked.len(), 2);
    assert!(report.built.is_empty() && report.realised.is_empty());
    assert!(!told.contains(&"start other".to_owned()), "{told:?}");
}

pub(crate) fn a_failure_has_the_last_lines_of_its_log() {
    let mut world = World::new();
    world.set("log-lines", "2");
    let drv = world.add(script("noisy", "echo one; echo two; echo three; exit 1"));
    let (report, told) = world.realise(&[&drv]);
    assert_eq!(report.failures[0].error.log_tail(), ["two", "three"]);
    assert!(told.contains(&"noisy> one".to_owned()), "{told:?}");
}
