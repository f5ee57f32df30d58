//! How a build has ended whose log is shown.

use anyhow::Result;
use local_store::{End, LocalStore, RunningBuild};
use store_path::{FailedBuild, StorePath};

use crate::build_failure::harmless;
use crate::exit::Exit;
use crate::outcome;
use crate::session::Session;

/// How it has ended, as it was written down, which no builder can do.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its outputs are there, or nothing is known against it.
    Built,
    /// It failed, or was cancelled.
    InVain(FailedBuild),
    /// It did not come to an end.
    Stopped,
    /// Whoever ran it was killed.
    OwnerDied(u32),
    /// Only that can be told from outside.
    WithoutOutputs,
}

impl Outcome {
    /// Finds out how a build has ended that ran until now.
    pub(super) fn of_followed(session: &Session, build: &RunningBuild, end: End) -> Self {
        if end == End::OwnerDied {
            return Self::OwnerDied(build.owner.process);
        }
        let Ok(store) = session.read_store() else { return Self::without_store(session, build) };
        let failure = store.last_failure(&build.drv).ok().flatten();
        if let Some(failure) = failure.filter(|failure| failure.started_millis >= build.since_millis) {
            return Self::InVain(failure);
        }
        match is_built(&store, &build.drv) {
            Ok(false) => Self::Stopped,
            Ok(true) | Err(_) => Self::Built,
        }
    }

    /// Finds out how the last build of a derivation has ended, as far as that is known.
    pub(super) fn of_ended(session: &Session, drv: &StorePath) -> Self {
        let Ok(store) = session.read_store() else { return Self::Built };
        match store.last_failure(drv) {
            Ok(Some(failure)) if !is_built_since(&store, &failure).unwrap_or(true) => Self::InVain(failure),
            _ => Self::Built,
        }
    }

    /// The store belongs to somebody else, so only what lies there tells it.
    fn without_store(session: &Session, build: &RunningBuild) -> Self {
        let is_there = |output: &StorePath| {
            session.location().is_ok_and(|location| location.place_of(output).symlink_metadata().is_ok())
        };
        if build.outputs.values().all(is_there) { Self::Built } else { Self::WithoutOutputs }
    }

    /// Returns the end that its log has, if it is ours.
    pub(super) fn verdict(&self) -> Option<String> {
        match self {
            Self::InVain(failure) => Some(builder::verdict(&failure.kind, &failure.why)),
            _ => None,
        }
    }

    /// Says how it has ended, if not well.
    pub(super) fn tell(&self, session: &Session, drv: &StorePath) -> Exit {
        let (why, exit) = match self {
            Self::Built => return Exit::Success,
            Self::InVain(failure) if failure.kind == "cancelled" => {
                (format!("the build of `{drv}` was cancelled"), Exit::Failure)
            }
            Self::InVain(FailedBuild { kind, why, .. }) => {
                let first = harmless(why.lines().next().unwrap_or_default());
                let exit = Exit::Builds(outcome::exit_of_kind(kind));
                (format!("the build has failed ({kind}): {first}"), exit)
            }
            Self::Stopped => (format!("the build of `{drv}` was stopped before it had ended"), Exit::Failure),
            Self::OwnerDied(process) => {
                (format!("process {process} was killed while it built `{drv}`"), Exit::Failure)
            }
            Self::WithoutOutputs => {
                (format!("the build of `{drv}` has ended without its outputs"), Exit::Failure)
            }
        };
        session.messages().error(why);
        exit
    }
}

/// Whether every output is there that can be.
fn is_built(store: &LocalStore, drv: &StorePath) -> Result<bool> {
    let known = engine::known_outputs(store, drv)?;
    let valid = store.valid_among(&known.values().cloned().collect())?;
    Ok(known.values().all(|output| valid.contains(output)))
}

/// Whether a derivation that failed was built later.
fn is_built_since(store: &LocalStore, failure: &FailedBuild) -> Result<bool> {
    let known = engine::known_outputs(store, &failure.drv)?;
    let builds = store.builds(&known.into_values().collect())?;
    Ok(builds.values().any(|build| build.drv == failure.drv && build.started_millis > failure.started_millis))
}
