//! What has become wanted since the roots were read, and what is going right now.
//!
//! Both are known by digest, since what belongs to a path (its lock, its scratch directory) begins with that, too.

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::sync::Mutex;

use store_path::Digest;

use crate::store::guard;

/// What the collector and whoever answers at its socket both know.
pub(super) struct Newcomers {
    state: Mutex<State>,
    /// Wakes the one who answers.
    bell: PipeWriter,
}

#[derive(Default)]
struct State {
    /// What the collector has not heard of yet.
    fresh: Vec<Digest>,
    /// What is being deleted, and how much of it: a path that was left half-made goes beside its lock, at the same time.
    going: HashMap<Digest, usize>,
    /// Whether somebody waits for that.
    is_awaited: bool,
    is_over: bool,
}

impl Newcomers {
    /// Returns the other end of the bell, too.
    pub(super) fn new() -> io::Result<(Self, PipeReader)> {
        let (heard, bell) = io::pipe()?;
        Ok((Self { state: Mutex::default(), bell }, heard))
    }

    /// Notes that something is wanted from now on. Returns false if it is being deleted: then it has to be waited for.
    pub(super) fn want(&self, digest: Digest) -> bool {
        let mut state = guard(&self.state);
        state.fresh.push(digest);
        !state.await_end_of(&digest)
    }

    /// Whether something is still being deleted.
    pub(super) fn is_going(&self, digest: &Digest) -> bool {
        guard(&self.state).await_end_of(digest)
    }

    /// Decides with `choose`, which hears what is wanted since the last time, what is deleted next: nothing that somebody
    /// says to be wanted after that is safe from it until [`Newcomers::is_gone`] says so.
    pub(super) fn doom<T>(
        &self,
        choose: impl FnOnce(&[Digest]) -> Vec<T>,
        digest: impl Fn(&T) -> Option<Digest>,
    ) -> Vec<T> {
        let mut state = guard(&self.state);
        let fresh = std::mem::take(&mut state.fresh);
        let chosen = choose(&fresh);
        for digest in chosen.iter().filter_map(digest) {
            *state.going.entry(digest).or_default() += 1;
        }
        chosen
    }

    /// Says that one of the things with this digest is gone, or stays.
    pub(super) fn is_gone(&self, digest: &Digest) {
        let mut state = guard(&self.state);
        if let Some(left) = state.going.get_mut(digest) {
            *left -= 1;
            if *left > 0 {
                return;
            }
            state.going.remove(digest);
        }
        if std::mem::take(&mut state.is_awaited) {
            self.ring();
        }
    }

    /// Says that nothing is being deleted.
    pub(super) fn none_is_going(&self) {
        let mut state = guard(&self.state);
        state.going.clear();
        if std::mem::take(&mut state.is_awaited) {
            self.ring();
        }
    }

    /// Whether the collection has ended.
    pub(super) fn is_over(&self) -> bool {
        guard(&self.state).is_over
    }

    fn ring(&self) {
        // If it is full, it will be heard all the same.
        let _ = (&self.bell).write_all(b"!");
    }
}

impl State {
    fn await_end_of(&mut self, digest: &Digest) -> bool {
        let is_going = self.going.contains_key(digest);
        self.is_awaited |= is_going;
        is_going
    }
}

/// Ends the answering when it is dropped, also when the collection panics.
pub(super) struct Over<'a>(pub(super) &'a Newcomers);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        guard(&self.0.state).is_over = true;
        self.0.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::some_path;

    #[test]
    fn a_digest_is_going_until_all_that_begins_with_it_is_gone() {
        let (newcomers, _bell) = Newcomers::new().unwrap();
        let digest = *some_path("x").digest();
        newcomers.doom(|_| vec!["x", "x.lock"], |_| Some(digest));
        newcomers.is_gone(&digest);
        assert!(!newcomers.want(digest) && newcomers.is_going(&digest), "the other one is going still");
        newcomers.is_gone(&digest);
        assert!(!newcomers.is_going(&digest) && newcomers.want(digest));
    }
}
