//! `store derivation add`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bounded;
use crate::derivation_file;
use crate::exit::Exit;
use crate::recipe::Reader;
use crate::session::Session;

/// Adds the derivations of a file to the store and prints the paths of those that no other one there uses.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store derivation add hello.json\n  \
                        nix-instantiate … | xargs nix show-derivation | store derivation add")]
pub(crate) struct Args {
    /// A recipe, JSON as `store derivation show` prints it, or a `.drv` file; `-` for JSON on stdin.
    #[arg(default_value = "-")]
    file: PathBuf,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.open_store()?;
    let reader = Reader::adding(session, &store);
    let stated = if args.file == Path::new("-") {
        let text = bounded::read(&args.file).context("cannot read stdin")?;
        // What a recipe there names is looked for where `store` was started.
        reader.parse(text, &session.absolute(Path::new("stdin")))?
    } else {
        reader.read(&session.absolute(&args.file))?
    };
    let checked = engine::import(&store, stated)?;
    let goals = derivation_file::goals(&checked).into_iter();
    session.print_list(goals.map(|goal| store.store_dir().print(goal.path())).collect())?;
    Ok(Exit::Success)
}
