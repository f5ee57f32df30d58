//! `store verify`

use anyhow::Result;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::session::Session;
use crate::verify_isolated;

/// Checks that what the store believes to have is there, and prints what is not.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  store verify\n  store verify --contents    (reads every file of the store)\n  \
                  store verify --isolated    (fails unless all that was built was kept apart)"
)]
pub(crate) struct Args {
    /// Also hashes the contents of every path.
    #[arg(long)]
    contents: bool,

    /// Instead prints what was built with less than full isolation and why, and of what that is not known.
    #[arg(long, conflicts_with = "contents")]
    isolated: bool,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.tend_store()?;
    if args.isolated {
        return verify_isolated::run(session, &store);
    }
    let report = store.verify(args.contents)?;
    let damaged: Vec<(String, String)> = report
        .damaged
        .into_iter()
        .map(|(path, damage)| (store.store_dir().print(&path), format!("{:#}", anyhow::Error::from(damage))))
        .collect();
    if session.json() {
        let list = damaged.iter().map(|(path, problem)| json!({ "path": path, "problem": problem }));
        session.results().json(&json!({ "checked": report.checked, "damaged": list.collect::<Value>() }))?;
    } else {
        for (path, problem) in &damaged {
            session.results().line(format_args!("{path}: {problem}"))?;
        }
    }
    session.messages().note(format_args!("{} paths checked, {} damaged", report.checked, damaged.len()));
    if !damaged.is_empty() {
        session
            .messages()
            .note("`store delete` removes damaged paths; then they can be built or added again");
    }
    Ok(if damaged.is_empty() { Exit::Success } else { Exit::Failure })
}
