//! Being told to stop.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

use engine::{Context, Event};
use sandbox::Launcher;

use crate::world::{World, all_of, named};

pub(crate) fn a_word_ends_what_runs_and_starts_nothing_more() {
    let mut world = World::new();
    world.set("keep-going", "true");
    let endless = world.add(named("endless", "while :; do :; done"));
    let later = world.add(named("later", ""));
    // A launcher of its own, as it is stopped for good.
    let launcher = Launcher::start().expect("this machine can build");
    let (stop, mut word) = std::io::pipe().expect("there are descriptors left");
    let context = Context { launcher: &launcher, stop: Some(stop.as_fd()), ..world.context() };
    let mut started = 0;
    let report = engine::realise(&context, &[all_of(&endless), all_of(&later)], &mut |event| match event {
        Event::Started { .. } => {
            started += 1;
            word.write_all(b"!").expect("somebody listens");
        }
        Event::Failed(failure) => panic!("being stopped is no failure: {failure:?}"),
        _ => {}
    });
    let report = report.expect("everything that is needed is there");
    assert!(report.stopped && report.failures.is_empty() && report.realised.is_empty(), "{report:?}");
    assert_eq!((started, report.not_started.len()), (1, 2));
}

pub(crate) fn time_goes_on_while_nothing_happens() {
    let mut world = World::new();
    // Without a tick it would end in this way.
    world.set("timeout", "100");
    let endless = world.add(named("endless", "while :; do :; done"));
    let launcher = Launcher::start().expect("this machine can build");
    let (stop, mut word) = std::io::pipe().expect("there are descriptors left");
    let (stop, tick) = (Some(stop.as_fd()), Some(Duration::from_millis(1)));
    let context = Context { launcher: &launcher, stop, tick, ..world.context() };
    let mut ticks = 0;
    let report = engine::realise(&context, &[all_of(&endless)], &mut |event| {
        if let Event::Tick = event {
            ticks += 1;
            if ticks == 3 {
                word.write_all(b"!").expect("somebody listens");
            }
        }
    });
    assert!(report.expect("everything that is needed is there").stopped);
}
