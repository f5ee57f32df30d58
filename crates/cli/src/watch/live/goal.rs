//! One goal, as it is shown.

use std::time::Duration;

use super::activity::Activity;

/// What a goal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A build.
    Build,
    /// A path on its way here.
    Fetch,
    /// Stands for a derivation that an output will be.
    Find,
    /// The same, when it is known which one that is.
    Found,
}

/// Where a goal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// For what it needs, or for its turn.
    Waiting,
    Running {
        since: Duration,
    },
    /// Its outputs are there.
    Done,
    Failed {
        /// None if it never ran.
        took: Option<Duration>,
    },
    /// Something that it needs failed, or was cancelled.
    Blocked,
    /// It was given up.
    Cancelled,
}

/// How a build runs.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// What it waits for, though it was begun.
    pub(super) waits_for: Option<String>,
    /// The first process of its builder.
    pub(super) process: Option<u32>,
    pub(super) load: Option<Load>,
    /// What it says of itself.
    pub(super) activity: Activity,
}

/// What a running builder uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// The time that it has had of processors.
    pub(super) cpu_time: Duration,
    /// How much of one processor it uses at the moment, once it was looked at twice.
    pub(super) percent: Option<u64>,
    pub(super) memory_bytes: u64,
}

/// One goal.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) kind: Kind,
    pub(super) name: Box<str>,
    pub(super) state: State,
    /// The goals that need it.
    pub(super) users: Vec<usize>,
    /// The first of them in the plan, under which it is shown.
    pub(super) parent: Option<usize>,
    /// How many of the goals that it needs are not done.
    pub(super) missing: usize,
    /// How long it is expected to take.
    pub(super) expected: Option<Duration>,
    /// How it runs, and ran last when it failed.
    pub(super) run: Option<Box<Run>>,
}

impl Goal {
    pub(super) fn new(kind: Kind, name: &str) -> Self {
        Self {
            kind,
            name: name.into(),
            state: State::Waiting,
            users: Vec::new(),
            parent: None,
            missing: 0,
            expected: None,
            run: None,
        }
    }

    /// Notes that another goal needs it.
    pub(super) fn is_needed_by(&mut self, user: usize) {
        self.users.push(user);
        self.parent = Some(self.parent.map_or(user, |parent| parent.min(user)));
    }

    pub(super) fn is_build(&self) -> bool {
        self.kind == Kind::Build
    }
}
