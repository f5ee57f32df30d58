//! `store restore`
#![expect(clippy::disallowed_methods, reason = "what was restored only in part is taken away again")]

use std::fs;
use std::io::{BufReader, IsTerminal, Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::exit::Exit;
use crate::session::Session;

/// Reads an archive (NAR) from stdin and unpacks it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  store restore ./copy < source.nar")]
pub(crate) struct Args {
    /// Where to unpack; nothing may be there yet.
    path: PathBuf,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let input = stdin().lock();
    if input.is_terminal() {
        bail!("cannot read an archive from the terminal; take it from a file: `store restore … < file.nar`");
    }
    let path = session.absolute(&args.path);
    // Before anything is made: what is there already must not be taken away below.
    ensure!(path.symlink_metadata().is_err(), "cannot restore `{}`: it exists already", path.display());
    restore(&mut BufReader::with_capacity(1 << 18, input), &path)?;
    Ok(Exit::Success)
}

fn restore(input: &mut impl Read, path: &Path) -> Result<()> {
    nar::restore(input, path).map_err(anyhow::Error::from).and_then(|_| at_end(input, path)).inspect_err(
        |_| {
            // The error being returned matters more than what is left behind.
            let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
        },
    )
}

/// An archive that goes on after its end is not the archive that was meant.
fn at_end(input: &mut impl Read, path: &Path) -> Result<()> {
    let more = input.read(&mut [0])?;
    ensure!(
        more == 0,
        "cannot restore `{}`: there is something behind the end of the archive",
        path.display()
    );
    Ok(())
}
