//! `store sandbox enter`

use std::path::PathBuf;

use anyhow::Result;
use builder::Runs;

use crate::exit::Exit;
use crate::session::Session;
use crate::visit;

/// Opens a shell in exactly the sandbox that the builder of a derivation would get.
///
/// Mounts, ids, environment, working directory, limits, filter and network are the builder's. Its inputs are built if
/// they are not there; the derivation itself is not built, and what is made inside is thrown away.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store sandbox enter hello.json\n  \
                        store sandbox enter --shell /bin/bash /nix/store/…-hello.drv\n\n\
                        Exit code: that of the shell; 100 to 102 when an input failed, as of `store build`, 130 when\n\
                        interrupted, 1 when there is no sandbox to be had.")]
pub(crate) struct Args {
    /// A derivation: a store path, a recipe, or a file with derivations of which one is used by no other there.
    #[arg(value_name = "DRV|FILE")]
    target: String,

    /// The shell, as it is called inside; without it `/bin/sh`, the builder if that is a shell, or one of an input.
    #[arg(long, value_name = "PATH")]
    shell: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(session: &Session, args: &Args) -> Result<Exit> {
    visit::visit(session, &args.target, &Runs::Shell(args.shell.clone()), true)
}
