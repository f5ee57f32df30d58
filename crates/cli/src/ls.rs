//! `store ls`

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use local_store::{Error, FileKind, Found};
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::results::Results;
use crate::session::Session;

/// Lists the files of a store path.
///
/// Symlinks on the way are followed as long as they stay in that path; one at the end is listed.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store ls -lR ./result\n  store ls --json /nix/store/…-hello/bin")]
pub(crate) struct Args {
    /// A store path, something in one, or a link to one.
    path: PathBuf,

    /// Also tells what each is, the sizes of files, and where symlinks lead.
    #[arg(short, long)]
    long: bool,

    /// Also what is in directories, and so on.
    #[arg(short = 'R', long)]
    recursive: bool,

    /// A directory itself instead of what is in it.
    #[arg(short, long)]
    directory: bool,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.read_store()?;
    let (path, below) = session.valid_part(&store, &args.path)?;
    let found = store.look_into(&path, &below, false)?;
    if session.json() {
        let value = to_json(&found, args.recursive)?;
        session.results().json(&value)?;
        return Ok(Exit::Success);
    }
    let is_directory = found.kind()? == FileKind::Directory;
    let shown = if is_directory { Path::new(".") } else { Path::new(found.name()) };
    if is_directory && !args.directory {
        return list(session.results(), args, &found, shown).map(|()| Exit::Success);
    }
    line(session.results(), args, &found, shown)?;
    if is_directory && args.recursive {
        list(session.results(), args, &found, shown)?;
    }
    Ok(Exit::Success)
}

/// Prints what is in a directory; with `--recursive` each directory is followed by what is in it.
fn list(results: &mut Results, args: &Args, directory: &Found, shown: &Path) -> Result<()> {
    // What is still to be printed, the next one last.
    let mut left = entries(directory, shown)?;
    while let Some((found, shown)) = left.pop() {
        line(results, args, &found, &shown)?;
        if args.recursive && found.kind()? == FileKind::Directory {
            left.extend(entries(&found, &shown)?);
        }
    }
    Ok(())
}

fn entries(directory: &Found, shown: &Path) -> Result<Vec<(Found, PathBuf)>, Error> {
    let named = |found: Found| {
        let shown = shown.join(found.name());
        (found, shown)
    };
    Ok(directory.entries()?.into_iter().rev().map(named).collect())
}

/// Prints a line as Nix does: everything in a store has the modes and the owner that it has to have.
fn line(results: &mut Results, args: &Args, found: &Found, shown: &Path) -> Result<()> {
    let shown = shown.as_os_str().as_bytes();
    if args.long {
        let kind = found.kind()?;
        let (mode, size) = match &kind {
            FileKind::Directory => ("dr-xr-xr-x", 0),
            FileKind::Regular { executable: true, size } => ("-r-xr-xr-x", *size),
            FileKind::Regular { executable: false, size } => ("-r--r--r--", *size),
            FileKind::Symlink { .. } => ("lrwxrwxrwx", 0),
        };
        write!(results, "{mode} {size:>20} ")?;
        results.write_all(shown)?;
        if let FileKind::Symlink { target } = &kind {
            results.write_all(b" -> ")?;
            results.write_all(target.as_bytes())?;
        }
    } else {
        results.write_all(shown)?;
    }
    Ok(results.write_all(b"\n")?)
}

/// A directory that is being described, with what is still to be described of it, the next one last.
struct Open {
    name: String,
    left: Vec<Found>,
    entries: Map<String, Value>,
}

/// Describes a file as `nix store ls --json` does; without `deep`, what is in a directory by its name only.
fn to_json(found: &Found, deep: bool) -> Result<Value> {
    let mut stack = match found.kind()? {
        FileKind::Directory => vec![open(found)?],
        _ => return describe(found),
    };
    loop {
        let Some(here) = stack.last_mut() else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        match here.left.pop() {
            Some(next) if deep && next.kind()? == FileKind::Directory => stack.push(open(&next)?),
            Some(next) => {
                let name = next.name().to_string_lossy().into_owned();
                here.entries.insert(name, if deep { describe(&next)? } else { json!({}) });
            }
            None => {
                let Some(Open { name, entries, .. }) = stack.pop() else { continue };
                let value = json!({ "type": "directory", "entries": entries });
                match stack.last_mut() {
                    Some(above) => drop(above.entries.insert(name, value)),
                    None => return Ok(value),
                }
            }
        }
    }
}

fn open(directory: &Found) -> Result<Open> {
    let left = directory.entries()?.into_iter().rev().collect();
    Ok(Open { name: directory.name().to_string_lossy().into_owned(), left, entries: Map::new() })
}

fn describe(found: &Found) -> Result<Value> {
    Ok(match found.kind()? {
        FileKind::Directory => json!({ "type": "directory" }),
        FileKind::Regular { executable: true, size } => {
            json!({ "type": "regular", "size": size, "executable": true })
        }
        FileKind::Regular { executable: false, size } => json!({ "type": "regular", "size": size }),
        FileKind::Symlink { target } => json!({ "type": "symlink", "target": target.to_string_lossy() }),
    })
}
