//! What is told while and after goals are realised.

use std::collections::BTreeMap;
use std::path::Path;

use builder::{Again, BuildFailure, Explanation, Maker};
use derivation::{Link, OutputName};
use local_store::{BuildId, Collected, Wait};
use sandbox::Exit;
use store_path::StorePath;

use crate::fetch::FetchError;
use crate::plan::Plan;
use crate::wanted::Realised;

/// Something that happened. Told on the thread that called [`crate::realise`], in order.
#[derive(Debug)]
pub enum Event<'a> {
    /// It is known what has to be built; nothing has started yet.
    Planned(&'a Plan),
    /// An output turned out to be a derivation of which something is wanted.
    Found {
        /// The output.
        file: &'a Link,
        /// The derivation.
        drv: &'a StorePath,
        /// What has to be built for it, inputs first.
        to_build: &'a [&'a StorePath],
        /// The plan with that in it.
        plan: &'a Plan,
    },
    /// All inputs of a derivation are known, and this is what will be built in its place.
    Resolved {
        /// The derivation.
        drv: &'a StorePath,
        /// What it resolves to.
        resolved: &'a StorePath,
    },
    /// A derivation need not be built after all: its inputs came out as they were when it was built before.
    Unchanged {
        /// The derivation.
        drv: &'a StorePath,
        /// What it resolves to, whose outputs are there.
        resolved: &'a StorePath,
    },
    /// A build was handed to a worker.
    Started {
        /// The derivation.
        drv: &'a StorePath,
    },
    /// A build does nothing yet, as it waits for something that others have.
    Waiting {
        /// The derivation.
        drv: &'a StorePath,
        /// What for.
        wait: &'a Wait,
    },
    /// A build goes on that has waited for the locks of others.
    WaitOver {
        /// The derivation.
        drv: &'a StorePath,
    },
    /// A builder runs.
    Running {
        /// The derivation.
        drv: &'a StorePath,
        /// By what name to speak of the build.
        id: &'a BuildId,
        /// The first process of the builder, or its keeper.
        process: u32,
    },
    /// The build hook wants to be asked again later whether it takes a build.
    Postponed {
        /// The derivation.
        drv: &'a StorePath,
    },
    /// Too little of the disk was free (setting `min-free`), so garbage was collected.
    MadeRoom {
        /// What came of it.
        collected: &'a Collected,
    },
    /// Too little of the disk was free, and garbage could not be collected.
    NoRoom {
        /// Why.
        error: &'a local_store::Error,
    },
    /// A path was handed to a worker, which has it fetched by a substituter.
    Fetching {
        /// The path.
        path: &'a StorePath,
        /// Who fetches it.
        program: &'a Path,
        /// How many bytes that takes; zero where nobody knows.
        download_size: u64,
    },
    /// What fetches a path has printed something.
    FetchLog {
        /// The path.
        path: &'a StorePath,
        /// What was printed, without the end of the line.
        line: &'a [u8],
    },
    /// A path that was to be fetched is valid.
    Fetched {
        /// The path.
        path: &'a StorePath,
    },
    /// A path could not be fetched.
    NotFetched {
        /// The path.
        path: &'a StorePath,
        /// Why.
        error: &'a FetchError,
    },
    /// All outputs of a derivation are there, and were fetched: it need not be built.
    Substituted {
        /// The derivation.
        drv: &'a StorePath,
        /// Its outputs.
        outputs: &'a BTreeMap<OutputName, StorePath>,
    },
    /// Outputs of a derivation could not be fetched, and it is built after all.
    FellBack {
        /// The derivation.
        drv: &'a StorePath,
        /// Why one of them could not be fetched.
        error: &'a FetchError,
        /// What else has to be built for it, inputs first.
        to_build: &'a [&'a StorePath],
        /// The plan with that in it.
        plan: &'a Plan,
    },
    /// A build that was started is done elsewhere.
    Elsewhere {
        /// The derivation.
        drv: &'a StorePath,
        /// The machine, as the build hook calls it.
        machine: &'a str,
    },
    /// A build printed a line.
    Log {
        /// The derivation.
        drv: &'a StorePath,
        /// The line, without its end.
        line: &'a [u8],
    },
    /// Something about a build that does not end it.
    Warning {
        /// The derivation.
        drv: &'a StorePath,
        /// What the user should know.
        text: &'a str,
    },
    /// A step of setting a build's sandbox up or taking it down.
    Detail {
        /// The derivation.
        drv: &'a StorePath,
        /// What happens.
        detail: &'a sandbox::Detail,
    },
    /// An observed builder has ended, and this is what it looked for in vain.
    Explained {
        /// The derivation.
        drv: &'a StorePath,
        /// What it lacked.
        explanation: &'a Explanation,
    },
    /// A build is over and its outputs are valid.
    Built {
        /// The derivation.
        drv: &'a StorePath,
        /// Its outputs.
        outputs: &'a BTreeMap<OutputName, StorePath>,
        /// The size of all of them, as archives.
        output_bytes: u64,
        /// Who has made them.
        maker: &'a Maker,
    },
    /// A build is run once more, to compare what comes out.
    Again {
        /// The derivation.
        drv: &'a StorePath,
        /// Which of how many it is.
        again: &'a Again,
    },
    /// What was there has been built once more, and came out the same.
    Checked {
        /// The derivation.
        drv: &'a StorePath,
        /// Its outputs.
        outputs: &'a BTreeMap<OutputName, StorePath>,
        /// What the builder used.
        usage: Option<Exit>,
    },
    /// A build is over, in vain.
    Failed(&'a Failure),
    /// A build was given up, or ended since all was to stop, which is no failure of its own.
    Cancelled {
        /// The derivation.
        drv: &'a StorePath,
        /// Whether all was to stop.
        with_all: bool,
    },
    /// A goal can never run.
    Blocked(&'a Blocked),
    /// Nothing has happened for as long as [`Context::tick`](crate::Context) says.
    Tick,
}

/// A build that was tried in vain.
#[derive(Debug)]
pub struct Failure {
    /// The derivation.
    pub drv: StorePath,
    /// What was built in its place, if that was another one: logs are kept under its name.
    pub resolved: Option<StorePath>,
    /// What went wrong, with the last lines of the log.
    pub error: BuildFailure,
    /// Why it was to be built: the derivations from one that was wanted to this one, each needed by the one before.
    pub wanted_by: Vec<StorePath>,
    /// How many builds are known that need it, and will not be tried.
    pub blocked: usize,
}

impl Failure {
    /// Returns the derivation that was built: the one that failed, or what it resolved to.
    pub fn built(&self) -> &StorePath {
        self.resolved.as_ref().unwrap_or(&self.drv)
    }
}

/// A goal that was not tried since something it needs failed or was given up, or since nobody needs it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The derivation.
    pub drv: StorePath,
    /// The derivation that failed, which is its input or an input of one; or that was given up, which may need it instead.
    pub by: StorePath,
    /// Whether that was given up.
    pub is_cancelled: bool,
}

