//! `store verify`

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use local_store::{BadLink, Damage, LocalStore, Report, Until, Verification};
use serde_json::{Value, json};
use store_path::StorePath;

use crate::exit::{Exit, Verdict};
use crate::gauge::Gauge;
use crate::interrupt::Interrupt;
use crate::session::Session;
use crate::size;
use crate::verify_isolated;

/// Checks that what the store believes to have is there, and prints what is not.
///
/// Without PATHs also whether the databases are whole, and with `--contents` whether the links of equal files are.
/// Exit code 1 if something is damaged, 4 if something could not be read, 5 if both.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  store verify\n  store verify --contents    (reads every file of the store)\n  \
                  store verify --contents /nix/store/…-hello-2.10\n  \
                  store verify --isolated    (fails unless all that was built was kept apart)"
)]
pub(crate) struct Args {
    /// Also hashes the contents of every path, and looks at modes, times and owners.
    #[arg(long)]
    contents: bool,

    /// Instead prints what was built with less than full isolation and why, and of what that is not known.
    #[arg(long, conflicts_with_all = ["contents", "paths"])]
    isolated: bool,

    /// These store paths only.
    paths: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.tend_store()?;
    if args.isolated {
        return verify_isolated::run(session, &store);
    }
    let paths: BTreeSet<StorePath> = session.valid_paths(&store, &args.paths)?.into_iter().collect();
    let paths = (!args.paths.is_empty()).then_some(&paths);
    let interrupt = Interrupt::catch()?;
    let gauge = Gauge::new(session, "verifying");
    interrupt.is_heard();
    let until = Until::readable(Some(interrupt.descriptor()));
    let what = Verification { contents: args.contents, paths, until, progress: &|now| gauge.show(now) };
    let report = interrupt.attend(|| store.verify(what))??;
    gauge.clear();
    print(session, &store, &report)?;
    sum_up(session, &report);
    Ok(if report.stopped { Exit::Interrupted } else { Exit::Verified(verdict(&report)) })
}

/// What can be judged and what cannot.
fn verdict(report: &Report) -> Verdict {
    let unread = |damage: &Damage| matches!(damage, Damage::Unreadable { .. });
    let damaged = report.damaged.iter().any(|(_, damage)| !unread(damage));
    let unchecked = report.damaged.iter().any(|(_, damage)| unread(damage));
    let bad_link = report.links.iter().any(|link| link.computed.is_ok());
    let unread_link = report.links.iter().any(|link| link.computed.is_err());
    Verdict {
        damaged: damaged || bad_link || !report.problems.is_empty(),
        unchecked: unchecked || unread_link,
    }
}

fn print(session: &mut Session, store: &LocalStore, report: &Report) -> Result<()> {
    let damaged: Vec<(String, String)> =
        report.damaged.iter().map(|(path, damage)| (store.store_dir().print(path), chain(damage))).collect();
    let links: Vec<(String, String)> = report
        .links
        .iter()
        .map(|link| (format!("{}/.links/{}", store.store_dir().as_str(), link.name), about_link(link)))
        .collect();
    if session.json() {
        let list = |of: &[(String, String)]| -> Value {
            of.iter().map(|(path, problem)| json!({ "path": path, "problem": problem })).collect()
        };
        return Ok(session.results().json(&json!({
            "checked": report.checked,
            "bytes": report.bytes,
            "damaged": list(&damaged),
            "links": list(&links),
            "database": report.problems,
        }))?);
    }
    for (path, problem) in damaged.iter().chain(&links) {
        session.results().line(format_args!("{path}: {problem}"))?;
    }
    for problem in &report.problems {
        session.results().line(format_args!("database: {problem}"))?;
    }
    Ok(())
}

fn about_link(link: &BadLink) -> String {
    match &link.computed {
        Ok(hash) => format!("its hash is `{}`, not what its name says", hash.to_nix32()),
        Err(source) => chain(source),
    }
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn sum_up(session: &Session, report: &Report) {
    let read = if report.bytes > 0 { format!(" ({})", size::show(report.bytes)) } else { String::new() };
    let (checked, damaged) = (report.checked, report.damaged.len());
    session.messages().note(format_args!("{checked} paths checked{read}, {damaged} damaged"));
    if report.stopped {
        session.messages().note("stopped before all was looked at");
    }
    if damaged > 0 {
        session
            .messages()
            .note("`store delete` removes damaged paths; then they can be built or added again");
    }
    if !report.problems.is_empty() {
        session.messages().note(
            "what is wrong with a database is not mended here; `store delete` forgets paths, and what is valid still \
             can be exported into another store",
        );
    }
}
