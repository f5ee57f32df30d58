//! What everybody may know of a build while it goes on, which is less than what its owner hears.

use std::collections::BTreeMap;

use local_store::{Announcement, BuildId, Stage};
use store_path::StorePath;

use crate::build::{Context, Message, Order};
use crate::log::{Keep, Log};
use crate::observe::Teller;
use crate::phase::PhaseReader;
use crate::request::{Kind, Request};
use crate::stopwatch;

/// What others may see of a build.
pub(crate) struct Public {
    /// By what name they speak of it.
    pub(crate) id: BuildId,
    /// What it prints.
    pub(crate) log: Log,
}

/// Has everybody know of a build, from when it waits or runs until it has ended.
pub(crate) fn announced<T>(
    context: &Context<'_>,
    order: &Order<'_>,
    request: &Request<'_>,
    tell: &mut Teller<'_>,
    build: impl FnOnce(&Public, &mut Teller<'_>) -> T,
) -> T {
    let known = request.outputs.iter().filter(|_| request.kind == Kind::Known);
    let outputs = known.map(|(name, path)| (name.to_string(), path.clone())).collect();
    let mut teller = AnnouncedBuild::new(context, order, outputs);
    let public = Public { id: order.id.clone(), log: Log::new(Keep::of(context, order.drv)) };
    build(&public, &mut |message: Message<'_>| {
        teller.note(&message);
        tell(message);
    })
}

/// A build that everybody may know of.
pub struct AnnouncedBuild {
    announcement: Announcement,
    phases: PhaseReader,
    /// The first process of its builder, once that runs.
    process: Option<u32>,
}

impl AnnouncedBuild {
    /// Prepares to tell about a build; nothing is told before it waits or runs. Of its outputs, those are given whose paths
    /// are known beforehand.
    pub fn new(context: &Context<'_>, order: &Order<'_>, outputs: BTreeMap<String, StorePath>) -> Self {
        let log = context.settings.keep_build_log.then(|| context.store.location().log_path(order.drv));
        let since_millis = stopwatch::now_millis();
        let announcement =
            context.store.announce(order.id.clone(), order.drv, order.target, outputs, log, since_millis);
        Self { announcement, phases: PhaseReader::default(), process: None }
    }

    /// Tells that it is built on another machine.
    pub fn is_elsewhere(&mut self, machine: &str) {
        self.announcement.tell(Stage::Elsewhere { machine: machine.to_owned() });
    }

    /// Tells of what a build says, if it is a step.
    fn note(&mut self, message: &Message<'_>) {
        match message {
            Message::Waiting(wait) | Message::WaitingToKeep(wait) => {
                self.announcement.tell(Stage::Waiting(wait.clone()))
            }
            Message::Running { process, .. } => {
                self.process = Some(*process);
                self.announcement.tell(Stage::Building { process: *process, phase: None });
            }
            Message::Output(bytes) => {
                // What is printed while another one's lock is waited for is of that one.
                let Some(process) = self.process else { return };
                if let Some(phase) = self.phases.read(bytes) {
                    self.announcement.tell(Stage::Building { process, phase: Some(phase) });
                }
            }
            Message::Ran => self.announcement.tell(Stage::Keeping),
            Message::Warning(_) | Message::Detail(_) | Message::Explained(_) | Message::Again(_) => {}
        }
    }
}
