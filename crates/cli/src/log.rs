//! `store log`

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use local_store::LocalStore;
use serde_json::{Map, Value};
use store_path::StorePath;

use crate::build_argument;
use crate::exit::Exit;
use crate::log_failed;
use crate::origin;
use crate::session::Session;

/// Prints the log of the last build of a derivation, also of one that runs, as far as it has come.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store log ./result\n  store log /nix/store/…-hello.drv\n  \
                        store log --about ./result    (how it was built, and what kept that build apart)\n  \
                        store log --failed=3    (the last 3 builds that failed)")]
pub(crate) struct Args {
    /// A derivation, something that was built from one, or the id of a build that runs (see `store ps`).
    #[arg(required_unless_present = "failed")]
    build: Option<PathBuf>,

    /// Instead tells how it was built: when, from what, how isolated, and what that took.
    #[arg(long)]
    about: bool,

    /// Instead tells of the last N builds that failed, the last one first: when, after how long, and why.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10",
          conflicts_with_all = ["build", "about"])]
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
    let store = session.open_existing_store()?;
    if let Some(most) = args.failed {
        return log_failed::tell(session, &store, most);
    }
    let build = args.build.as_ref().expect("it is required without `--failed`");
    if args.about {
        let path = session.store_path(&store, build)?;
        return about(session, &store, &path);
    }
    let named = build_argument::find(session, Some(&store), build)?;
    for drv in &named.drvs {
        let log =
            builder::open_log(&store, drv).with_context(|| format!("cannot read the log of `{drv}`"))?;
        if let Some(mut log) = log {
            io::copy(&mut log, session.results())?;
            return Ok(Exit::Success);
        }
    }
    let build = build.display();
    ensure!(named.running.is_empty(), "there is no log of `{build}` yet: that build has printed nothing");
    bail!(
        "there is no log of `{build}`: it was not built here, or without `keep-build-log`; \
         `store build --print-build-logs` shows a log while it is written"
    )
}

/// Tells about a path; about a derivation, what was made from it.
fn about(session: &mut Session, store: &LocalStore, path: &StorePath) -> Result<Exit> {
    let wanted = match path.is_derivation() {
        true if store.is_valid(path)? => engine::known_outputs(store, path)?.into_values().collect(),
        true => BTreeSet::new(),
        false => BTreeSet::from([path.clone()]),
    };
    let infos = store.path_infos(&wanted)?;
    ensure!(
        !infos.is_empty(),
        "nothing is known about `{path}`: {}",
        if path.is_derivation() { "none of its outputs is in the store" } else { "it is not in the store" }
    );
    let origins = origin::all(store, infos);
    if session.json() {
        let mut list = Vec::new();
        for origin in &origins {
            let mut object =
                Map::from_iter([("path".to_owned(), store.store_dir().print(&origin.info.path).into())]);
            origin.put_json(store, &mut object)?;
            list.push(Value::from(object));
        }
        session.results().json(&list.into())?;
        return Ok(Exit::Success);
    }
    for line in origins.iter().flat_map(|origin| origin.lines(store)) {
        session.results().line(line)?;
    }
    Ok(Exit::Success)
}
