//! Builds that are offered to a build hook before they are done here.
//!
//! ```text
//!          one at a time, the hook's own slot        a thread for each
//! drive ──────────────────────────────────────► offer ── accepted ──► follows the build to its end
//!   ▲                                             │
//!   ├── declined: it waits for a slot here ───────┤
//!   └── postponed: offered again, once something has changed
//! ```
//!
//! What a hook has accepted takes no slot of this machine: how many it takes is its own business.

#![expect(clippy::disallowed_methods, reason = "what was postponed is offered again after a while")]

use std::collections::{HashMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use builder::{AnnouncedBuild, BuildFailure, Built, Keep, Log, Maker, Order, Run};
use local_store::{BuildId, Until};
use remote_builder::{Answer, RemoteBuilder};
use sandbox::{Detail, ExitStatus};
use scheduler::{Demand, GoalId, Slot};

use crate::control::{Hand, Hands};
use crate::lines::Lines;
use crate::ready;
use crate::worker::{Job, Message, Work};

/// A machine may have become free without a build of ours having ended.
const A_WHILE: Duration = Duration::from_secs(5);

/// What became of an offer.
#[derive(Debug)]
pub(crate) enum Offered {
    /// It is being built on the machine of that name.
    Accepted(String),
    /// It is to be built here; the hook said this, and perhaps that it wants nothing any more.
    Declined { said: Vec<String>, permanently: bool },
    /// It is to be offered again.
    Postponed,
}

/// How an offer is made: the job, and whether it could be built here at once.
pub(crate) type Offer<'a> = &'a dyn Fn(Job, bool) -> io::Result<()>;

/// What is known of offers, on the thread that hands them out.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    /// Nobody wants anything (any more).
    is_over: bool,
    /// What the hook said last, before that.
    last_words: Vec<String>,
    /// What waits to be offered, or was.
    open: HashSet<GoalId>,
    /// What may be handed out again as it is.
    jobs: HashMap<GoalId, Job>,
    /// What the hook said when it declined.
    said: HashMap<GoalId, Vec<String>>,
    /// When something was postponed that was not offered again since.
    postponed: Option<Instant>,
}

impl Elsewhere {
    /// Starts with nothing offered; without a hook, nothing is going to be.
    pub(crate) fn new(has_hook: bool) -> Self {
        let (open, jobs, said) = (HashSet::new(), HashMap::new(), HashMap::new());
        Self { is_over: !has_hook, last_words: Vec::new(), open, jobs, said, postponed: None }
    }

    /// Returns what is expected of a new goal, which is to be offered first if it is a build.
    pub(crate) fn demand(&mut self, goal: GoalId, demand: Demand) -> Demand {
        if self.is_over || demand.slot != Slot::Build {
            return demand;
        }
        self.open.insert(goal);
        // What it would take here is taken when it comes home.
        Demand { slot: Slot::Offer, memory: 0, ..demand }
    }

    /// Whether a goal is not to be built here, unless nobody else wants it.
    pub(crate) fn is_open(&self, goal: GoalId) -> bool {
        self.open.contains(&goal)
    }

    /// Whether nobody wants anything.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Remembers what is handed out, as it may come back.
    pub(crate) fn keep(&mut self, job: Job) {
        self.jobs.insert(job.goal, job);
    }

    /// Returns what was offered and is not being built.
    pub(crate) fn kept(&self) -> impl Iterator<Item = GoalId> {
        self.jobs.keys().copied()
    }

    /// Returns what was handed out before and came back, or did not come to a build.
    pub(crate) fn take(&mut self, goal: GoalId) -> Option<Job> {
        self.jobs.remove(&goal)
    }

    /// Takes in that a goal is built here, since the hook wants nothing any more.
    pub(crate) fn bring_home(&mut self, goal: GoalId) {
        self.open.remove(&goal);
        self.said.insert(goal, self.last_words.clone());
    }

    /// Takes in that a goal is built here, since the hook has declined it.
    pub(crate) fn declined(&mut self, goal: GoalId, said: Vec<String>, permanently: bool) {
        if permanently && !self.is_over {
            (self.is_over, self.last_words) = (true, said.clone());
        }
        self.open.remove(&goal);
        self.said.insert(goal, said);
    }

    /// Adds to why a derivation cannot be built here that nobody else wanted it.
    pub(crate) fn explain(&mut self, goal: GoalId, failure: BuildFailure) -> BuildFailure {
        match (failure, self.said.remove(&goal)) {
            (source @ (BuildFailure::System { .. } | BuildFailure::Feature { .. }), Some(said)) => {
                BuildFailure::Declined { said, source: Box::new(source) }
            }
            (failure, _) => failure,
        }
    }

    /// Takes in that something was postponed.
    pub(crate) fn postpone(&mut self) {
        self.postponed.get_or_insert_with(Instant::now);
    }

    /// Whether what was postponed is to be offered again; `has_changed` says that a build has ended.
    pub(crate) fn is_time(&mut self, has_changed: bool) -> bool {
        let is_time = self.postponed.is_some_and(|since| has_changed || since.elapsed() >= A_WHILE);
        if is_time {
            self.postponed = None;
        }
        is_time
    }

