//! How a build has ended whose log was followed.

use anyhow::Result;
use local_store::{End, LocalStore, RunningBuild};
use store_path::{FailedBuild, StorePath};

use crate::build_failure::harmless;
use crate::exit::Exit;
use crate::outcome;
use crate::session::Session;

/// Says how a build has ended that ran until now, if not well.
pub(super) fn of_followed(session: &Session, build: &RunningBuild, end: End) -> Exit {
    let (messages, drv) = (session.messages(), &build.drv);
    if end == End::OwnerDied {
        messages.error(format_args!("process {} was killed while it built `{drv}`", build.owner.process));
        return Exit::Failure;
    }
    let Ok(store) = session.open_existing_store() else { return without_store(session, build) };
    let failure = store.last_failure(drv).ok().flatten();
    if let Some(failure) = failure.filter(|failure| failure.started_millis >= build.since_millis) {
        return failed(session, &failure);
    }
    match is_built(&store, drv) {
        Ok(false) => {
            messages.error(format_args!("the build of `{drv}` was stopped before it had ended"));
            Exit::Failure
        }
        Ok(true) | Err(_) => Exit::Success,
    }
}

/// Says how the last build of a derivation has ended, if not well, as far as that is known.
pub(super) fn of_ended(session: &Session, drv: &StorePath) -> Exit {
    let Ok(store) = session.open_existing_store() else { return Exit::Success };
    match store.last_failure(drv) {
        Ok(Some(failure)) if !is_built(&store, drv).unwrap_or(false) => failed(session, &failure),
        _ => Exit::Success,
    }
}

/// The store belongs to somebody else, so only what lies there tells it.
fn without_store(session: &Session, build: &RunningBuild) -> Exit {
    let Ok(location) = session.location() else { return Exit::Failure };
    if build.outputs.values().all(|output| location.real_path(output).symlink_metadata().is_ok()) {
        return Exit::Success;
    }
    session.messages().error(format_args!("the build of `{}` has ended without its outputs", build.drv));
    Exit::Failure
}

fn failed(session: &Session, failure: &FailedBuild) -> Exit {
    let why = harmless(failure.why.lines().next().unwrap_or_default());
    session.messages().error(format_args!("the build has failed ({}): {why}", failure.kind));
    Exit::Builds(outcome::exit_of_kind(&failure.kind))
}

/// Whether every output is there that can be.
fn is_built(store: &LocalStore, drv: &StorePath) -> Result<bool> {
    let known = engine::known_outputs(store, drv)?;
    let valid = store.valid_among(&known.values().cloned().collect())?;
    Ok(known.values().all(|output| valid.contains(output)))
}
