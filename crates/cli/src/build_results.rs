//! What `store build` prints in the end: the paths of everything that was asked for, in the order of the question.

use anyhow::Result;
use engine::{Realised, Report, Wanted};
use local_store::LocalStore;
use serde_json::{Map, Value, json};
use store_path::StorePath;

use crate::build_failure;
use crate::outcome;
use crate::session::Session;

/// Prints the results of a build; for a store elsewhere stderr adds where the files lie.
pub(crate) fn print(
    session: &mut Session,
    store: &LocalStore,
    realised: &[Realised],
    real_path: bool,
) -> Result<()> {
    if session.json() {
        let list: Value = realised.iter().map(|realised| to_json(store, realised)).collect();
        return Ok(session.results().json(&list)?);
    }
    for (_, path) in realised.iter().flat_map(outputs) {
        let (logical, real) = (store.store_dir().print(path), store.place_of(path));
        if real_path {
            session.results().line(real.display())?;
        } else {
            session.results().line(&logical)?;
            if store.location().is_relocated() {
                session.messages().note(format_args!("{logical} lies in {}", real.display()));
            }
        }
    }
    Ok(())
}

/// Prints what is there and what is not, where not everything is; for programs only, as people were told.
pub(crate) fn print_failed(
    session: &mut Session,
    store: &LocalStore,
    wanted: &[Wanted],
    report: &Report,
) -> Result<()> {
    if !session.json() {
        return Ok(());
    }
    let mut realised = report.realised.iter();
    // What is there may have come out otherwise when it was built once more.
    let is_open = |drv: &StorePath| {
        report.failures.iter().any(|failure| failure.drv == *drv)
            || report.cancelled.contains(drv)
            || report.blocked.iter().any(|blocked| blocked.drv == *drv)
            || report.not_started.contains(drv)
    };
    let entry = |(place, wanted): (usize, &Wanted)| {
        let there = if report.not_realised.contains(&place) { None } else { Some(realised.next()?) };
        Some(match there.filter(|_| !is_open(wanted.start())) {
            Some(realised) => to_json(store, realised),
            None => failed_to_json(store, wanted, report),
        })
    };
    let list: Value = wanted.iter().enumerate().filter_map(entry).collect();
    Ok(session.results().json(&list)?)
}

/// Returns what became of something that is not there.
fn failed_to_json(store: &LocalStore, wanted: &Wanted, report: &Report) -> Value {
    let full = |path: &StorePath| store.store_dir().print(path);
    let drv = wanted.start();
    let mut entry = match wanted {
        Wanted::Made { file, .. } => json!({ "output": format!("{}/{file}", store.store_dir()) }),
        Wanted::Path(_) | Wanted::Outputs { .. } => json!({ "drvPath": full(drv) }),
    };
    let failure_of = |drv: &StorePath| report.failures.iter().find(|failure| failure.drv == *drv);
    let blocked = report.blocked.iter().find(|blocked| blocked.drv == *drv);
    if let Some(failure) = failure_of(drv) {
        entry["status"] = outcome::status(&failure.error).into();
        entry["message"] = build_failure::in_short(&failure.error).into();
        if let Some(divergence) = outcome::divergence(&failure.error, store.store_dir()) {
            entry["divergence"] = divergence;
        }
    } else if report.cancelled.contains(drv) {
        entry["status"] = "cancelled".into();
    } else if let Some(blocked) = blocked {
        entry["status"] = "blocked".into();
        let status = match blocked.is_cancelled {
            true => Some("cancelled"),
            false => failure_of(&blocked.by).map(|failure| outcome::status(&failure.error)),
        };
        entry["by"] = json!({ "drvPath": full(&blocked.by), "status": status });
    } else {
        entry["status"] = if report.stopped { "cancelled" } else { "not-started" }.into();
    }
    entry
}

/// Returns the paths of one result, each with the name of the output; a plain path counts as `out`.
pub(crate) fn outputs(realised: &Realised) -> Vec<(&str, &StorePath)> {
    match realised {
        Realised::Outputs { outputs, .. } => {
            outputs.iter().map(|(name, path)| (name.as_str(), path)).collect()
        }
        Realised::Path(path) => vec![("out", path)],
    }
}

fn to_json(store: &LocalStore, realised: &Realised) -> Value {
    let full = |path: &StorePath| store.store_dir().print(path);
    let real = |path: &StorePath| store.place_of(path).to_string_lossy().into_owned();
    match realised {
        Realised::Path(path) => json!({ "path": full(path), "realPath": real(path) }),
        Realised::Outputs { drv, outputs } => {
            let map = |show: &dyn Fn(&StorePath) -> String| {
                outputs
                    .iter()
                    .map(|(name, path)| (name.to_string(), show(path).into()))
                    .collect::<Map<_, Value>>()
            };
            json!({ "drvPath": full(drv), "outputs": map(&full), "realOutputs": map(&real) })
        }
    }
}