    /// After which time without a message it is time; none if nothing is postponed.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.postponed.map(|since| A_WHILE.saturating_sub(since.elapsed()))
    }
}

/// Offers a build to the hook, and follows it if that accepts.
pub(crate) fn offer(
    remote: &RemoteBuilder<'_>,
    context: &builder::Context<'_>,
    job: &Job,
    willing: bool,
    hands: &Hands,
    messages: &SyncSender<Message>,
) {
    let goal = job.goal;
    let id = BuildId::new();
    // Without a hand it cannot be cancelled.
    let hand = Hand::new(goal, id.clone(), messages.clone()).ok();
    hand.iter().for_each(|hand| hands.add(hand));
    let named = Named { id, hand };
    let answer = catch_unwind(AssertUnwindSafe(|| follow(remote, context, job, willing, &named, messages)));
    hands.remove(goal);
    let message = match answer {
        Err(panic) => Message::Ended(goal, Err(panic)),
        Ok(Err(failure)) => Message::Ended(goal, Ok(Err(failure))),
        Ok(Ok(Answer::Built(outputs))) => {
            Message::Ended(goal, Ok(Ok(Built { outputs, maker: Maker::Elsewhere })))
        }
        Ok(Ok(Answer::Declined { said, permanently })) => {
            Message::Offered(goal, Offered::Declined { said, permanently })
        }
        Ok(Ok(Answer::Postponed)) => Message::Offered(goal, Offered::Postponed),
    };
    // Nobody listens any more when the reader is unwinding.
    let _ = messages.send(message);
}

/// By what name an offered build goes, and who may give it up.
struct Named {
    id: BuildId,
    hand: Option<Arc<Hand>>,
}

fn follow(
    remote: &RemoteBuilder<'_>,
    context: &builder::Context<'_>,
    job: &Job,
    willing: bool,
    named: &Named,
    messages: &SyncSender<Message>,
) -> Result<Answer, BuildFailure> {
    let goal = job.goal;
    let (drv, derivation) = match &job.work {
        Work::Fetch(_) => unreachable!("what is fetched is offered to nobody"),
        Work::AsItIs(derivation) => (&job.drv, &**derivation),
        Work::Resolved(resolved) => {
            let failed = |source| BuildFailure::Prepare { drv: resolved.path().clone(), source };
            ready::keep(context.store, resolved).map_err(failed)?;
            (resolved.path(), resolved.derivation())
        }
    };
    let log = Log::new(Keep::of(context, drv));
    let mut run = None;
    let mut lines = Lines::default();
    let tell = |message: Message| drop(messages.send(message));
    let order = Order { id: &named.id, drv, derivation, target: &job.target, control: None };
    let outputs = derivation.outputs.iter();
    let outputs = outputs.filter_map(|(name, output)| Some((name.to_string(), output.path()?.clone())));
    let mut announced = AnnouncedBuild::new(context, &order, outputs.collect());
    let given_up = named.hand.as_ref().map(|hand| hand.given_up());
    let mut is_accepted = false;
    let carry_out = || {
        let answer = remote.offer(drv, derivation, willing, given_up, &mut |message| match message {
            remote_builder::Message::Accepted(machine) => {
                announced.is_elsewhere(machine);
                is_accepted = true;
                run = Some(log.begin());
                tell(Message::Offered(goal, Offered::Accepted(machine.to_owned())));
            }
            remote_builder::Message::Output(bytes) => {
                if let Some(run) = &mut run {
                    run.write(bytes);
                }
                if let Some(text) = lines.push(bytes) {
                    tell(Message::Log(goal, text));
                }
            }
            remote_builder::Message::Warning(text) => tell(Message::Warning(goal, text)),
            remote_builder::Message::Detail(text) => tell(Message::Detail(goal, Detail::Stage(text))),
        });
        if let Some(text) = lines.finish() {
            tell(Message::Log(goal, text));
        }
        let log_tail = run.take().map(Run::end).unwrap_or_default();
        answer.map_err(|error| match error.status() {
            Some(ExitStatus::GivenUp) => BuildFailure::GivenUp { drv: drv.clone() },
            status => BuildFailure::Elsewhere {
                drv: drv.clone(),
                code: status.and_then(|status| match status {
                    ExitStatus::Code(code) => Some(code),
                    _ => None,
                }),
                log_tail,
                source: Box::new(error),
            },
        })
    };
    let warn = &mut |message: builder::Message<'_>| {
        if let builder::Message::Warning(text) = message {
            tell(Message::Warning(goal, text));
        }
    };
    let answer =
        builder::remembering(context.store, drv, &log, Until::readable(given_up), warn, |_| carry_out());
    if let (Ok(Answer::Built(outputs)), true) = (&answer, is_accepted) {
        builder::run_post_build_hook(context, drv, outputs, &mut |message| {
            if let builder::Message::Output(line) = message {
                tell(Message::Log(goal, line.to_vec()));
            }
        })?;
    }
    answer
}
