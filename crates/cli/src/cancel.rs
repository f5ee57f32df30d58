//! `store cancel`

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use local_store::{CancelAnswer, Location, RunningBuild};
use serde_json::{Value, json};

use crate::build_argument;
use crate::exit::Exit;
use crate::messages::chain;
use crate::session::Session;
use crate::user_name;

/// Gives up builds that run or wait; what needs them is not built, and the rest of that `store build` goes on.
///
/// A build that was cancelled has not failed. Whoever else waits for the same build does it instead. A build whose builder
/// has ended is kept all the same. Only the user who runs a build, and root, may cancel it.
///
/// Returns 0 if all of them were cancelled, else 1.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store cancel bcdfghjk    # an id that `store ps` prints\n  \
                        store cancel /nix/store/…-hello.drv    # whoever builds it\n  \
                        store ps --json | jq -r '.[].id' | xargs store cancel")]
pub(crate) struct Args {
    /// An id that `store ps` prints, a derivation, something that is built from one, or a file that `store build` takes.
    #[arg(required = true, value_name = "BUILD")]
    builds: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let location = session.location()?;
    let builds = builds(session, args)?;
    // All hear of it before one is waited for.
    let asked: Vec<_> = builds.iter().map(|build| local_store::cancel(&location, build)).collect();
    let ends = asked.into_iter().map(|asked| asked.and_then(local_store::CancelRequest::wait));
    let ends: Vec<_> = builds.iter().zip(ends).collect();
    let all = ends.iter().all(|(_, end)| matches!(end, Ok(CancelAnswer::Cancelled)));
    if session.json() {
        let list: Value = ends.iter().map(|(build, end)| to_json(&location, build, end)).collect();
        session.results().json(&list)?;
    } else {
        for (build, end) in &ends {
            match end {
                Ok(CancelAnswer::Cancelled) => session.messages().note(describe(build, end)),
                _ => session.messages().error(describe(build, end)),
            }
        }
    }
    Ok(if all { Exit::Success } else { Exit::Failure })
}

/// Finds what is meant, each build once.
fn builds(session: &Session, args: &Args) -> Result<Vec<RunningBuild>> {
    // Without a store that can be opened, a derivation that was resolved goes by its id only.
    let store = session.read_store_if_there().ok().flatten();
    let (mut seen, mut builds) = (BTreeSet::new(), Vec::new());
    for word in &args.builds {
        let running = build_argument::find(session, store.as_ref(), word)?.running;
        if running.is_empty() {
            let all = local_store::running_builds(&session.location()?).context("cannot see what runs")?;
            bail!("nobody builds `{}` now; {}", word.display(), build_argument::what_runs(&all));
        }
        builds.extend(running.into_iter().filter(|build| seen.insert(build.id.clone())));
    }
    Ok(builds)
}

fn describe(build: &RunningBuild, end: &Result<CancelAnswer, local_store::Error>) -> String {
    let name = build.drv.name().as_str();
    let process = build.owner.process;
    let what = format!("{} ({}) of process {process}", build.id, name.strip_suffix(".drv").unwrap_or(name));
    match end {
        Ok(CancelAnswer::Cancelled) => format!("cancelled {what}"),
        Ok(CancelAnswer::Built) => {
            format!("too late to cancel {what}: its builder had ended, and what it made is kept")
        }
        Ok(CancelAnswer::Failed) => format!("too late to cancel {what}: it had failed"),
        Ok(CancelAnswer::Gone) => format!("too late to cancel {what}: it had ended"),
        Err(error) if is_denied(error) => format!(
            "cannot cancel {what}: only `{}`, who runs it, and root may",
            user_name::of(build.owner.user)
        ),
        Err(error) => format!("cannot cancel {what}: {}", chain(error)),
    }
}

fn is_denied(error: &local_store::Error) -> bool {
    matches!(error, local_store::Error::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
}

fn to_json(
    location: &Location,
    build: &RunningBuild,
    end: &Result<CancelAnswer, local_store::Error>,
) -> Value {
    let status = match end {
        Ok(CancelAnswer::Cancelled) => "cancelled",
        Ok(CancelAnswer::Built) => "built",
        Ok(CancelAnswer::Failed) => "failed",
        Ok(CancelAnswer::Gone) => "gone",
        Err(error) if is_denied(error) => "denied",
        Err(_) => "error",
    };
    json!({
        "id": build.id.to_string(),
        "drvPath": location.store_dir.print(&build.drv),
        "process": build.owner.process,
        "status": status,
        "message": describe(build, end),
    })
}
