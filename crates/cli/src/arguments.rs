//! The command line: every verb, and the options that all of them share.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::messages::Verbosity;

/// Builds derivations in a sandbox and keeps their results, compatible with Nix.
#[derive(Parser, Debug)]
#[command(
    name = "store",
    version,
    after_help = "Example:\n  store build fixtures/derivations/hello.json\n\n\
                  `store doctor` says whether this machine can isolate builds."
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every verb.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Build(Box<crate::build::Args>),
    Add(crate::add::Args),
    PathInfo(crate::path_info::Args),
    Narinfo(crate::narinfo::Args),
    Query(crate::query::Args),
    WhyDepends(crate::why_depends::Args),
    DiffClosures(crate::diff_closures::Args),
    Du(crate::du::Args),
    Ls(crate::ls::Args),
    Cat(crate::cat::Args),
    Log(crate::log::Args),
    Ps(crate::ps::Args),
    Cancel(crate::cancel::Args),
    /// Shows, converts, compares, draws and checks derivations, and adds them to the store.
    #[command(subcommand, after_help = "Example:\n  store derivation show /nix/store/…-hello.drv")]
    Derivation(Derivation),
    /// Describes recipes: derivations that are written by hand.
    #[command(subcommand, after_help = "Example:\n  store recipe schema > recipe.schema.json")]
    Recipe(Recipe),
    Dump(crate::dump::Args),
    Restore(crate::restore::Args),
    Export(crate::export::Args),
    Import(crate::import::Args),
    DumpDb(crate::database_text::DumpArgs),
    LoadDb(crate::database_text::LoadArgs),
    RegisterValidity(crate::database_text::RegisterArgs),
    Sign(crate::sign::Args),
    /// Makes keys for signing store paths.
    #[command(subcommand, after_help = "Example:\n  store key generate cache.example.org-1 --out secret.key")]
    Key(Key),
    /// Computes hashes as the store does, and spells them otherwise.
    #[command(subcommand, after_help = "Example:\n  store hash path ./source")]
    Hash(Hash),
    /// Shows what builds told of outputs whose paths nobody knew before.
    #[command(subcommand, after_help = "Example:\n  store realisation show entry.json")]
    Realisation(Realisation),
    /// Shows sandboxes of builds, and steps into them.
    #[command(subcommand, after_help = "Example:\n  store sandbox enter /nix/store/…-hello.drv")]
    Sandbox(Sandbox),
    Verify(crate::verify::Args),
    Optimise(crate::optimise::Args),
    Delete(crate::delete::Args),
    Gc(crate::gc::Args),
    /// Shows, adds and removes roots: what keeps store paths from being collected.
    #[command(subcommand, after_help = "Example:\n  store root add ./keep /nix/store/…-hello-2.10")]
    Root(Root),
    /// Shows the settings that are in force.
    #[command(subcommand, after_help = "Example:\n  store config show")]
    Config(Config),
    Doctor(crate::doctor::Args),
}

/// The verbs of `store derivation`.
#[derive(Subcommand, Debug)]
pub(crate) enum Derivation {
    Show(crate::derivation_show::Args),
    Diff(crate::derivation_diff::Args),
    Graph(crate::derivation_graph::Args),
    Outputs(crate::derivation_outputs::Args),
    Add(crate::derivation_add::Args),
    Options(crate::derivation_options::Args),
    Check(crate::derivation_check::Args),
    Convert(crate::derivation_convert::Args),
}

/// The verbs of `store key`.
#[derive(Subcommand, Debug)]
pub(crate) enum Key {
    Generate(crate::key::GenerateArgs),
    Public(crate::key::PublicArgs),
}

/// The verbs of `store recipe`.
#[derive(Subcommand, Debug)]
pub(crate) enum Recipe {
    Schema(crate::recipe_schema::Args),
}

/// The verbs of `store realisation`.
#[derive(Subcommand, Debug)]
pub(crate) enum Realisation {
    Show(crate::realisation_show::Args),
}

/// The verbs of `store sandbox`.
#[derive(Subcommand, Debug)]
pub(crate) enum Sandbox {
    Show(crate::sandbox_show::Args),
    Enter(crate::sandbox_enter::Args),
    Run(crate::sandbox_run::Args),
}

/// The verbs of `store hash`.
#[derive(Subcommand, Debug)]
pub(crate) enum Hash {
    Path(crate::hash_path::Args),
    Convert(crate::hash_convert::Args),
}

/// The verbs of `store root`.
#[derive(Subcommand, Debug)]
pub(crate) enum Root {
    Add(crate::root_add::Args),
    List(crate::root_list::Args),
    Remove(crate::root_remove::Args),
}

/// The verbs of `store config`.
#[derive(Subcommand, Debug)]
pub(crate) enum Config {
    Show(crate::config_show::Args),
}

impl Command {
    /// Returns whether the command prints something that `--json` can reshape.
    fn has_data(&self) -> bool {
        match self {
            Self::DumpDb(_)
            | Self::LoadDb(_)
            | Self::RegisterValidity(_)
            | Self::Dump(_)
            | Self::Restore(_)
            | Self::Cat(_)
            | Self::Export(_)
            | Self::Sandbox(Sandbox::Enter(_) | Sandbox::Run(_)) => false,
            Self::Log(args) => args.has_data(),
            _ => true,
        }
    }

