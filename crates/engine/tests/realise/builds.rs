//! Builds that succeed.
#![expect(clippy::disallowed_methods, reason = "two threads stand for two processes")]

use std::thread;

use crate::world::{World, all_of, named, needing, script};

pub(crate) fn inputs_are_built_first() {
    let mut world = World::new();
    let bottom = world.add(named("bottom", ""));
    let left = world.add(needing(named("left", ""), &[&bottom]));
    let right = world.add(needing(named("right", ""), &[&bottom]));
    let top = world.add(needing(named("top", ""), &[&left, &right]));
    let (report, told) = world.realise(&[&top]);
    assert_eq!(told.first().map(String::as_str), Some("plan 4"));
    let place = |event: &str| told.iter().position(|line| line == event).expect(event);
    for (first, then) in [("bottom", "left"), ("bottom", "right"), ("left", "top"), ("right", "top")] {
        assert!(place(&format!("built {first}")) < place(&format!("start {then}")), "{told:?}");
    }
    assert_eq!(report.built.len(), 4);
    assert!(report.failures.is_empty() && report.blocked.is_empty() && report.not_started.is_empty());
    assert_eq!(world.contents(&report.realised[0]), "top\n");
}

pub(crate) fn nothing_valid_is_built_again() {
    let mut world = World::new();
    let library = world.add(named("library", ""));
    let program = world.add(needing(named("program", ""), &[&library]));
    world.realise(&[&library]);
    let (report, told) = world.realise(&[&program]);
    assert_eq!(told, ["plan 1", "start program", "built program"]);
    assert_eq!(report.realised.len(), 1);
    let (report, told) = world.realise(&[&program, &library]);
    assert_eq!(told, ["plan 0"]);
    assert_eq!(world.contents(&report.realised[0]), "program\n");
    assert_eq!(world.contents(&report.realised[1]), "library\n");
}

/// No more builders run at once than there are slots; keeping what one made is no builder.
pub(crate) fn slots_are_filled() {
    let mut world = World::new();
    world.set("max-jobs", "3");
    let script = "echo in; for i in 1 2 3 4 5 6 7 8 9; do read line < /proc/uptime; done; echo out";
    let drvs: Vec<_> = (0..12).map(|number| world.add(named(&format!("job-{number}"), script))).collect();
    let (report, told) = world.realise(&drvs.iter().collect::<Vec<_>>());
    assert_eq!(report.built.len(), 12);
    assert!(told[1..4].iter().all(|line| line.starts_with("start ")), "{told:?}");
    let mut running = 0;
    for line in &told[1..] {
        running += i32::from(line.ends_with("> in")) - i32::from(line.ends_with("> out"));
        assert!(running <= 3, "{told:?}");
    }
}

pub(crate) fn lines_are_told_whole_and_by_derivation() {
    let mut world = World::new();
    let drv = world.add(named("talker", "echo one; echo two >&2; printf 'no end'"));
    let (_, mut told) = world.realise(&[&drv]);
    // The first in this store.
    let proof = told.remove(2);
    assert!(proof.starts_with("talker does Step(\"the sandbox holds"), "{proof}");
    assert_eq!(
        told,
        ["plan 1", "start talker", "talker> one", "talker> two", "talker> no end", "built talker"]
    );
}

/// Both wait for the same lock, and the second finds the output valid.
pub(crate) fn two_processes_build_a_derivation_once() {
    let mut world = World::new();
    let drv = world.add(script("contested", "echo building; read line < /proc/uptime; echo $line > $out"));
    let other = world.reopened();
    let realise = |store| {
        let (mut builds, context) = (0, engine::Context { store, ..world.context() });
        let count =
            &mut |event: engine::Event<'_>| builds += usize::from(matches!(event, engine::Event::Log { .. }));
        let report = engine::realise(&context, &[all_of(&drv)], count).expect("the plan is simple");
        assert!(report.failures.is_empty());
        builds
    };
    let builds: usize = thread::scope(|scope| {
        let both = [scope.spawn(|| realise(&world.store)), scope.spawn(|| realise(&other))];
        both.map(|thread| thread.join().expect("nothing panics")).iter().sum()
    });
    assert_eq!(builds, 1);
}
