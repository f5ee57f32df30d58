//! A worker thread: builds what it is handed, one after another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use builder::{BuildFailure, Built, Explanation};
use scheduler::GoalId;

use crate::lines::Lines;
use crate::plan::Plan;

/// What a worker tells.
pub(crate) enum Message {
    /// A build printed these lines.
    Log(GoalId, Vec<u8>),
    /// Something about a build that does not end it.
    Warning(GoalId, String),
    /// A step of setting a sandbox up or taking it down.
    Detail(GoalId, sandbox::Detail),
    /// What a build looked for in vain.
    Explained(GoalId, Explanation),
    /// Everything has to stop.
    Stop,
    /// The builder has ended, and the rest of the build needs no slot.
    Ran(GoalId),
    /// A build is over; the outer error is a panic.
    Ended(GoalId, thread::Result<Result<Built, BuildFailure>>),
}

/// Takes jobs until there are no more to come.
pub(crate) fn work(
    builder: &builder::Context<'_>,
    plan: &Plan,
    queue: &Mutex<Receiver<GoalId>>,
    messages: &SyncSender<Message>,
) {
    while let Some(goal) = next(queue) {
        // Whatever a panic leaves behind is cleaned up by the guards it drops; it is raised again by the reader.
        let ended = catch_unwind(AssertUnwindSafe(|| build(builder, plan, goal, messages)));
        if messages.send(Message::Ended(goal, ended)).is_err() {
            return;
        }
    }
}

/// Waits for a job. One worker waits for it, the others for their turn to wait.
fn next(queue: &Mutex<Receiver<GoalId>>) -> Option<GoalId> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn build(
    builder: &builder::Context<'_>,
    plan: &Plan,
    goal: GoalId,
    messages: &SyncSender<Message>,
) -> Result<Built, BuildFailure> {
    let build = &plan.builds[goal.index()];
    let mut lines = Lines::default();
    // Nobody listens any more when the reader is unwinding; the build ends by itself.
    let tell = |message: Message| drop(messages.send(message));
    let result = builder::build(builder, &build.drv, &build.derivation, &mut |message| match message {
        builder::Message::Output(piece) => {
            if let Some(text) = lines.push(piece) {
                tell(Message::Log(goal, text));
            }
        }
        builder::Message::Warning(text) => tell(Message::Warning(goal, text)),
        builder::Message::Detail(detail) => tell(Message::Detail(goal, detail)),
        builder::Message::Explained(explanation) => tell(Message::Explained(goal, explanation)),
        builder::Message::Ran => tell(Message::Ran(goal)),
    });
    if let Some(text) = lines.finish() {
        tell(Message::Log(goal, text));
    }
    result
}
