//! One path, fetched on a worker thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use builder::{Control, chain, now_millis};
use local_store::{Announcement, BuildId, LocalStore, PathLock, Stage, Until, Wait};
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

/// Fetches a path, unless somebody else makes it valid first. Where one program fails, the next one that has it is tried.
pub(crate) fn fetch(
    store: &LocalStore,
    substituters: &Substituters<'_>,
    goal: GoalId,
    fetch: &Fetch,
    (id, target): (&BuildId, &StorePath),
    held: Option<&Held<'_>>,
    messages: &SyncSender<Message>,
) -> Result<(), FetchError> {
    let path = &fetch.path;
    let failed = |source| FetchError::Prepare { path: path.clone(), source };
    store.temp_root(path).map_err(failed)?;
    let outputs = BTreeMap::from([("out".to_owned(), path.clone())]);
    let mut announcement = store.announce(id.clone(), path, target, outputs, None, now_millis());
    let _lock = lock(store, goal, path, held, &mut announcement, messages)?;
    // Whoever held the lock may have made it.
    if store.is_valid(path).map_err(failed)? {
        return Ok(());
    }
    let mut fetch = fetch.clone();
    loop {
        let mut lines = Lines::default();
        let tell = |text| drop(messages.send(Message::Log(goal, text)));
        let until = Until::readable(held.map(Control::given_up));
        let hear = &mut |piece: &[u8]| lines.push(piece).into_iter().for_each(tell);
        let program = substituters.who(&fetch).to_string_lossy().into_owned();
        announcement.tell(Stage::Fetching { program });
        let fetched = substituters.fetch(&fetch, until, hear);
        lines.finish().into_iter().for_each(tell);
        let Err(error) = fetched else { return Ok(()) };
        if until.is_over() {
            return Err(FetchError::GivenUp { path: path.clone() });
        }
        let warn = &mut |text| drop(messages.send(Message::Warning(goal, text)));
        let is_lost = matches!(error, substituter::Error::Lost { .. });
        let next = if is_lost { None } else { substituters.by_another(&fetch, warn).map_err(failed)? };
        let Some(next) = next else { return Err(error.into()) };
        warn(format!("{}; trying `{}`", chain(&error), substituters.who(&next).display()));
        fetch = next;
    }
}

fn lock(
    store: &LocalStore,
    goal: GoalId,
    path: &StorePath,
    held: Option<&Held<'_>>,
    announcement: &mut Announcement,
    messages: &SyncSender<Message>,
) -> Result<PathLock, FetchError> {
    let failed = |source| FetchError::Prepare { path: path.clone(), source };
    let paths = std::slice::from_ref(path);
    if let Some(lock) = store.try_lock(paths).map_err(failed)? {
        return Ok(lock);
    }
    let file = format!("{path}.lock");
    let holder = store.holder(&file);
    let wait = Wait::Lock { file, holder };
    announcement.tell(Stage::Waiting(wait.clone()));
    let _ = messages.send(Message::Waiting(goal, wait));
    let Some(held) = held else { return store.lock(paths).map_err(failed) };
    let locked = held.wait(store.lock_request(paths), None, &mut |_| {}).map_err(failed)?;
    locked.ok_or_else(|| FetchError::GivenUp { path: path.clone() })
}
