//! `store recipe schema`

use anyhow::Result;

use crate::exit::Exit;
use crate::session::Session;

/// Prints the JSON Schema of recipes, by which editors complete and check them.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  store recipe schema > recipe.schema.json\n  \
                        # and in the recipe: \"$schema\": \"./recipe.schema.json\"")]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(session: &mut Session, _args: &Args) -> Result<Exit> {
    session.results().json(&recipe::schema())?;
    Ok(Exit::Success)
}
