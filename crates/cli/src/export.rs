//! `store export`
#![expect(clippy::disallowed_methods, reason = "the list of what to leave out is the user's")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use binary_cache::stream::Format;
use store_path::{StoreDir, StorePath};

use crate::exit::{Exit, Misuse};
use crate::session::Session;
use crate::size;

/// Writes store paths to stdout as one stream, for `store import` or `nix-store --import` elsewhere.
///
/// What others refer to comes first. A path that is not what was registered ends the stream with an error, and no reader
/// takes it for whole.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store export --recursive ./result > hello.export\n  \
                        store export -R ./result | ssh other store import\n  \
                        store import < part.export > there\n  \
                        ssh other store export -R /nix/store/…-hello --except-from - < there | store import\n  \
                        store export --format 2 -R ./result --from-byte 81264 > rest.export")]
pub(crate) struct Args {
    /// Store paths, or links to them such as `./result`.
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Also what they refer to, directly or through others: what the other side needs to use them.
    #[arg(short = 'R', long, visible_short_alias = 'r')]
    recursive: bool,

    /// The format: what every Nix reads (1), or with signatures, content addresses and a hash before each archive, for `store`
    /// and Determinate Nix (2).
    #[arg(long, value_enum, value_name = "VERSION", default_value = "1")]
    format: Version,

    /// Leaves out the paths in FILE, one a line; `-` for stdin. What is left out has to be at the other side.
    #[arg(long, value_name = "FILE")]
    except_from: Option<PathBuf>,

    /// Leaves out that many bytes at the beginning, which the other side has: with format 2, where `store import` says so.
    #[arg(long, value_name = "BYTES", default_value_t = 0, value_parser = size::count::<u64>)]
    from_byte: u64,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// `nix-store --export`
    #[value(name = "1")]
    One,
    /// `nix nario export --format 2`
    #[value(name = "2")]
    Two,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    if stdout().is_terminal() {
        bail!("cannot write a stream to the terminal; send it to a file: `store export … > file.export`");
    }
    ensure!(
        args.from_byte == 0 || args.format == Version::Two,
        Misuse::says(
            "`--from-byte` needs `--format 2`: in the first format there is no hash to tell that two halves fit together"
        )
    );
    let store = session.read_store()?;
    let mut paths: BTreeSet<StorePath> = session.valid_paths(&store, &args.paths)?.into_iter().collect();
    if args.recursive {
        paths = store.closure(&paths)?;
    }
    if let Some(file) = &args.except_from {
        for path in except(session, file, store.store_dir())? {
            paths.remove(&path);
        }
    }
    let format = match args.format {
        Version::One => Format::Nix,
        Version::Two => Format::Nario,
    };
    store.export(&paths, format, args.from_byte, session.results())?;
    session.messages().detail(format_args!("{} paths exported", paths.len()));
    Ok(Exit::Success)
}

/// Reads a list of store paths.
fn except(session: &Session, file: &Path, store_dir: &StoreDir) -> Result<Vec<StorePath>> {
    let text = match file == Path::new("-") {
        true => io::read_to_string(io::stdin()),
        false => fs::read_to_string(session.absolute(file)),
    };
    let text = text.with_context(|| format!("cannot read the list `{}`", file.display()))?;
    let line = |(number, line): (usize, &str)| {
        store_dir
            .parse(line.trim())
            .with_context(|| format!("cannot read line {} of the list `{}`", number + 1, file.display()))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(line).collect()
}
