//! The `store` command. Floor 5: the only crate that reads arguments and environment, prints, and chooses an
//! exit code.
//!
//! `main` parses the command line into one variant of [`arguments::Command`]; each has its file, with its
//! arguments and its `run`, which gets a [`session::Session`]. Results go to stdout, the rest to stderr, both by
//! way of the session. Errors are `anyhow` chains, printed once, here.

mod absolute;
mod add;
mod advice;
mod age;
mod arguments;
mod bounded;
mod branches;
mod build;
mod build_argument;
mod build_failure;
mod build_results;
mod cancel;
mod cat;
mod config;
mod config_show;
mod database_text;
mod delete;
mod derivation_add;
mod derivation_check;
mod derivation_convert;
mod derivation_diff;
mod derivation_file;
mod derivation_form;
mod derivation_graph;
mod derivation_options;
mod derivation_outputs;
mod derivation_show;
mod derivations_at_hand;
mod derivers;
mod descriptors;
mod diff_closures;
mod divergence;
mod doctor;
mod du;
mod dump;
mod duration;
mod environment;
mod events;
mod examine;
mod exit;
mod explain;
mod export;
mod flow;
mod full_disk;
mod gauge;
mod gc;
mod hash_convert;
mod hash_path;
mod import;
mod interrupt;
mod key;
mod keys;
mod location;
mod log;
mod log_line;
mod ls;
mod manifest;
mod messages;
mod narinfo;
mod nix_message;
mod on_fail;
mod optimise;
mod origin;
mod out_link;
mod outcome;
mod outlet;
mod path_info;
mod plan_json;
mod ps;
mod query;
mod realisation_show;
mod recipe;
mod recipe_check;
mod recipe_schema;
mod repair;
mod restore;
mod results;
mod root_add;
mod root_list;
mod root_remove;
mod root_text;
mod sandbox_enter;
mod sandbox_run;
mod sandbox_show;
mod session;
mod shell;
mod sign;
mod size;
mod store_argument;
mod style;
mod target;
mod terminal;
mod threads;
mod user_name;
mod verify;
mod verify_isolated;
mod visit;
mod watch;
mod when;
mod why_depends;

use std::io::{self, Write};
use std::panic;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::arguments::{Command, Config, Derivation, Hash, Key, Realisation, Recipe, Root, Sandbox};
use crate::config::Flag;
use crate::exit::{Exit, Misuse};
use crate::session::Session;

fn main() -> ExitCode {
    sandbox::launcher_main_with(builtins::BUILDERS);
    descriptors::raise_limit();
    // Rust's own code for a panic, 101, means to callers that a build took too long.
    let exit = panic::catch_unwind(start).unwrap_or_else(|_| {
        let _ = writeln!(
            io::stderr(),
            "store: this is a mistake in `store` itself; please report the lines above"
        );
        Exit::Failure
    });
    exit.into()
}

/// Does what the command line says.
fn start() -> Exit {
    // Whoever tells `store build` to stop is heard from the first moment on.
    let held = interrupt::hold();
    let (globals, command) = match arguments::parse(environment::arguments()) {
        Ok(parsed) => parsed,
        Err(error) => return show_clap(&error),
    };
    let _held = matches!(&command, Command::Build(args) if args.builds()).then_some(held);
    match Session::start(globals, flags(&command)) {
        Ok(mut session) => finish(&mut session, &command),
        Err(error) => {
            let _ = writeln!(io::stderr(), "store: {error:#}");
            Misuse::exit(&error)
        }
    }
}

/// Prints what clap has to say: help and version as results, a usage error on stderr.
fn show_clap(error: &clap::Error) -> Exit {
    if error.use_stderr() {
        let text = error.render().to_string();
        // Without a verb there is no error to tell, only the help.
        let text = text.strip_prefix("error: ").map_or(text.clone(), |error| format!("store: {error}"));
        let _ = io::stderr().write_all(text.as_bytes());
        return Exit::Usage;
    }
    // A reader that has gone away has seen enough.
    let _ = error.print();
    Exit::Success
}

/// Returns the options of a command that set a setting.
fn flags(command: &Command) -> Vec<Flag> {
    match command {
        Command::Build(args) => args.flags(),
        _ => Vec::new(),
    }
}

