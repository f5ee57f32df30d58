//! A worker thread: builds what it is handed, one after another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use builder::{BuildFailure, Built, Control, Explanation, Order};
use derivation::{Checked, Derivation};
use local_store::{BuildId, CancelCaller, Collected, Wait};
use scheduler::GoalId;
use store_path::StorePath;
use substituter::Fetch;

use crate::control::{Hand, Hands, Held};
use crate::elsewhere::Offered;
use crate::fetch::{self, FetchError};
use crate::lines::Lines;
use crate::offers::Sources;
use crate::ready;

/// One build, or one path to fetch, handed to a worker.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) goal: GoalId,
    /// The derivation, or the path.
    pub(crate) drv: StorePath,
    /// The derivation that the caller wants, which is this one or needs it.
    pub(crate) target: StorePath,
    pub(crate) work: Work,
    /// What for it is built though its outputs are there.
    pub(crate) again: Option<Again>,
}

/// What for something is built that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// To see whether the same comes out.
    ToCompare,
    /// To replace what is damaged of it.
    ToRepair,
}

/// What is to be built.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// The derivation as it is.
    AsItIs(Arc<Derivation>),
    /// What it resolves to.
    Resolved(Arc<Checked>),
    /// Nothing: a path is to be fetched.
    Fetch(Arc<Fetch>),
}

/// What a worker tells.
pub(crate) enum Message {
    /// A build printed these lines.
    Log(GoalId, Vec<u8>),
    /// Something about a build that does not end it.
    Warning(GoalId, String),
    /// A build waits for something that is not of this call.
    Waiting(GoalId, Wait),
    /// The outputs of a build wait for that to become valid; its builder has ended.
    WaitingToKeep(GoalId, Wait),
    /// What a build has waited for is its own now; it goes on when it has a slot.
    Locked(GoalId),
    /// A builder runs, under that name and with that first process.
    Running(GoalId, BuildId, u32),
    /// A step of setting a sandbox up or taking it down.
    Detail(GoalId, sandbox::Detail),
    /// What a build looked for in vain.
    Explained(GoalId, Explanation),
    /// A build runs once more, to be compared.
    Again(GoalId, builder::Again),
    /// What became of the offer of a build.
    Offered(GoalId, Offered),
    /// Too little of the disk was free, so garbage was collected.
    MadeRoom(Result<Collected, local_store::Error>),
    /// Everything has to stop.
    Stop,
    /// Somebody wants a build given up, and to hear what became of it.
    Cancel(BuildId, CancelCaller),
    /// The builder has ended, and the rest of the build needs no slot.
    Ran(GoalId),
    /// What came of fetching a path.
    Fetched(GoalId, Result<(), FetchError>),
    /// A build is over; the outer error is a panic.
    Ended(GoalId, thread::Result<Result<Built, BuildFailure>>),
}

/// Takes jobs until there are no more to come.
///
/// While it waits for somebody else's lock, another one takes its place, as `replace` says; it ends after that job.
pub(crate) fn work(shared: &Shared<'_>, messages: &SyncSender<Message>, replace: &dyn Fn()) {
    while let Some(job) = next(&shared.queue) {
        // Without a hand it cannot be cancelled, and waits for locks while it has its slot.
        let id = BuildId::new();
        let hand = Hand::new(job.goal, id.clone(), messages.clone()).ok();
        hand.iter().for_each(|hand| shared.hands.add(hand));
        let held = hand.map(|hand| Held { hand, replace });
        // Whatever a panic leaves behind is cleaned up by the guards it drops; it is raised again by the reader.
        let done = catch_unwind(AssertUnwindSafe(|| carry_out(shared, &job, &id, held.as_ref(), messages)));
        let message = done.unwrap_or_else(|panic| Message::Ended(job.goal, Err(panic)));
        shared.hands.remove(job.goal);
        let is_replaced = held.is_some_and(|held| held.hand.has_waited());
        if messages.send(message).is_err() || is_replaced {
            return;
        }
    }
}

/// What all workers have.
pub(crate) struct Shared<'a> {
    pub(crate) builder: &'a builder::Context<'a>,
    pub(crate) queue: Mutex<Receiver<Job>>,
    pub(crate) hands: &'a Hands,
    pub(crate) sources: Sources<'a>,
}

/// Does a job, and returns what there is to say at its end.
fn carry_out(
    shared: &Shared<'_>,
    job: &Job,
    id: &BuildId,
    held: Option<&Held<'_>>,
    messages: &SyncSender<Message>,
) -> Message {
    let goal = job.goal;
    let (drv, derivation) = match &job.work {
        Work::Fetch(fetch) => {
            let sources = shared.sources.expect("only what somebody has is fetched");
            let (store, name) = (shared.builder.store, (id, &job.target));
            let fetched = fetch::fetch(store, &sources.substituters, goal, fetch, name, held, messages);
            return Message::Fetched(goal, fetched);
        }
        Work::AsItIs(derivation) => (&job.drv, &**derivation),
        Work::Resolved(resolved) => {
            let failed = |source| BuildFailure::Prepare { drv: resolved.path().clone(), source };
            if let Err(failure) = ready::keep(shared.builder.store, resolved).map_err(failed) {
                return Message::Ended(goal, Ok(Err(failure)));
            }
            (resolved.path(), resolved.derivation())
        }
    };
    Message::Ended(goal, Ok(build(shared.builder, job, id, (drv, derivation), held, messages)))
}

/// Waits for a job. One worker waits for it, the others for their turn to wait.
fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn build(
    builder: &builder::Context<'_>,
    job: &Job,
    id: &BuildId,
    (drv, derivation): (&StorePath, &Derivation),
    held: Option<&Held<'_>>,
    messages: &SyncSender<Message>,
) -> Result<Built, BuildFailure> {
    let goal = job.goal;
    let mut lines = Lines::default();
    // Nobody listens any more when the reader is unwinding; the build ends by itself.
    let tell = |message: Message| drop(messages.send(message));
    let control = held.map(|held| held as &dyn Control);
    let order = Order { id, drv, derivation, target: &job.target, control };
    let make = match job.again {
        None => builder::build,
        Some(Again::ToCompare) => builder::check,
        Some(Again::ToRepair) => builder::repair,
    };
    let result = make(builder, &order, &mut |message| match message {
        builder::Message::Waiting(wait) => tell(Message::Waiting(goal, wait)),
        builder::Message::WaitingToKeep(wait) => tell(Message::WaitingToKeep(goal, wait)),
        builder::Message::Running { id, process } => tell(Message::Running(goal, id, process)),
        builder::Message::Output(piece) => {
            if let Some(text) = lines.push(piece) {
                tell(Message::Log(goal, text));
            }
        }
        builder::Message::Warning(text) => tell(Message::Warning(goal, text)),
        builder::Message::Detail(detail) => tell(Message::Detail(goal, detail)),
        builder::Message::Explained(explanation) => tell(Message::Explained(goal, explanation)),
        builder::Message::Again(again) => tell(Message::Again(goal, again)),
        builder::Message::Ran => tell(Message::Ran(goal)),
    });
    if let Some(text) = lines.finish() {
        tell(Message::Log(goal, text));
    }
    result
}
