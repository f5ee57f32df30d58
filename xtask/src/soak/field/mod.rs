//! A store on which many do much at once, for a while: building, collecting garbage, optimising and verifying.
//!
//! Nobody may fail, and nothing that is wanted may be missing or changed. `cargo xtask soak` does it for long, and a test
//! for some seconds; so nothing here is of either.

mod chance;
mod graph;
mod hand;
mod inspect;
mod tally;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hand::Hand;
pub(crate) use tally::Tally;

/// What builders run; without it there is nothing to build with.
pub(crate) const SHELL: &str = "/bin/busybox";

/// Who does what, where, and for how long.
pub(crate) struct Field {
    /// The `store` program.
    pub(crate) program: PathBuf,
    /// An empty directory for the store and all that is beside it.
    pub(crate) directory: PathBuf,
    /// What chance decides. How processes meet it does not.
    pub(crate) seed: u64,
    /// How many build at the same time.
    pub(crate) builders: usize,
    pub(crate) time: Duration,
    /// Whether Nix collects, optimises and verifies as well.
    pub(crate) with_nix: bool,
    /// Whether Nix is there to say in the end what it thinks of the store.
    pub(crate) has_nix: bool,
    /// Whether some are killed half-way.
    pub(crate) kills: bool,
}

/// What went wrong first.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What was run, or looked at.
    pub(crate) what: String,
    /// What it said, or what is wrong with it.
    pub(crate) said: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n{}", self.what, self.said)
    }
}

/// What those who take part share.
struct Common {
    field: Field,
    begun: Instant,
    /// Set when time is up, or something has failed.
    is_over: AtomicBool,
    failure: Mutex<Option<Failure>>,
    tally: Tally,
    /// Tells apart what is built once.
    next: AtomicU64,
}

impl Common {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed) && self.begun.elapsed() < self.field.time
    }

    /// Ends everything, unless something else has failed before.
    fn fail(&self, failure: Failure) {
        self.failure.lock().expect("nobody panics with it").get_or_insert(failure);
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Does one thing after the other until it is over.
    fn repeat(&self, mut act: impl FnMut() -> Result<(), Failure>) {
        while self.goes_on() {
            if let Err(failure) = act() {
                return self.fail(failure);
            }
        }
    }
}

/// Lets everybody work until the time is up; then looks whether all is well, and what is left when nothing is wanted.
///
/// # Errors
/// The first thing that went wrong. The store stays as it was then.
pub(crate) fn run(field: Field) -> Result<Tally, Failure> {
    for name in ["store", "home", "links", "graphs"] {
        let directory = field.directory.join(name);
        fs::create_dir_all(&directory).map_err(|error| Failure {
            what: format!("cannot make `{}`", directory.display()),
            said: error.to_string(),
        })?;
    }
    let common = Common {
        field,
        begun: Instant::now(),
        is_over: AtomicBool::new(false),
        failure: Mutex::new(None),
        tally: Tally::default(),
        next: AtomicU64::new(0),
    };
    // Whoever collects, optimises or verifies finds a store.
    Hand::new(&common, 0).begin()?;
    thread::scope(|scope| {
        for number in 0..common.field.builders {
            let mut hand = Hand::new(&common, number);
            let common = &common;
            scope.spawn(move || {
                common.repeat(|| hand.build());
                // What is still rooted is there, too.
                hand.look_at_all().unwrap_or_else(|failure| common.fail(failure));
            });
        }
        for number in 0..3 {
            let mut hand = Hand::new(&common, 1000 + number);
            let common = &common;
            scope.spawn(move || {
                common.repeat(|| match number {
                    0 => hand.collect(),
                    1 => hand.optimise(),
                    _ => hand.verify(),
                });
            });
        }
    });
    if let Some(failure) = common.failure.lock().expect("nobody panics with it").take() {
        return Err(failure);
    }
    inspect::all(&common)?;
    Ok(common.tally)
}