    /// Returns what a run has done also when nobody could be told of it: nothing, if it only asks.
    pub(crate) fn done(&self) -> Option<&'static str> {
        Some(match self {
            Self::Build(args) if args.builds() => "what was built is there",
            Self::Add(_) | Self::Derivation(Derivation::Add(_)) => "what was added is there",
            Self::Import(_) => "what was imported is there",
            Self::Delete(_) => "what was deleted is gone",
            Self::Gc(args) if args.collects() => "what was deleted is gone",
            Self::Optimise(args) if args.links() => "what was linked stays linked",
            Self::Verify(args) if args.repairs() => "what was repaired is whole",
            Self::Root(Root::Add(_)) => "the roots are there",
            Self::Root(Root::Remove(_)) => "the roots are gone",
            Self::Sign(_) => "the signatures are there",
            Self::Key(Key::Generate(args)) if args.keeps() => "the secret key is in its file",
            _ => return None,
        })
    }
}

/// The options that every verb takes, before or after it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Keeps the store's files below DIR; its paths still begin with /nix/store.
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,

    /// Overrides one setting; may be repeated.
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], action = ArgAction::Append, allow_hyphen_values = true)]
    option: Vec<String>,

    /// Says more on stderr; twice for every step.
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,

    /// Says nothing on stderr but warnings and errors.
    #[arg(short, long)]
    quiet: bool,

    /// Prints results as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Globals {
    /// Returns the settings given with `--option`, in order.
    pub(crate) fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.option.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str()))
    }

    /// Returns how much to say.
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Verbose,
            (false, _) => Verbosity::Steps,
        }
    }

    /// Joins what stood before the verb with what stood after it; of two stores the later one counts.
    fn and(self, later: Self) -> Self {
        Self {
            store: later.store.or(self.store),
            option: [self.option, later.option].concat(),
            verbose: self.verbose.saturating_add(later.verbose),
            quiet: self.quiet || later.quiet,
            json: self.json || later.json,
        }
    }
}

/// Parses a command line, program name first.
///
/// An error may also be the text asked for by `--help`; clap knows which.
pub(crate) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<(Globals, Command), clap::Error> {
    let mut parser = command();
    let line: Vec<OsString> = line.into_iter().collect();
    if let Some(joined) = joined_option(&line) {
        let text = format!("`--option {joined}`: name and value are two words: `--option NAME VALUE`");
        return Err(parser.error(ErrorKind::WrongNumberOfValues, text));
    }
    let matches = parser.try_get_matches_from_mut(line)?;
    let globals = globals(&matches)?;
    let command = Arguments::from_arg_matches(&matches)?.command;
    if globals.json && !command.has_data() {
        let text = "`--json` is for commands whose result is data; this one's is a stream or a text of Nix, or there is none";
        return Err(parser.error(ErrorKind::ArgumentConflict, text));
    }
    Ok((globals, command))
}

/// Returns the word after `--option` when it is `NAME=VALUE`, which would take the next word for the value.
fn joined_option(line: &[OsString]) -> Option<&str> {
    let mut names = line.windows(2).filter(|pair| pair[0] == "--option").filter_map(|pair| pair[1].to_str());
    names.find(|name| name.contains('='))
}

/// Returns the whole command line as clap sees it.
fn command() -> clap::Command {
    with_globals(Arguments::command())
}

/// Gives the shared options to a command and all below it.
///
/// Clap's own global options would lose `--option` before the verb when it also stands after it.
fn with_globals(command: clap::Command) -> clap::Command {
    let verbs: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    // Only the verb that is asked for is worth the time.
    let later = |verb: clap::Command| verb.defer(with_globals);
    let command = verbs.into_iter().fold(command, |command, verb| command.mut_subcommand(verb, later));
    // `augment_args` would put the description of `Globals` in place of the command's own.
    let (about, long_about) = (command.get_about().cloned(), command.get_long_about().cloned());
    Globals::augment_args(command).about(Resettable::from(about)).long_about(Resettable::from(long_about))
}

/// Collects the shared options from all places where they may stand.
fn globals(matches: &ArgMatches) -> Result<Globals, clap::Error> {
    let here = Globals::from_arg_matches(matches)?;
    match matches.subcommand() {
        Some((_, below)) => Ok(here.and(globals(below)?)),
        None => Ok(here),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(line: &str) -> Result<(Globals, Command), clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    fn every_command(command: &clap::Command, seen: &mut impl FnMut(&clap::Command)) {
        seen(command);
        // Clap has a `help` of its own at every level.
        let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
        verbs.for_each(|verb| every_command(verb, seen));
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_help_has_an_example_and_describes_every_argument() {
        let mut all = command();
        all.build();
        every_command(&all, &mut |command| {
            let name = command.get_name();
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains("Example"), "`{name} --help` has no example");
            assert!(command.get_about().is_some(), "`{name} --help` does not say what it does");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "`{name}`: no help for `{}`", argument.get_id());
            }
        });
    }

    #[test]
    fn shared_options_stand_before_and_after_the_verb() {
        let (globals, _) =
            parse_text("store --option cores 1 -v --store /a derivation --quiet show --option cores 2 --store /b -v x.drv")
                .unwrap();
        assert_eq!(globals.options().collect::<Vec<_>>(), [("cores", "1"), ("cores", "2")]);
        assert_eq!(globals.store, Some(PathBuf::from("/b")));
        assert_eq!((globals.verbose, globals.quiet), (2, true));
    }

    #[test]
    fn an_option_with_an_equals_sign_is_explained() {
        let error = parse_text("store --option cores=1 build x").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("`--option NAME VALUE`"), "{error}");
        assert!(parse_text("store build x --option sandbox-paths /bin/sh=/bin/dash").is_ok());
    }

    #[test]
    fn json_is_refused_where_no_data_comes_out() {
        assert!(parse_text("store --json path-info x").is_ok());
        assert_eq!(parse_text("store dump --json x").unwrap_err().exit_code(), 2);
    }
}
