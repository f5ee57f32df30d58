//! `store dump`

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::exit::Exit;
use crate::session::Session;

/// Writes a file or directory to stdout as one archive (NAR).
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  store dump ./source > source.nar")]
pub(crate) struct Args {
    /// The file or directory, in the store or anywhere else.
    path: PathBuf,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    if stdout().is_terminal() {
        bail!("cannot write an archive to the terminal; send it to a file: `store dump … > file.nar`");
    }
    let path = session.real_file(&args.path)?;
    nar::dump(&path, session.results())?;
    Ok(Exit::Success)
}
