//! The caller's hand on builds: giving them up, and waiting for locks without taking anybody's slot.
//!
//! ```text
//! worker: build ── lock is taken ──► Message::Waiting ──► driver puts the goal off; another worker takes this one's place
//!           │                                                  │
//!           ├── a thread of its own blocks on the lock         │
//!           ▼                                                  ▼
//!        has the lock ──► Message::Locked ──► driver lets the goal be handed out again ──► grants a slot ──► builds
//! ```
//!
//! Whoever waits for a lock holds none that others build under, and whoever waits for a slot waits only for builds that
//! run; so nobody waits in a ring, in whatever order several processes want the same.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use builder::{Control, Follow, Heard};
use local_store::{BuildId, Error, LockRequest, PathLock};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use scheduler::GoalId;

use crate::worker::Message;

/// The hand on one build.
#[derive(Debug)]
pub(crate) struct Hand {
    goal: GoalId,
    /// By what name others speak of it.
    id: BuildId,
    /// Readable once the build is given up; then it stays so.
    given_up: EventFd,
    /// Readable when there is news of the lock or the slot.
    news: EventFd,
    standing: Mutex<Standing>,
    messages: SyncSender<Message>,
}

#[derive(Debug, Default)]
struct Standing {
    /// What the thread that waits has got.
    lock: Option<Result<PathLock, Error>>,
    has_slot: bool,
    /// Nobody is interested in the lock any more.
    has_left: bool,
    /// Whether it has waited at all.
    has_waited: bool,
}

impl Hand {
    pub(crate) fn new(goal: GoalId, id: BuildId, messages: SyncSender<Message>) -> nix::Result<Arc<Self>> {
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let (given_up, news) = (event()?, event()?);
        Ok(Arc::new(Self { goal, id, given_up, news, standing: Mutex::default(), messages }))
    }

    /// Readable once the build is given up.
    pub(crate) fn given_up(&self) -> BorrowedFd<'_> {
        self.given_up.as_fd()
    }

    /// Returns whose build it is.
    pub(crate) fn goal(&self) -> GoalId {
        self.goal
    }

    /// Gives the build up.
    pub(crate) fn give_up(&self) {
        // It can fail only if that was said very often.
        let _ = self.given_up.write(1);
    }

    /// Lets a build that has waited go on.
    pub(crate) fn grant_slot(&self) {
        self.standing().has_slot = true;
        let _ = self.news.write(1);
    }

    /// Whether it has waited for a lock, while others took the place of its thread.
    pub(crate) fn has_waited(&self) -> bool {
        self.standing().has_waited
    }

    fn locked(&self, lock: Result<PathLock, Error>) {
        let mut standing = self.standing();
        if !standing.has_left {
            standing.lock = Some(lock);
            let _ = self.news.write(1);
        }
    }

    /// Returns the lock once it is there and there is a slot, too.
    fn take_lock(&self) -> Option<Result<PathLock, Error>> {
        let mut standing = self.standing();
        if standing.has_slot { standing.lock.take() } else { None }
    }

    /// Takes no lock that comes from now on.
    fn leave(&self) {
        let mut standing = self.standing();
        standing.has_left = true;
        // Of a build that was given up.
        drop(standing.lock.take());
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for news; false once the build was given up.
    fn hear(&self, log: Option<&Follow>) -> bool {
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![watch(self.given_up.as_fd()), watch(self.news.as_fd())];
        fds.extend(log.map(|log| watch(log.as_fd())));
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let _ = self.news.read();
        !fds[0].any().unwrap_or(false)
    }
}

/// A [`Hand`] as the builder feels it.
pub(crate) struct Held<'a> {
    pub(crate) hand: Arc<Hand>,
    /// Has another worker take the place of this one.
    pub(crate) replace: &'a dyn Fn(),
}

impl Debug for Held<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.hand.fmt(f)
    }
}

impl Held<'_> {
    /// Has a thread wait for locks, and another worker take the place of this one. Where there is no thread to be had, that is
    /// what came of it: by now the goal is put off, and ends as one that has got something.
    fn have_waited(&self, request: LockRequest) {
        if !std::mem::replace(&mut self.hand.standing().has_waited, true) {
            (self.replace)();
        }
        let waits = self.hand.clone();
        // Not one of the scope's: a lock cannot be waited for and given up, so the thread may be left behind. It lets go
        // of what it gets.
        let waiter = thread::Builder::new().spawn(move || {
            let lock = request.wait();
            waits.locked(lock);
        });
        if let Err(source) = waiter {
            self.hand.locked(Err(Error::Wait { source }));
        }
    }
}

impl Control for Held<'_> {
    fn given_up(&self) -> BorrowedFd<'_> {
        self.hand.given_up()
    }

    fn wait(
        &self,
        request: LockRequest,
        mut log: Option<Follow>,
        on_output: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<PathLock>, Error> {
        let hand = &self.hand;
        self.have_waited(request);
        let mut is_told = false;
        let lock = loop {
            if let Some(log) = &mut log {
                log.read(&mut |heard| match heard {
                    Heard::Output(bytes) => on_output(bytes),
                    Heard::Again => {}
                });
            }
            if let Some(lock) = hand.take_lock() {
                break Some(lock);
            }
            if !is_told && hand.standing().lock.is_some() {
                is_told = true;
                let _ = hand.messages.send(Message::Locked(hand.goal));
            }
            if !hand.hear(log.as_ref()) {
                break None;
            }
        };
        hand.leave();
        lock.transpose()
    }

    fn wait_to_keep(&self, request: LockRequest) -> Result<Option<PathLock>, Error> {
        let hand = &self.hand;
        {
            let mut standing = hand.standing();
            // Its builder has ended, so it takes nobody's.
            (standing.has_slot, standing.has_left) = (true, false);
        }
        self.have_waited(request);
        let lock = loop {
            if let Some(lock) = hand.take_lock() {
                break Some(lock);
            }
            if !hand.hear(None) {
                break None;
            }
        };
        hand.leave();
        lock.transpose()
    }
}

/// The hands on all builds that were handed out.
#[derive(Debug, Default)]
pub(crate) struct Hands(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    hands: HashMap<GoalId, Arc<Hand>>,
    /// Whether those that are still to come are given up as well.
    are_given_up: bool,
}

impl Hands {
    pub(crate) fn add(&self, hand: &Arc<Hand>) {
        let mut all = self.all();
        if all.are_given_up {
            hand.give_up();
        }
        all.hands.insert(hand.goal, hand.clone());
    }

    pub(crate) fn remove(&self, goal: GoalId) {
        self.all().hands.remove(&goal);
    }

    pub(crate) fn get(&self, goal: GoalId) -> Option<Arc<Hand>> {
        self.all().hands.get(&goal).cloned()
    }

    /// Whether all are given up.
    pub(crate) fn are_given_up(&self) -> bool {
        self.all().are_given_up
    }

    /// Returns the hand on the build of that name.
    pub(crate) fn by_id(&self, id: &BuildId) -> Option<Arc<Hand>> {
        self.all().hands.values().find(|hand| hand.id == *id).cloned()
    }

    /// Gives up all that there are and will be.
    pub(crate) fn give_up_all(&self) {
        let mut all = self.all();
        all.are_given_up = true;
        all.hands.values().for_each(|hand| hand.give_up());
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives up all builds when it is dropped, those above all that wait for something.
pub(crate) struct GiveUpOnDrop<'a>(pub(crate) &'a Hands);

impl Drop for GiveUpOnDrop<'_> {
    fn drop(&mut self) {
        self.0.give_up_all();
    }
}
