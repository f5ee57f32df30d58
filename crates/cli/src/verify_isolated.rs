//! `store verify --isolated`

use anyhow::Result;
use builder::Isolated;
use local_store::LocalStore;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::origin;
use crate::session::Session;

/// Prints what was built with less than full isolation, and of what that is unknown.
pub(crate) fn run(session: &mut Session, store: &LocalStore) -> Result<Exit> {
    let origins = origin::all(store, store.path_infos(&store.all_valid()?)?);
    let (mut full, mut added, mut less, mut unknown) = (0, 0, Vec::new(), Vec::new());
    for origin in &origins {
        let path = store.store_dir().print(&origin.info.path);
        match &origin.isolated {
            Isolated::Full(_) => full += 1,
            Isolated::Source | Isolated::Text => added += 1,
            Isolated::Less(_, shortfalls) => less.push((path, shortfalls)),
            Isolated::Unknown { why, .. } => unknown.push((path, why)),
        }
    }
    if session.json() {
        let less: Value = less.iter().map(|(path, all)| json!({ "path": path, "shortfalls": all })).collect();
        let unknown: Value = unknown.iter().map(|(path, why)| json!({ "path": path, "why": why })).collect();
        let counts = json!({
            "checked": origins.len(), "isolated": full, "added": added, "less": less, "unknown": unknown,
        });
        session.results().json(&counts)?;
    } else {
        for (path, shortfalls) in &less {
            session.results().line(format_args!("{path}: {}", shortfalls.join("; ")))?;
        }
        for (path, why) in &unknown {
            session.results().line(format_args!("{path}: unknown: {why}"))?;
        }
    }
    session.messages().note(format_args!(
        "{} paths checked: {full} built in full isolation, {added} added, {} built with less, {} unknown",
        origins.len(),
        less.len(),
        unknown.len()
    ));
    Ok(if less.is_empty() && unknown.is_empty() { Exit::Success } else { Exit::Failure })
}
