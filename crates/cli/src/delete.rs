//! `store delete`

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use local_store::Root;

use crate::exit::Exit;
use crate::session::Session;

/// Deletes store paths that nothing needs; prints what it deleted.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  store delete /nix/store/…-hello-2.10\n\n\
                        What a root (such as ./result) or another path refers to is refused; \
                        `store query --referrers` shows the latter.")]
pub(crate) struct Args {
    /// Store paths.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.open_existing_store()?;
    let paths = session.store_paths(&store, &args.paths)?;
    store.delete(&paths).map_err(advise)?;
    session.print_list(paths.iter().map(|path| store.store_dir().print(path)).collect())?;
    Ok(Exit::Success)
}

/// Adds what to do about a refusal.
fn advise(error: local_store::Error) -> anyhow::Error {
    match &error {
        local_store::Error::Rooted { root: Root::Link(_), .. } => anyhow!("{error}; remove that link first"),
        local_store::Error::Referred { .. } => anyhow!("{error}; delete that first, or both at once"),
        _ => error.into(),
    }
}
