//! Being told to stop.

use std::io::Write;
use std::os::fd::AsFd;

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
