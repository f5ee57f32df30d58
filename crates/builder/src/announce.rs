//! What everybody may know of a build while it goes on, which is less than what its owner hears.
#![expect(clippy::disallowed_methods, reason = "tells since when a build is on its way")]

use std::time::{SystemTime, UNIX_EPOCH};

use local_store::{Announcement, BuildId, Stage};

use crate::build::{Context, Message, Order};
use crate::log::{Keep, Log};
use crate::observe::Teller;
use crate::request::{Kind, Request};

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
    let mut announcement = announcement(context, order, request);
    let public = Public { id: announcement.id().clone(), log: Log::new(Keep::of(context, order.drv)) };
    build(&public, &mut |message: Message<'_>| {
        note(&mut announcement, &message);
        tell(message);
    })
}

/// Prepares to tell about a build; nothing is told before it waits or runs.
fn announcement(context: &Context<'_>, order: &Order<'_>, request: &Request<'_>) -> Announcement {
    let known = request.outputs.iter().filter(|_| request.kind == Kind::Known);
    let outputs = known.map(|(name, path)| (name.to_string(), path.clone())).collect();
    let log = context.settings.keep_build_log.then(|| context.store.location().log_path(order.drv));
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_millis = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
    context.store.announce(order.drv, order.target, outputs, log, since_millis)
}

/// Tells of what a build says, if it is a step.
fn note(announcement: &mut Announcement, message: &Message<'_>) {
    match message {
        Message::Waiting(wait) => announcement.tell(Stage::Waiting(wait.clone())),
        Message::Running { process, .. } => {
            announcement.tell(Stage::Building { process: *process, phase: None });
        }
        Message::Ran => announcement.tell(Stage::Keeping),
        Message::Output(_)
        | Message::Warning(_)
        | Message::Detail(_)
        | Message::Explained(_)
        | Message::Again(_) => {}
    }
}
