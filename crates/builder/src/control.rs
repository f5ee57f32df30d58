//! The caller's hand on a build that goes on.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::os::fd::BorrowedFd;

use derivation::OutputName;
use local_store::{Error, LocalStore, LockRequest, PathLock, Wait};

use store_path::{BuildRecord, StorePath};

use crate::build::Message;
use crate::failure::BuildFailure;
use crate::follow::Follow;
use crate::observe::Teller;
use crate::request::Request;
use crate::stopwatch;

/// The caller's hand on one build.
///
/// Threads are the caller's: waiting for a lock takes one of its own, as nothing ends it but the lock.
pub trait Control: Debug {
    /// Returns what is readable once the build has been given up.
    fn given_up(&self) -> BorrowedFd<'_>;

    /// Waits for locks that somebody else has; meanwhile `log` is theirs, and `on_output` hears what is written there.
    /// Nothing is returned if the build has been given up.
    ///
    /// # Errors
    /// As [`LockRequest::wait`].
    fn wait(
        &self,
        request: LockRequest,
        log: Option<Follow>,
        on_output: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<PathLock>, Error>;

    /// Waits for locks that somebody else has, once the builder has ended. Nothing is returned if the build has been given
    /// up.
    ///
    /// # Errors
    /// As [`LockRequest::wait`].
    fn wait_to_keep(&self, request: LockRequest) -> Result<Option<PathLock>, Error>;
}

/// Takes the locks of what was made, whose paths only its build has told, waiting for whoever has them.
pub(crate) fn lock_made<T: Display>(
    store: &LocalStore,
    request: &Request<'_>,
    paths: &[T],
    tell: &mut Teller<'_>,
) -> Result<PathLock, BuildFailure> {
    let failed = |source| BuildFailure::Store { drv: request.drv.clone(), source };
    if let Some(lock) = store.try_lock(paths).map_err(failed)? {
        return Ok(lock);
    }
    let Some(control) = request.control else { return store.lock(paths).map_err(failed) };
    let file = paths.first().map(|path| format!("{path}.lock")).unwrap_or_default();
    let holder = store.holder(&file);
    tell(Message::WaitingToKeep(Wait::Lock { file, holder }));
    let locked = control.wait_to_keep(store.lock_request(paths)).map_err(failed)?;
    locked.ok_or_else(|| BuildFailure::GivenUp { drv: request.drv.clone() })
}

/// The locks of what is built, and what was waited for to have them.
#[derive(Debug)]
pub(crate) struct Locks {
    _locks: PathLock,
    /// The process that had them, and when it was seen, in milliseconds since 1970.
    waited_for: Option<(u32, i64)>,
}

impl Locks {
    /// Returns the process that has made what is there, if that is known for sure: one that was waited for may have died,
    /// and another one was faster to take over.
    pub(crate) fn maker(&self, store: &LocalStore, made: &BTreeMap<OutputName, StorePath>) -> Option<u32> {
        let (process, seen) = self.waited_for?;
        let records = store.builds(&made.values().cloned().collect()).ok()?;
        let began_before = |record: &BuildRecord| record.started_millis <= seen;
        records.values().next().is_some_and(began_before).then_some(process)
    }
}

/// Takes the locks of what is built, waiting for whoever has them.
pub(crate) fn lock(
    store: &LocalStore,
    request: &Request<'_>,
    tell: &mut Teller<'_>,
) -> Result<Locks, BuildFailure> {
    let failed = |source| request.not_prepared(source);
    let locks = request.locks();
    if let Some(lock) = store.try_lock(&locks).map_err(failed)? {
        return Ok(Locks { _locks: lock, waited_for: None });
    }
    let file = locks.first().map(|lock| format!("{lock}.lock")).unwrap_or_default();
    let holder = store.holder(&file);
    let waited_for = holder.as_ref().map(|holder| (holder.process, stopwatch::now_millis()));
    let log = holder.as_ref().and_then(|holder| {
        // Without, one sees less.
        Follow::new(holder.log.clone()?, holder.since_millis.unwrap_or(0)).ok()
    });
    tell(Message::Waiting(Wait::Lock { file, holder }));
    let Some(control) = request.control else {
        return Ok(Locks { _locks: store.lock(&locks).map_err(failed)?, waited_for });
    };
    let on_output = &mut |bytes: &[u8]| tell(Message::Output(bytes));
    let locked = control.wait(store.lock_request(&locks), log, on_output);
    let given_up = || BuildFailure::GivenUp { drv: request.drv.clone() };
    Ok(Locks { _locks: locked.map_err(failed)?.ok_or_else(given_up)?, waited_for })
}
