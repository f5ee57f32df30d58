//! One goal of a run, and when it was what.

use std::time::Duration;

use store_path::StorePath;

/// What a build can wait for, once it is known that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// What it takes in is not there yet.
    Inputs,
    /// As many builds run as may.
    Slot,
    /// There is a slot, but it is expected to need more memory than is left.
    Memory,
    /// Another process has the locks of its outputs.
    Lock,
    /// Other builds have all users of builds.
    User,
    /// The build hook wants to be asked again later, or a hook runs before the build does.
    Hook,
}

impl Cause {
    pub(super) const ALL: [Self; 6] =
        [Self::Inputs, Self::Slot, Self::Memory, Self::Lock, Self::User, Self::Hook];

    /// Returns its name in the page's data.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Slot => "slot",
            Self::Memory => "memory",
            Self::Lock => "lock",
            Self::User => "user",
            Self::Hook => "hook",
        }
    }
}

/// How far a goal came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// It never started.
    #[default]
    Waiting,
    /// It is not over.
    Running,
    Built,
    /// It was built once more, and came out the same.
    Checked,
    /// It need not be built after all.
    Unchanged,
    Failed,
    Cancelled,
    /// Something that it needs failed.
    Blocked,
}

impl State {
    /// Returns its name in the page's data.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Built => "built",
            Self::Checked => "checked",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Blocked => "blocked",
        }
    }

    /// Whether what needs the goal can go on.
    pub(super) fn is_well(self) -> bool {
        matches!(self, Self::Built | Self::Checked | Self::Unchanged)
    }
}

/// A goal; all times are since the beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Goal {
    pub(super) name: String,
    /// None if it stands for a derivation that an output will be.
    pub(super) drv: Option<StorePath>,
    /// Places of the goals that it needs.
    pub(super) inputs: Vec<usize>,
    /// Places of the goals that need it.
    pub(super) users: Vec<usize>,
    /// How many of those that it needs are not there.
    pub(super) missing: usize,
    /// Whether there is nothing to do for it itself.
    pub(super) is_found: bool,
    pub(super) state: State,
    /// When it became known.
    pub(super) known: Duration,
    /// When nothing that it needs was missing any more.
    pub(super) ready: Option<Duration>,
    pub(super) started: Option<Duration>,
    /// When its builder began.
    pub(super) running: Option<Duration>,
    pub(super) ended: Option<Duration>,
    /// How long it waited for what.
    pub(super) waits: Vec<(Cause, Duration)>,
    /// What it waits for now, and since when.
    pub(super) waits_now: Option<(Cause, Duration)>,
    /// While it waits for its turn: since when, and for how long there had been slots that nobody took by then.
    pub(super) queued: Option<(Duration, Duration)>,
    pub(super) phases: Vec<(Duration, String)>,
    /// How long it was expected to take.
    pub(super) expected: Option<Duration>,
    /// As much memory; 0 if nobody knows, and then it never waits for any.
    pub(super) expected_memory: u64,
    pub(super) process: Option<u32>,
    pub(super) cpu_time: Duration,
    pub(super) memory_bytes: u64,
    pub(super) peak_memory_bytes: u64,
    pub(super) output_bytes: Option<u64>,
    pub(super) machine: Option<String>,
    /// Why it failed.
    pub(super) message: Option<String>,
    pub(super) log_tail: Vec<String>,
}

impl Goal {
    /// Returns when it began to do something: its builder, or, if it had none, the build.
    pub(super) fn began(&self) -> Option<Duration> {
        self.running.or(self.started)
    }

    /// Returns how long it was at it.
    pub(super) fn took(&self) -> Duration {
        self.began().zip(self.ended).map_or(Duration::ZERO, |(began, ended)| ended.saturating_sub(began))
    }

    /// Notes that from now on it waits for that, or for nothing.
    pub(super) fn turn_to(&mut self, cause: Option<Cause>, now: Duration) {
        if let Some((before, since)) = self.waits_now.take() {
            self.waited(before, now.saturating_sub(since));
        }
        self.waits_now = cause.map(|cause| (cause, now));
    }

    /// Adds to the time that it waited.
    pub(super) fn waited(&mut self, cause: Cause, time: Duration) {
        match self.waits.iter_mut().find(|(other, _)| *other == cause) {
            Some((_, sum)) => *sum += time,
            None => self.waits.push((cause, time)),
        }
    }
}
