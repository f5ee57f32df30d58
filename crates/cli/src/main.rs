//! The `store` command. Floor 5: the only crate that reads arguments and environment, prints, and chooses an
//! exit code.
//!
//! `main` parses the command line into one variant of [`arguments::Command`]; each has its file, with its
//! arguments and its `run`, which gets a [`session::Session`]. Results go to stdout, the rest to stderr, both by
//! way of [`terminal::Terminal`]. Errors are `anyhow` chains, printed once, here.

mod arguments;
mod config;
mod config_show;
mod environment;
mod exit;
mod session;
mod terminal;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::arguments::{Command, Config};
use crate::config::Flag;
use crate::exit::Exit;
use crate::session::Session;

fn main() -> ExitCode {
    let (globals, command) = match arguments::parse(environment::arguments()) {
        Ok(parsed) => parsed,
        Err(error) => return show_clap(&error).into(),
    };
    match Session::start(globals, flags(&command)) {
        Ok(mut session) => finish(&mut session, &command).into(),
        Err(error) => {
            let _ = writeln!(io::stderr(), "store: {error:#}");
            Exit::Failure.into()
        }
    }
}

/// Prints what clap has to say: help and version as results, a usage error on stderr.
fn show_clap(error: &clap::Error) -> Exit {
    if error.use_stderr() {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let _ = write!(io::stderr(), "store: {text}");
        return Exit::Usage;
    }
    // A reader that has gone away has seen enough.
    let _ = error.print();
    Exit::Success
}

/// Returns the options of a command that set a setting.
fn flags(command: &Command) -> Vec<Flag> {
    Vec::new()
}

/// Runs the command, flushes its results and prints what went wrong.
fn finish(session: &mut Session, command: &Command) -> Exit {
    let outcome = run(session, command).and_then(|exit| {
        session.terminal().results().flush().context("cannot write the result")?;
        Ok(exit)
    });
    outcome.unwrap_or_else(|error| {
        if session.terminal().results().reader_gone() {
            return Exit::Success;
        }
        session.terminal().error(format_args!("{error:#}"));
        Exit::Failure
    })
}

fn run(session: &mut Session, command: &Command) -> Result<Exit> {
    match command {
        Command::Config(Config::Show(args)) => config_show::run(session, args),
    }
}
