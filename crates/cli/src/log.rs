//! `store log`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use local_store::LocalStore;
use store_path::StorePath;

use crate::build_argument::{self, Named, what_runs};
use crate::exit::Exit;
use crate::results::Results;
use crate::session::Session;
use crate::size;

mod about;
mod failed;
mod follow;
mod outcome;
mod printer;

use outcome::Outcome;
use printer::Printer;

/// Prints the log of the last build of a derivation, also of one that runs, as far as it has come.
///
/// On a terminal it is shown without what would steer that; elsewhere each byte is printed as the builder printed it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store log ./result\n  store log /nix/store/…-hello.drv\n  \
                  store log -f bcdfghjk    # a build that runs, see `store ps`; ends with it\n  \
                  store log -f --tail 20 /nix/store/…-hello.drv\n  \
                  store log --about ./result    # how it was built, and what kept that build apart\n  \
                  store log --failed=3    # the last 3 builds that failed\n\n\
                  With `--follow`, the exit code is that of building it: 0 if it was built, 100, 101, 102 or 104 if that\n\
                  failed, 1 if it was cancelled or its process was killed.")]
pub(crate) struct Args {
    /// A derivation, something that was built from one, a file that `store build` takes, or the id of a build that runs
    /// (see `store ps`).
    #[arg(required_unless_present = "failed")]
    build: Option<PathBuf>,

    /// Goes on while the build runs, whoever runs it, and ends when it ends, with the exit code of building it.
    #[arg(short, long)]
    follow: bool,

    /// Begins with the last N lines of what there is.
    #[arg(long, value_name = "N", value_parser = size::count::<usize>)]
    tail: Option<usize>,

    /// Instead tells how it was built: when, from what, how isolated, and what that took.
    #[arg(long, conflicts_with_all = ["follow", "tail"])]
    about: bool,

    /// Instead tells of the last N builds that failed, the last one first: when, after how long, and why.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10", value_parser = at_least_one,
          conflicts_with_all = ["build", "about", "follow", "tail"])]
    failed: Option<usize>,
}

impl Args {
    /// Returns whether it prints something that `--json` can reshape.
    pub(crate) fn has_data(&self) -> bool {
        self.about || self.failed.is_some()
    }
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    if let Some(most) = args.failed {
        let store = session.read_store()?;
        return failed::tell(session, &store, most);
    }
    let build = args.build.as_ref().expect("it is required without `--failed`");
    if args.about {
        let store = session.read_store()?;
        let paths = told_about(session, &store, build)?;
        return about::tell(session, &store, &paths);
    }
    let named = find(session, build)?;
    match follow::one_of(&named.running).filter(|_| args.follow) {
        Some(running) => follow::follow(session, running, args.tail),
        None => show(session, build, &named, args),
    }
}

/// Reads how many builds are told of: of none, nothing can be said.
fn at_least_one(text: &str) -> Result<usize, String> {
    match size::count(text)? {
        0 => Err("expected at least 1".to_owned()),
        count => Ok(count),
    }
}

/// Returns what `--about` is to tell about: a path, or the derivations that something else stands for.
fn told_about(session: &Session, store: &LocalStore, build: &Path) -> Result<Vec<StorePath>> {
    match session.store_path(store, build) {
        Ok(path) => Ok(vec![path]),
        Err(_) => Ok(build_argument::find(session, Some(store), build)?.drvs),
    }
}

/// Finds out what is meant, for whoever may not open the store, too, as far as files tell it.
fn find(session: &Session, build: &Path) -> Result<Named> {
    match session.read_store() {
        Ok(store) => build_argument::find(session, Some(&store), build),
        Err(error) => match build_argument::find(session, None, build) {
            Ok(named) if !named.drvs.is_empty() => Ok(named),
            _ => Err(error),
        },
    }
}

/// Says what could not be done: to read the log, or to print it.
fn unprinted(results: &Results, drv: &StorePath) -> String {
    match results.refused() || results.reader_gone() {
        true => format!("cannot print the log of `{drv}`"),
        false => format!("cannot read the log of `{drv}`, which `store build --check` of it writes anew"),
    }
}

/// Prints what there is.
fn show(session: &mut Session, build: &Path, named: &Named, args: &Args) -> Result<Exit> {
    let location = session.location()?;
    for drv in &named.drvs {
        let log =
            builder::open_log(&location, drv).with_context(|| format!("cannot read the log of `{drv}`"))?;
        let Some(mut log) = log else { continue };
        let mut printer = Printer::new(session, args.tail);
        let printed = printer.print_all(&mut log, session.results());
        printed.with_context(|| unprinted(session.results(), drv))?;
        let outcome = Outcome::of_ended(session, drv);
        printer.end(outcome.verdict().as_deref(), session.results())?;
        return Ok(if args.follow { outcome.tell(session, drv) } else { Exit::Success });
    }
    let build = build.display();
    if !named.running.is_empty() {
        bail!("there is no log of `{build}` yet: that build has printed nothing");
    }
    if args.follow {
        let all = local_store::running_builds(&location)?;
        bail!("`{build}` is not being built, and there is no log of an earlier build; {}", what_runs(&all));
    }
    bail!(
        "there is no log of `{build}`: it was not built here, or without `keep-build-log`; \
         `store build --print-build-logs` shows a log while it is written"
    )
}
