//! Making room while builds run: the settings `min-free` and `max-free`.
//!
//! A thread looks at the disk now and then, and collects garbage when too little is free. What the builds use is rooted,
//! so nothing has to wait for it.

use std::os::fd::BorrowedFd;
use std::sync::mpsc::SyncSender;

use local_store::{Collection, LocalStore, Until};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use settings::Settings;

use crate::worker::Message;

/// Not so much less than after the last collection means that there was nothing to collect, and would be nothing now.
const MUCH_LESS: f64 = 0.97;

/// The shortest time between two looks, in milliseconds.
const LEAST_MILLIS: i32 = 100;

/// How much room there is to be.
pub(crate) struct Room<'a> {
    store: &'a LocalStore,
    settings: &'a Settings,
    /// How much was free after the last collection.
    free_after: Option<u64>,
}

impl<'a> Room<'a> {
    /// Returns nothing if nobody asks for room.
    pub(crate) fn wanted(store: &'a LocalStore, settings: &'a Settings) -> Option<Self> {
        (settings.min_free > 0).then_some(Self { store, settings, free_after: None })
    }

    /// Looks after it until `done` is readable, and tells what came of it.
    pub(crate) fn keep(mut self, done: BorrowedFd<'_>, messages: &SyncSender<Message>) {
        let millis = self.settings.min_free_check_interval.saturating_mul(1000);
        let pause = i32::try_from(millis).unwrap_or(i32::MAX).max(LEAST_MILLIS);
        loop {
            if let Some(bytes) = self.missing() {
                let _ = messages.send(Message::MadeRoom(self.collect(bytes, done)));
                self.free_after = self.store.free_bytes().ok();
            }
            if is_done_within(done, pause) {
                return;
            }
        }
    }

    /// Returns how many bytes should be free that are not.
    fn missing(&self) -> Option<u64> {
        let (least, wanted) = (self.settings.min_free as u64, self.settings.max_free as u64);
        // Where the disk does not say, nothing is done.
        let free = self.store.free_bytes().ok()?;
        missing(free, least, wanted, self.free_after)
    }

    fn collect(
        &self,
        bytes: u64,
        done: BorrowedFd<'_>,
    ) -> Result<local_store::Collected, local_store::Error> {
        let wish = Collection {
            keep_outputs: self.settings.keep_outputs,
            keep_derivations: self.settings.keep_derivations,
            max_freed_bytes: Some(bytes),
            max_size_bytes: None,
            is_rehearsal: false,
            unused_since: None,
            given_up: &[],
            until: Until::readable(Some(done)),
        };
        self.store.collect(&wish, &mut |_| {})
    }
}

fn missing(free: u64, least: u64, wanted: u64, free_after: Option<u64>) -> Option<u64> {
    let is_enough = free >= least || free >= wanted;
    let is_as_before = free_after.is_some_and(|before| free as f64 > before as f64 * MUCH_LESS);
    (!is_enough && !is_as_before).then(|| wanted - free)
}

fn is_done_within(done: BorrowedFd<'_>, millis: i32) -> bool {
    let mut polled = [PollFd::new(done, PollFlags::POLLIN)];
    // All numbers from zero on are times.
    poll(&mut polled, PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_collected_when_little_is_free_and_less_than_last_time() {
        assert_eq!(missing(100, 50, 200, None), None);
        assert_eq!(missing(40, 50, 200, None), Some(160));
        assert_eq!(missing(40, 50, 30, None), None, "as much is free as is wanted");
        assert_eq!(missing(40, 50, 200, Some(41)), None, "the last time made no more");
        assert_eq!(missing(30, 50, 200, Some(41)), Some(170));
    }
}