/// Runs the command, flushes its results and prints what went wrong.
fn finish(session: &mut Session, command: &Command) -> Exit {
    let outcome = run(session, command).and_then(|exit| {
        session.results().flush().context("cannot write the result")?;
        Ok(exit)
    });
    outcome.unwrap_or_else(|error| {
        if session.results().reader_gone() {
            return Exit::Success;
        }
        // Of a line that could not be written, the system says why, and nothing what that was.
        let is_bare = error.chain().count() == 1 && session.results().refused();
        let error = if is_bare { error.context("cannot write the result") } else { error };
        // It may name what somebody else has written into a file of derivations.
        session.messages().error(build_failure::harmless(&format!("{error:#}")));
        // Not the disk of the store, of which the other advice would speak.
        let advice = match session.results().refused() {
            true => Some(unprinted(command).into()),
            false => session.advice(&error),
        };
        if let Some(advice) = advice {
            session.messages().error(advice);
        }
        Misuse::exit(&error)
    })
}

/// Says why results could not be printed, and what is done all the same.
fn unprinted(command: &Command) -> String {
    let why = "results went to a file or device that takes no more";
    command.done().map_or_else(|| why.to_owned(), |done| format!("{why}; {done}"))
}

fn run(session: &mut Session, command: &Command) -> Result<Exit> {
    match command {
        Command::Build(args) => build::run(session, args),
        Command::Add(args) => add::run(session, args),
        Command::PathInfo(args) => path_info::run(session, args),
        Command::Narinfo(args) => narinfo::run(session, args),
        Command::Query(args) => query::run(session, args),
        Command::WhyDepends(args) => why_depends::run(session, args),
        Command::DiffClosures(args) => diff_closures::run(session, args),
        Command::Du(args) => du::run(session, args),
        Command::Ls(args) => ls::run(session, args),
        Command::Cat(args) => cat::run(session, args),
        Command::Log(args) => log::run(session, args),
        Command::Ps(args) => ps::run(session, args),
        Command::Cancel(args) => cancel::run(session, args),
        Command::Derivation(Derivation::Show(args)) => derivation_show::run(session, args),
        Command::Derivation(Derivation::Diff(args)) => derivation_diff::run(session, args),
        Command::Derivation(Derivation::Graph(args)) => derivation_graph::run(session, args),
        Command::Derivation(Derivation::Outputs(args)) => derivation_outputs::run(session, args),
        Command::Derivation(Derivation::Add(args)) => derivation_add::run(session, args),
        Command::Recipe(Recipe::Schema(args)) => recipe_schema::run(session, args),
        Command::Derivation(Derivation::Options(args)) => derivation_options::run(session, args),
        Command::Derivation(Derivation::Check(args)) => derivation_check::run(session, args),
        Command::Derivation(Derivation::Convert(args)) => derivation_convert::run(session, args),
        Command::Dump(args) => dump::run(session, args),
        Command::Restore(args) => restore::run(session, args),
        Command::Export(args) => export::run(session, args),
        Command::Import(args) => import::run(session, args),
        Command::DumpDb(args) => database_text::dump(session, args),
        Command::LoadDb(args) => database_text::load(session, args),
        Command::RegisterValidity(args) => database_text::register_validity(session, args),
        Command::Sign(args) => sign::run(session, args),
        Command::Key(Key::Generate(args)) => key::generate(session, args),
        Command::Key(Key::Public(args)) => key::public(session, args),
        Command::Hash(Hash::Convert(args)) => hash_convert::run(session, args),
        Command::Hash(Hash::Path(args)) => hash_path::run(session, args),
        Command::Sandbox(Sandbox::Show(args)) => sandbox_show::run(session, args),
        Command::Sandbox(Sandbox::Enter(args)) => sandbox_enter::run(session, args),
        Command::Sandbox(Sandbox::Run(args)) => sandbox_run::run(session, args),
        Command::Realisation(Realisation::Show(args)) => realisation_show::run(session, args),
        Command::Verify(args) => verify::run(session, args),
        Command::Optimise(args) => optimise::run(session, args),
        Command::Delete(args) => delete::run(session, args),
        Command::Gc(args) => gc::run(session, args),
        Command::Root(Root::Add(args)) => root_add::run(session, args),
        Command::Root(Root::List(args)) => root_list::run(session, args),
        Command::Root(Root::Remove(args)) => root_remove::run(session, args),
        Command::Config(Config::Show(args)) => config_show::run(session, args),
        Command::Doctor(args) => doctor::run(session, args),
    }
}
