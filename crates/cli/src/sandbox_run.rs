//! `store sandbox run`

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use anyhow::Result;
use builder::Runs;

use crate::exit::Exit;
use crate::session::Session;
use crate::visit;

/// Runs a command in exactly the sandbox that the builder of a derivation would get.
///
/// Standard input, output and error are passed on byte by byte; at a terminal, the command gets one of its own.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store sandbox run hello.json -- /bin/sh -c 'ls -l /build; env'\n  \
                        store sandbox run /nix/store/…-hello.drv -- make check < input > output\n\n\
                        Exit code: that of the command, 128 and the number of the signal that killed it; else as of\n\
                        `store sandbox enter`.")]
pub(crate) struct Args {
    /// A derivation: a store path, a recipe, or a file with derivations of which one is used by no other there.
    #[arg(value_name = "DRV|FILE")]
    target: String,

    /// The command with its arguments, looked for in the `PATH` that the builder has.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command.
pub(crate) fn run(session: &Session, args: &Args) -> Result<Exit> {
    let words = args.command.iter().cloned().map(OsStringExt::into_vec).collect();
    visit::visit(session, &args.target, &Runs::Command(words), session.verbose())
}
