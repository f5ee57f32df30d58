//! Work in rounds: all of one is done, by whoever helps, before the next begins.
//!
//! Rounds are many and short, so who helps waits for the next one without going to sleep, for a moment.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// As often is looked whether there is work before going to sleep: some 20 microseconds.
const LOOKS: usize = 2000;

/// What is open is taken in so many shares,
const SHARES: usize = 16;

/// and none has more than so many.
const MOST: usize = 16;

/// What is done in rounds, and where it lies meanwhile.
pub(super) struct Rounds<J, D, F> {
    work: F,
    open: Mutex<Vec<J>>,
    done: Mutex<Vec<D>>,
    /// Whoever helps sleeps by this.
    more: Condvar,
    /// As many are in `open`.
    waiting: AtomicUsize,
    /// As many of this round are not in `done`.
    left: AtomicUsize,
    is_over: AtomicBool,
}

impl<J, D, F: Fn(J) -> D> Rounds<J, D, F> {
    pub(super) fn new(work: F) -> Self {
        Self {
            work,
            open: Mutex::new(Vec::new()),
            done: Mutex::new(Vec::new()),
            more: Condvar::new(),
            waiting: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// Has all of `jobs` done, and returns what came of them, in no order.
    pub(super) fn round(&self, jobs: Vec<J>) -> Vec<D> {
        let count = jobs.len();
        self.left.store(count, Ordering::Relaxed);
        {
            let mut open = locked(&self.open);
            *open = jobs;
            self.waiting.store(count, Ordering::Release);
        }
        if count > 1 {
            self.more.notify_all();
        }
        while self.do_some() {}
        let mut looks = 0;
        while self.left.load(Ordering::Acquire) > 0 && !self.is_over.load(Ordering::Relaxed) {
            looks += 1;
            // Whoever has the last of it may wait for this processor.
            if looks % LOOKS == 0 { std::thread::yield_now() } else { spin_loop() }
        }
        std::mem::take(&mut *locked(&self.done))
    }

    /// Helps until the guard of [`Self::lead`] is dropped.
    pub(super) fn help(&self) {
        // Should the work panic, nobody is to wait for it.
        let end = End(self);
        while !self.is_over.load(Ordering::Relaxed) {
            if !self.do_some() && !(0..LOOKS).any(|_| self.has_more()) {
                let open = locked(&self.open);
                drop(self.more.wait_while(open, |_| !self.has_more()));
            }
        }
        std::mem::forget(end);
    }

    /// What ends the help when it is dropped.
    pub(super) fn lead(&self) -> impl Drop {
        End(self)
    }

    fn has_more(&self) -> bool {
        spin_loop();
        self.waiting.load(Ordering::Acquire) > 0 || self.is_over.load(Ordering::Relaxed)
    }

    /// Does a share of what is open, so small that nobody waits long for the last of it.
    fn do_some(&self) -> bool {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return false;
        }
        let jobs = {
            let mut open = locked(&self.open);
            let rest = open.len() - open.len().div_ceil(SHARES).min(MOST);
            let jobs = open.split_off(rest);
            self.waiting.store(rest, Ordering::Release);
            jobs
        };
        let count = jobs.len();
        let done: Vec<D> = jobs.into_iter().map(&self.work).collect();
        locked(&self.done).extend(done);
        self.left.fetch_sub(count, Ordering::Release);
        count > 0
    }
}

struct End<'a, J, D, F>(&'a Rounds<J, D, F>);

impl<J, D, F> Drop for End<'_, J, D, F> {
    fn drop(&mut self) {
        // With the lock, so that nobody goes to sleep between looking and being told.
        let _open = locked(&self.0.open);
        self.0.is_over.store(true, Ordering::Relaxed);
        self.0.more.notify_all();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests start the threads that a caller would")]

    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Has some help a lead, as the workers of a review do.
    fn with_help<J: Send, D: Send, F: Fn(J) -> D + Sync>(
        rounds: &Rounds<J, D, F>,
        lead: impl FnOnce(&Rounds<J, D, F>),
    ) {
        std::thread::scope(|scope| {
            (0..3).for_each(|_| drop(scope.spawn(|| rounds.help())));
            let _end = rounds.lead();
            lead(rounds);
        });
    }

    #[test]
    fn nothing_is_lost_in_many_rounds() {
        let rounds = Rounds::new(|number: usize| number * 2);
        with_help(&rounds, |rounds| {
            for count in (0..200).chain([5000]) {
                let mut done = rounds.round((0..count).collect());
                done.sort_unstable();
                assert_eq!(done, (0..count).map(|number| number * 2).collect::<Vec<_>>());
                // Now and then all go to sleep.
                if count % 50 == 0 {
                    (0..100 * LOOKS).for_each(|_| spin_loop());
                }
            }
        });
    }

    /// Neither does who leads wait for what is not done any more, nor does anybody who helps.
    #[test]
    fn a_panic_ends_it_for_all_whoever_has_it() {
        for bad in [0, 40, 99] {
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let rounds = Rounds::new(|number: usize| assert!(number != bad));
                with_help(&rounds, |rounds| drop(rounds.round((0..100).collect())));
            }));
            assert!(ended.is_err());
        }
    }

    #[test]
    fn who_comes_late_does_not_wait() {
        let rounds = Rounds::new(|number: usize| number);
        drop(rounds.lead());
        rounds.help();
        assert_eq!(rounds.round(vec![1]), [1]);
    }
}
