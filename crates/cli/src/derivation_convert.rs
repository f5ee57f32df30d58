//! `store derivation convert`
#![expect(clippy::disallowed_methods, reason = "writes where the user says")]

use std::collections::btree_map::{BTreeMap, Entry};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use derivation::{Derivation, own_path};
use store_path::{StoreDir, StorePath};

use crate::bounded;
use crate::derivation_file::Stated;
use crate::derivation_form::{Form, HELP};
use crate::exit::Exit;
use crate::recipe::Reader;
use crate::session::Session;

/// Reads derivations in any form and prints them in another.
///
/// No store is needed, and nothing that a derivation names has to exist. Nothing is added either: paths that are
/// left open stay so (`store derivation show FILE` fills them in).
#[derive(clap::Args, Debug)]
#[command(after_help = format!("Examples:\n  store derivation convert hello.json --format v4\n  \
    store derivation convert /nix/store/…-hello.drv --format v4 --bare | nix derivation add\n  \
    store derivation convert closure.json --format aterm --output DIR\n\n{HELP}"))]
pub(crate) struct Args {
    /// Files with JSON of any form, or `.drv` files; `-` for JSON on stdin.
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// The form to print.
    #[arg(short, long, default_value = "v4", value_name = "FORM")]
    format: Form,

    /// Prints the only derivation alone, not as a field of an object.
    #[arg(short, long)]
    bare: bool,

    /// Writes to FILE instead of stdout. With `aterm` it may be a directory: each derivation gets a file there.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store_dir = StoreDir::default();
    let mut all = BTreeMap::new();
    for file in &args.files {
        for (stated, derivation) in read(session, file, &store_dir)? {
            let path = stated.map_or_else(|| own_path(&derivation, &store_dir), Ok)?;
            add(&mut all, path, derivation)?;
        }
    }
    let list: Vec<(StorePath, &Derivation)> =
        all.iter().map(|(path, derivation)| (path.clone(), derivation)).collect();
    let Some(output) = args.output.as_ref().map(|output| session.absolute(output)) else {
        print(args, &store_dir, &list, session.results())?;
        return Ok(Exit::Success);
    };
    if args.format == Form::Aterm && output.is_dir() {
        for (path, derivation) in &list {
            let file = output.join(path.to_string());
            let mut text = Vec::new();
            args.format.write_bare(&store_dir, derivation, &mut text)?;
            write(&file, &text)?;
        }
    } else {
        // Printed whole before the file is touched: what cannot be printed replaces nothing.
        let mut text = Vec::new();
        print(args, &store_dir, &list, &mut text)?;
        write(&output, &text)?;
    }
    Ok(Exit::Success)
}

fn write(file: &Path, text: &[u8]) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))
}

/// Reads one file; the path of a `.drv` file is its name, if that is one.
fn read(session: &Session, file: &Path, store_dir: &StoreDir) -> Result<Vec<Stated>> {
    let is_stdin = file == Path::new("-");
    let file = if is_stdin { file.to_owned() } else { session.absolute(file) };
    let text = bounded::read(&file)
        .with_context(|| format!("cannot read the derivations in `{}`", file.display()))?;
    let named = if is_stdin { session.absolute(Path::new("stdin")) } else { file.clone() };
    let mut list = Reader::without_store(session, store_dir).parse(text, &named)?;
    if let [(stated @ None, _)] = &mut list[..] {
        *stated = path_of(&file);
    }
    Ok(list)
}

/// Returns the store path that a file is called after.
pub(crate) fn path_of(file: &Path) -> Option<StorePath> {
    file.file_name()?.to_str()?.parse().ok().filter(StorePath::is_derivation)
}

fn add(all: &mut BTreeMap<StorePath, Derivation>, path: StorePath, derivation: Derivation) -> Result<()> {
    match all.entry(path) {
        Entry::Vacant(place) => {
            place.insert(derivation);
        }
        Entry::Occupied(place) => {
            ensure!(
                *place.get() == derivation,
                "there are two different derivations called `{}`",
                place.key()
            );
        }
    }
    Ok(())
}

fn print(
    args: &Args,
    store_dir: &StoreDir,
    list: &[(StorePath, &Derivation)],
    to: &mut impl std::io::Write,
) -> Result<()> {
    if !args.bare {
        return args.format.write(store_dir, list, to);
    }
    let [(_, derivation)] = list else {
        anyhow::bail!("`--bare` is for one derivation, and these are {}", list.len());
    };
    args.format.write_bare(store_dir, derivation, to)
}
