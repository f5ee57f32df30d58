//! `store verify`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;
use local_store::{BadLink, Damage, LocalStore, Report, Until, Verification};
use sandbox::Launcher;
use serde_json::{Value, json};
use store_path::StorePath;

use crate::exit::{Exit, Verdict};
use crate::gauge::Gauge;
use crate::interrupt::Interrupt;
use crate::messages::chain;
use crate::repair::{self, Repaired};
use crate::session::Session;
use crate::shell::quote;
use crate::size;
use crate::verify_isolated;

/// Checks that what the store believes to have is there, and prints what is not.
///
/// Without PATHs also whether the databases are whole, and with `--contents` whether the links of equal files are.
/// Exit code 1 if something is damaged and was not repaired, 4 if something could not be read, 5 if both.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  store verify\n  store verify --contents    # reads every file of the store\n  \
                  store verify --contents --repair /nix/store/…-hello-2.10\n  \
                  store verify --isolated    # fails unless all that was built was kept apart"
)]
pub(crate) struct Args {
    /// Also hashes the contents of every path, and looks at modes, times and owners.
    #[arg(long, visible_alias = "check-contents")]
    contents: bool,

    /// Repairs what it can. A path that is damaged or missing is fetched or built again, and replaced, in one step, if that
    /// gives what was registered; one that is missing and that nothing refers to is valid no more. Modes, times and owners
    /// are put right, and links of equal files that hold something else are removed.
    #[arg(long)]
    repair: bool,

    /// Instead prints what was built with less than full isolation and why, and of what that is not known.
    #[arg(long, conflicts_with_all = ["contents", "repair", "paths"])]
    isolated: bool,

    /// These store paths only.
    paths: Vec<PathBuf>,
}

impl Args {
    /// Returns whether anything is repaired.
    pub(crate) fn repairs(&self) -> bool {
        self.repair
    }
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = if args.repair { session.open_existing_store()? } else { session.tend_store()? };
    if args.isolated {
        return verify_isolated::run(session, &store);
    }
    let paths: BTreeSet<StorePath> = session.valid_paths(&store, &args.paths)?.into_iter().collect();
    let paths = (!args.paths.is_empty()).then_some(&paths);
    // Before signals are caught, which it would not hear of.
    let launcher = args.repair.then(Launcher::start).transpose()?;
    let interrupt = Interrupt::catch()?;
    interrupt.is_heard();
    let until = Until::readable(Some(interrupt.descriptor()));
    let mut lines = Lines { are_of_all: paths.is_none(), ..Lines::default() };
    let report = interrupt.attend(|| {
        let gauge = Gauge::new(session, "verifying");
        let what = Verification { contents: args.contents, paths, until, progress: &|now| gauge.show(now) };
        let mut report = store.verify(what)?;
        drop(gauge);
        lines.found(&store, &report);
        if let Some(launcher) = launcher.filter(|_| !report.stopped) {
            let repaired = repair::repair(session, &store, &launcher, &interrupt, &mut report)?;
            lines.done(&store, &repaired);
        }
        Ok::<_, anyhow::Error>(report)
    })??;
    lines.print(session, &report)?;
    sum_up(session, &report, &lines);
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

/// What was found wrong about a path or a link, and what was done about it.
struct Line {
    path: String,
    problem: String,
    repaired: Option<String>,
    why_not: Option<String>,
}

/// What is to be printed.
#[derive(Default)]
struct Lines {
    damaged: BTreeMap<StorePath, Line>,
    links: BTreeMap<String, Line>,
    advice: Option<&'static str>,
    /// Whether the whole store was looked at.
    are_of_all: bool,
}

impl Lines {
    /// Takes down what is wrong.
    fn found(&mut self, store: &LocalStore, report: &Report) {
        let line = |path, problem| Line { path, problem, repaired: None, why_not: None };
        for (path, damage) in &report.damaged {
            self.damaged.insert(path.clone(), line(store.store_dir().print(path), chain(damage)));
        }
        for link in &report.links {
            let path = format!("{}/.links/{}", store.store_dir().as_str(), link.name);
            self.links.insert(link.name.clone(), line(path, about_link(link)));
        }
    }

    /// Takes down what was done about it.
    fn done(&mut self, store: &LocalStore, repaired: &Repaired) {
        let told = repaired.told(store);
        for (path, line) in &mut self.damaged {
            line.repaired = told.get(path).cloned();
            line.why_not = repaired.why_not(path).map(|why| chain(why));
        }
        for name in repaired.links() {
            self.links.get_mut(name).into_iter().for_each(|line| line.repaired = Some("removed".to_owned()));
        }
        self.advice = repaired.advice();
    }

    fn print(&self, session: &mut Session, report: &Report) -> Result<()> {
        if session.json() {
            return Ok(session.results().json(&json!({
                "checked": report.checked,
                "bytes": report.bytes,
                "below": report.below,
                "damaged": self.damaged.values().map(Line::json).collect::<Value>(),
                "links": self.links.values().map(Line::json).collect::<Value>(),
                "database": report.problems,
            }))?);
        }
        for line in self.damaged.values().chain(self.links.values()) {
            session.results().line(line.text())?;
        }
        for problem in &report.problems {
            session.results().line(format_args!("database: {problem}"))?;
        }
        Ok(())
    }
}

impl Line {
    fn text(&self) -> String {
        let Self { path, problem, .. } = self;
        match (&self.repaired, &self.why_not) {
            (Some(repaired), _) => format!("{path}: {problem}; {repaired}"),
            (None, Some(why)) => format!("{path}: {problem}; not repaired: {why}"),
            (None, None) => format!("{path}: {problem}"),
        }
    }

    fn json(&self) -> Value {
        let mut value = json!({ "path": self.path, "problem": self.problem });
        let words = [("repaired", &self.repaired), ("notRepaired", &self.why_not)];
        for (key, text) in words {
            text.iter().for_each(|text| value[key] = text.as_str().into());
        }
        value
    }
}

fn about_link(link: &BadLink) -> String {
    match &link.computed {
        Ok(hash) => format!("its hash is `{}`, not what its name says", hash.to_nix32()),
        Err(source) => chain(source),
    }
}

fn sum_up(session: &Session, report: &Report, lines: &Lines) {
    let read = if report.bytes > 0 { format!(" ({})", size::show(report.bytes)) } else { String::new() };
    let (checked, left) = (report.checked, report.damaged.len());
    let repaired = lines.damaged.len() - left;
    let repaired = if repaired > 0 { format!(", {repaired} repaired") } else { String::new() };
    let messages = session.messages();
    messages.note(format_args!("{checked} paths checked{read}{repaired}, {left} damaged"));
    if let Some(lower) =
        session.settings().lower_store.as_ref().filter(|_| lines.are_of_all || report.below > 0)
    {
        let lower = quote(&lower.to_string_lossy());
        messages.note(format_args!(
            "what is in the lower store was left out; `store verify --contents --store {lower}` looks at it"
        ));
    }
    if report.stopped {
        messages.note("stopped before all was looked at");
    }
    let was_tried = lines.damaged.values().any(|line| line.why_not.is_some());
    if left > 0 && !was_tried {
        messages.note(
            "`--repair` fetches or builds them again, where that is possible; `store delete` removes damaged paths; then \
             they can be built or added again",
        );
    }
    lines.advice.iter().for_each(|advice| messages.note(advice));
    if !report.problems.is_empty() {
        messages.note(
            "what is wrong with a database is not mended here; `store delete` forgets paths, and what is valid still \
             can be exported into another store",
        );
    }
}
