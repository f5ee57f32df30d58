//! What everybody may know of a build while it goes on, which is less than what its owner hears.
#![expect(clippy::disallowed_methods, reason = "tells since when a build is on its way")]

use std::time::{SystemTime, UNIX_EPOCH};

use local_store::{Announcement, Stage};

use crate::build::{Context, Message, Order};
use crate::request::{Kind, Request};

/// Prepares to tell about a build; nothing is told before it waits or runs.
pub(crate) fn announcement(context: &Context<'_>, order: &Order<'_>, request: &Request<'_>) -> Announcement {
    let known = request.outputs.iter().filter(|_| request.kind == Kind::Known);
    let outputs = known.map(|(name, path)| (name.to_string(), path.clone())).collect();
    let log = context.settings.keep_build_log.then(|| context.store.location().log_path(order.drv));
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_millis = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
    context.store.announce(order.drv, order.target, outputs, log, since_millis)
}

/// Tells of what a build says, if it is a step.
pub(crate) fn note(announcement: &mut Announcement, message: &Message<'_>) {
    match message {
        Message::Waiting(wait) => announcement.tell(Stage::Waiting(wait.clone())),
        Message::Running { process, .. } => {
            announcement.tell(Stage::Building { process: *process, phase: None });
        }
        Message::Ran => announcement.tell(Stage::Keeping),
        Message::Output(_) | Message::Warning(_) | Message::Detail(_) | Message::Explained(_) => {}
    }
}
