//! One path, fetched on a worker thread.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use builder::Control;
use local_store::{LocalStore, PathLock, Until, Wait};
use scheduler::GoalId;
use store_path::StorePath;
use substituter::{Fetch, Substituters};

use crate::control::Held;
use crate::lines::Lines;
use crate::worker::Message;

/// Why a path was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The substituter did not deliver it.
    #[error(transparent)]
    Substituter(#[from] substituter::Error),
    /// What it refers to could not be fetched.
    #[error("cannot fetch `{path}`, as it needs `{reference}`")]
    Reference {
        /// The path.
        path: StorePath,
        /// What it refers to, directly or through others.
        reference: StorePath,
        /// Why that could not be fetched.
        source: Arc<FetchError>,
    },
    /// Its lock could not be had.
    #[error("cannot prepare to fetch `{path}`")]
    Prepare {
        /// The path.
        path: StorePath,
        /// What was in the way.
        source: local_store::Error,
    },
    /// Nobody wants it any more.
    #[error("gave up fetching `{path}`")]
    GivenUp {
        /// The path.
        path: StorePath,
    },
}

/// Fetches a path, unless somebody else makes it valid first.
pub(crate) fn fetch(
    store: &LocalStore,
    substituters: &Substituters<'_>,
    goal: GoalId,
    fetch: &Fetch,
    held: Option<&Held<'_>>,
    messages: &SyncSender<Message>,
) -> Result<(), FetchError> {
    let path = &fetch.path;
    let failed = |source| FetchError::Prepare { path: path.clone(), source };
    store.temp_root(path).map_err(failed)?;
    let _lock = lock(store, goal, path, held, messages)?;
    // Whoever held the lock may have made it.
    if store.is_valid(path).map_err(failed)? {
        return Ok(());
    }
    let mut lines = Lines::default();
    let tell = |text| drop(messages.send(Message::Log(goal, text)));
    let until = Until::readable(held.map(Control::given_up));
    let fetched = substituters.fetch(fetch, until, &mut |piece| lines.push(piece).into_iter().for_each(tell));
    lines.finish().into_iter().for_each(tell);
    Ok(fetched?)
}

fn lock(
    store: &LocalStore,
    goal: GoalId,
    path: &StorePath,
    held: Option<&Held<'_>>,
    messages: &SyncSender<Message>,
) -> Result<PathLock, FetchError> {
    let failed = |source| FetchError::Prepare { path: path.clone(), source };
    let paths = std::slice::from_ref(path);
    if let Some(lock) = store.try_lock(paths).map_err(failed)? {
        return Ok(lock);
    }
    let file = format!("{path}.lock");
    let holder = store.holder(&file);
    let _ = messages.send(Message::Waiting(goal, Wait::Lock { file, holder }));
    let Some(held) = held else { return store.lock(paths).map_err(failed) };
    let locked = held.wait(store.lock_request(paths), None, &mut |_| {}).map_err(failed)?;
    locked.ok_or_else(|| FetchError::GivenUp { path: path.clone() })
}
