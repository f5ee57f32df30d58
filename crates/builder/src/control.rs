//! The caller's hand on a build that goes on.

use std::fmt::Debug;
use std::os::fd::BorrowedFd;

use local_store::{Error, LocalStore, LockRequest, PathLock, Wait};

use crate::build::Message;
use crate::failure::BuildFailure;
use crate::follow::Follow;
use crate::observe::Teller;
use crate::request::Request;

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
}

/// Takes the locks of what is built, waiting for whoever has them.
pub(crate) fn lock(
    store: &LocalStore,
    request: &Request<'_>,
    tell: &mut Teller<'_>,
) -> Result<PathLock, BuildFailure> {
    let failed = |source| request.not_prepared(source);
    let locks = request.locks();
    if let Some(lock) = store.try_lock(&locks).map_err(failed)? {
        return Ok(lock);
    }
    let file = locks.first().map(|lock| format!("{lock}.lock")).unwrap_or_default();
    let holder = store.holder(&file);
    let log = holder.as_ref().and_then(|holder| {
        // Without, one sees less.
        Follow::new(holder.log.clone()?, holder.since_millis.unwrap_or(0)).ok()
    });
    tell(Message::Waiting(Wait::Lock { file, holder }));
    let Some(control) = request.control else { return store.lock(&locks).map_err(failed) };
    let on_output = &mut |bytes: &[u8]| tell(Message::Output(bytes));
    let locked = control.wait(store.lock_request(&locks), log, on_output);
    locked.map_err(failed)?.ok_or_else(|| BuildFailure::GivenUp { drv: request.drv.clone() })
}
