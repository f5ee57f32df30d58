//! `store hash convert`

use anyhow::{Context, Result};
use store_path::{Hash, HashAlgorithm};

use crate::exit::Exit;
use crate::hash_path::Format;
use crate::session::Session;

/// Prints hashes in another spelling.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  store hash convert sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=\n  \
                        store hash convert --algorithm sha1 --format sri a9993e364706816aba3e25717850c26c9cd0d89d"
)]
pub(crate) struct Args {
    /// Hashes in any spelling: `sha256-<base 64>`, `sha256:<digits>`, or digits alone.
    #[arg(required = true)]
    hashes: Vec<String>,

    /// The hash function of those that do not say it; the others have to agree.
    #[arg(long)]
    algorithm: Option<HashAlgorithm>,

    /// The spelling to print.
    #[arg(long, value_enum, default_value_t = Format::Sri)]
    format: Format,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let convert = |text: &String| {
        let hash = Hash::parse(text, args.algorithm).with_context(|| format!("cannot convert `{text}`"))?;
        Ok(args.format.print(&hash))
    };
    let lines = args.hashes.iter().map(convert).collect::<Result<_>>()?;
    session.print_list(lines)?;
    Ok(Exit::Success)
}