/// What became of everything that was wanted.
#[derive(Debug, Default)]
pub struct Report {
    /// What is valid now, in the order of the question.
    pub realised: Vec<Realised>,
    /// What is not: places in the question.
    pub not_realised: Vec<usize>,
    /// The derivations that were built, in the order in which they ended.
    pub built: Vec<StorePath>,
    /// The derivations that were built once more, and came out the same.
    pub checked: Vec<StorePath>,
    /// The derivations that need not be built after all, since their inputs came out as they were before.
    pub unchanged: Vec<StorePath>,
    /// The derivations whose outputs were fetched instead.
    pub substituted: Vec<StorePath>,
    /// The builds that failed, in the order in which they did.
    pub failures: Vec<Failure>,
    /// The builds that somebody has given up while the rest went on.
    pub cancelled: Vec<StorePath>,
    /// The goals that could not be tried.
    pub blocked: Vec<Blocked>,
    /// The goals that could have been tried, had nothing failed before (without `keep-going`), and those that were
    /// stopped.
    pub not_started: Vec<StorePath>,
    /// Whether the caller had it stopped.
    pub stopped: bool,
}

impl Report {
    /// Returns what became of it in one word: `interrupted`, `failed`, `cancelled` or `done`.
    pub fn status(&self) -> &'static str {
        match (self.stopped, self.failures.is_empty()) {
            (true, _) => "interrupted",
            (false, false) => "failed",
            (false, true) if !self.cancelled.is_empty() => "cancelled",
            (false, true) => "done",
        }
    }
}
