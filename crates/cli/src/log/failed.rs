//! The last builds that failed, for `store log --failed`.

use anyhow::Result;
use local_store::LocalStore;
use serde_json::{Value, json};
use store_path::FailedBuild;

use crate::build_failure::harmless;
use crate::exit::Exit;
use crate::session::Session;
use crate::{duration, when};

/// Prints at most so many, the last one first.
pub(super) fn tell(session: &mut Session, store: &LocalStore, most: usize) -> Result<Exit> {
    let failures = store.failures(most)?;
    if session.json() {
        let list: Vec<Value> = failures.iter().map(|failure| in_json(store, failure)).collect();
        session.results().json(&list.into())?;
        return Ok(Exit::Success);
    }
    if failures.is_empty() {
        session.messages().note("no build has failed here");
    }
    for failure in &failures {
        let FailedBuild { drv, started_millis, wall_time, kind, why } = failure;
        let (when, took) = (when::show(*started_millis), duration::show(*wall_time));
        session.results().line(format!("{when}  {kind} after {took}: {}", store.store_dir().print(drv)))?;
        for line in why.lines() {
            session.results().line(format!("  {}", harmless(line)))?;
        }
    }
    Ok(Exit::Success)
}

fn in_json(store: &LocalStore, failure: &FailedBuild) -> Value {
    json!({
        "derivation": store.store_dir().print(&failure.drv),
        "started": failure.started_millis as f64 / 1000.0,
        "wallSeconds": failure.wall_time.as_secs_f64(),
        "status": failure.kind,
        "why": failure.why,
    })
}
