//! `store root remove`

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use local_store::{Error, LocalStore, Root};

use crate::exit::Exit;
use crate::root_text;
use crate::session::Session;

/// Gives roots up: removes their links. What they have kept is still there until it is collected or deleted.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  store root remove ./result\n  store root remove --permanent toolchain\n\n\
                        `store root list` shows what there is."
)]
pub(crate) struct Args {
    /// The symlinks. One that is gone already is forgotten.
    #[arg(required = true, value_name = "LINK")]
    links: Vec<PathBuf>,

    /// LINK is a name in the store's own directory of roots.
    #[arg(long)]
    permanent: bool,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.open_existing_store()?;
    let mut gone = Vec::new();
    for link in &args.links {
        let link = match args.permanent {
            true => store.location().permanent_root(link),
            false => session.absolute(link),
        };
        store.remove_root(&link).map_err(|error| advise(session, &store, &link, error))?;
        gone.push(link.display().to_string());
    }
    session.print_list(gone)?;
    Ok(Exit::Success)
}

/// Adds what the roots of a store path are, if one was given in place of a link.
fn advise(session: &Session, store: &LocalStore, link: &Path, error: Error) -> anyhow::Error {
    let is_none = matches!(error, Error::NoRoot { .. });
    let path = crate::store_argument::by_name(store.location(), link);
    let (true, Ok(Some(path)), Ok(roots)) = (is_none, path, store.all_roots()) else { return error.into() };
    let own: Vec<Root> = roots.into_iter().filter(|(root, _)| *root == path).map(|(_, root)| root).collect();
    if own.is_empty() {
        return anyhow!("{error}; nothing keeps that path by itself (`store delete` says what needs it)");
    }
    let told = own.iter().map(|root| match root_text::remedy(session, root) {
        Some(remedy) => format!("\n  {root}\n    {remedy}"),
        None => format!("\n  {root}"),
    });
    anyhow!("{error}, but a store path, which is kept by{}", told.collect::<String>())
}
