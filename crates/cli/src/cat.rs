//! `store cat`

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::exit::Exit;
use crate::session::Session;

/// Prints the contents of a file of a store path.
///
/// Symlinks are followed as long as they stay in that path.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store cat /nix/store/…-hello/bin/hello | file -\n  \
                        store cat ./result/share/doc/README")]
pub(crate) struct Args {
    /// A file in a store path, or below a link to one.
    file: PathBuf,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.read_store()?;
    let (path, below) = session.valid_part(&store, &args.file)?;
    let mut file = store.look_into(&path, &below, true)?.open()?;
    io::copy(&mut file, session.results())
        .with_context(|| format!("cannot print `{}`", args.file.display()))?;
    Ok(Exit::Success)
}
