//! `store add`
#![expect(clippy::disallowed_methods, reason = "the manifest is a file of the user's")]

use std::ffi::OsStr;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use local_store::ManifestRow;
use store_path::{Name, StoreDir};

use crate::exit::Exit;
use crate::manifest;
use crate::path_info;
use crate::session::Session;

/// Copies a file or directory into the store and prints its store path.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  store add ./source\n  store add --name hello-2.10.tar.gz ~/Downloads/hello.tgz\n  \
                        store add --manifest inputs.tsv"
)]
pub(crate) struct Args {
    /// The file or directory.
    #[arg(required_unless_present = "manifest")]
    path: Option<PathBuf>,

    /// The name in the store; the file's own without it.
    #[arg(long, conflicts_with = "manifest")]
    name: Option<Name>,

    /// Adds every line of FILE: store path, hash of the archive and file name, with a tab between them.
    ///
    /// Nothing is added whose store path or hash comes out otherwise.
    #[arg(long, value_name = "FILE", conflicts_with = "path")]
    manifest: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    match (&args.path, &args.manifest) {
        (Some(path), _) => add_path(session, path, args.name.as_ref()),
        (None, Some(manifest)) => add_manifest(session, manifest),
        (None, None) => unreachable!("clap asks for one of the two"),
    }
}

fn add_path(session: &mut Session, path: &Path, name: Option<&Name>) -> Result<Exit> {
    let source = session.absolute(path);
    let name = match name {
        Some(name) => name.clone(),
        None => own_name(&source)?,
    };
    let store = session.open_store()?;
    let info = store.add_path(&name, &source).with_context(|| format!("cannot add `{}`", path.display()))?;
    // It may have been there for long.
    store.note_uses();
    if session.json() {
        session.results().json(&path_info::to_json(&store, &info))?;
    } else {
        session.results().line(store.store_dir().print(&info.path))?;
    }
    Ok(Exit::Success)
}

/// Returns the name of a file as the store can have it.
fn own_name(source: &Path) -> Result<Name> {
    // `.` and `x/..` have no name of their own, but what they mean has.
    let file_name = source.file_name().map(OsStr::to_owned);
    let real_name = || fs::canonicalize(source).ok()?.file_name().map(OsStr::to_owned);
    let name = file_name.or_else(real_name).unwrap_or_default();
    let name = name.to_string_lossy();
    name.parse()
        .with_context(|| format!("cannot call `{}` that in the store; give `--name NAME`", source.display()))
}

fn add_manifest(session: &mut Session, manifest: &Path) -> Result<Exit> {
    let store = session.open_store()?;
    let file = session.absolute(manifest);
    let rows = read_manifest(&file, store.store_dir())
        .with_context(|| format!("cannot read the manifest `{}`", manifest.display()))?;
    let jobs = available_parallelism().map_or(1, NonZero::get);
    let problems = store.add_manifest(&rows, jobs);
    let failed = problems.len();
    for problem in problems {
        let error = anyhow::Error::from(problem.error);
        session.messages().error(format_args!("cannot add `{}`: {error:#}", problem.path));
    }
    if failed > 0 {
        bail!("{failed} of {} paths could not be added; the others are in the store", rows.len());
    }
    session.print_list(rows.iter().map(|row| store.store_dir().print(&row.path)).collect())?;
    Ok(Exit::Success)
}

fn read_manifest(file: &Path, store_dir: &StoreDir) -> Result<Vec<ManifestRow>> {
    manifest::parse(&fs::read_to_string(file)?, store_dir, file.parent().unwrap_or(Path::new("/")))
}
