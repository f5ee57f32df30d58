//! `store log`

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::derivers;
use crate::exit::Exit;
use crate::session::Session;

/// Prints the log of the last build of a derivation.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store log ./result\n  store log /nix/store/…-hello.drv")]
pub(crate) struct Args {
    /// A derivation, or something that was built from one.
    path: PathBuf,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.open_existing_store()?;
    let path = session.store_path(&store, &args.path)?;
    for drv in derivers::of(&store, &path)? {
        let log =
            builder::open_log(&store, &drv).with_context(|| format!("cannot read the log of `{drv}`"))?;
        if let Some(mut log) = log {
            io::copy(&mut log, session.results())?;
            return Ok(Exit::Success);
        }
    }
    bail!(
        "there is no log of `{path}`: it was not built here, or without `keep-build-log`; \
         `store build --print-build-logs` shows a log while it is written"
    )
}
