//! Waiting for another process that has the database locked: in short steps of random length, and not for ever.
//!
//! SQLite calls the handler as long as something is locked. Its own one takes the same steps in each process, so many that
//! wait at once meet again at each step.
#![expect(clippy::disallowed_methods, reason = "nothing tells when a lock of SQLite becomes free")]

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rusqlite::Connection;

/// The first pause, which is doubled from step to step.
const SHORTEST: Duration = Duration::from_millis(1);

/// No pause is longer: a lock is given to whoever comes first after it became free.
const LONGEST: Duration = Duration::from_millis(100);

/// How a connection waits for others.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long in all. Writers hold the lock for milliseconds and a dead process holds nothing, so only a stopped one
    /// is ever waited for that long.
    pub most: Duration,
    /// After how long somebody is told.
    pub quiet: Duration,
    /// Who is told, once for each time that it is waited: which file is locked.
    pub tell: Option<fn(&Path)>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { most: Duration::from_secs(600), quiet: Duration::from_secs(3), tell: None }
    }
}

/// Lets the statements of `connection` wait for others.
pub(crate) fn wait_for_others(
    connection: &mut Connection,
    path: &Path,
    patience: Patience,
) -> rusqlite::Result<()> {
    let mut wait =
        Wait { path: path.to_owned(), patience, waited: Duration::ZERO, random: RandomState::new() };
    connection.busy_handler(Some(move |step| wait.step(step)))
}

struct Wait {
    path: PathBuf,
    patience: Patience,
    /// Since a statement found something locked: what was slept, as that is nearly all of it.
    waited: Duration,
    random: RandomState,
}

impl Wait {
    /// Waits a little, unless it was waited long enough. The first step of each time is number 0.
    fn step(&mut self, step: i32) -> bool {
        if step == 0 {
            self.waited = Duration::ZERO;
        }
        if self.waited >= self.patience.most {
            return false;
        }
        let pause = pause(step, self.random.hash_one(step));
        sleep(pause);
        let before = self.waited;
        self.waited += pause;
        if before < self.patience.quiet
            && self.waited >= self.patience.quiet
            && let Some(tell) = self.patience.tell
        {
            tell(&self.path);
        }
        true
    }
}

/// Between half of what the step allows and all of it.
fn pause(step: i32, random: u64) -> Duration {
    let doublings = step.clamp(0, 16).unsigned_abs();
    let longest = (SHORTEST * 2_u32.pow(doublings)).min(LONGEST);
    let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros / 2 + random % (micros / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ_and_end() {
        let all = |step| (0..100).map(move |random| pause(step, random * 7919));
        assert!(all(0).all(|pause| pause <= SHORTEST && pause >= SHORTEST / 2));
        for step in [7, 16, 17, i32::MAX] {
            assert!(all(step).all(|pause| pause <= LONGEST && pause >= LONGEST / 2), "{step}");
        }
        assert!(all(7).collect::<std::collections::BTreeSet<_>>().len() > 50);
    }

    #[test]
    fn it_is_told_once_and_given_up() {
        let most = Duration::from_millis(20);
        let patience = Patience { most, quiet: Duration::from_millis(5), tell: None };
        let mut wait =
            Wait { path: PathBuf::new(), patience, waited: Duration::ZERO, random: RandomState::new() };
        let steps = (0..).take_while(|step| wait.step(*step)).count();
        assert!((3..=40).contains(&steps), "{steps}");
        assert!(wait.step(0), "each time anew");
    }
}
