//! `store sign`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use binary_cache::SecretKey;
use local_store::LocalStore;
use serde_json::json;
use store_path::StorePath;

use crate::exit::Exit;
use crate::keys;
use crate::session::Session;

/// Signs store paths, so that others who trust the key can take them.
///
/// Signatures are kept in the database of the store; `path-info --json` shows them. What is signed says that a path has that
/// hash, size and those references; whether the contents are still like that, `store verify --contents` says.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  store sign -k secret.key ./result\n  store sign -k secret.key --recursive ./result\n  \
                        store sign -k secret.key --all"
)]
pub(crate) struct Args {
    /// Store paths, or links to them such as `./result`.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    paths: Vec<PathBuf>,

    /// A file with a secret key, as `store key generate` makes it; may be repeated. Those of the setting `secret-key-files`
    /// without it.
    #[arg(short, long, value_name = "FILE")]
    key_file: Vec<PathBuf>,

    /// Also what they refer to, directly or through others.
    #[arg(short, long)]
    recursive: bool,

    /// Every valid path.
    #[arg(long)]
    all: bool,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let keys = chosen_keys(session, args)?;
    let store = session.open_existing_store()?;
    let paths = paths(session, &store, args)?;
    let added = store.sign(&paths, &keys).context("cannot sign")?;
    if session.json() {
        let full: BTreeMap<String, &Vec<String>> =
            added.iter().map(|(path, signatures)| (store.store_dir().print(path), signatures)).collect();
        session.results().json(&json!(full))?;
    }
    let count: usize = added.values().map(Vec::len).sum();
    session.messages().note(format_args!("{count} signatures added to {} paths", added.len()));
    Ok(Exit::Success)
}

fn chosen_keys(session: &Session, args: &Args) -> Result<Vec<SecretKey>> {
    let given: Vec<PathBuf> = args.key_file.iter().map(|file| session.absolute(file)).collect();
    let files = if given.is_empty() { &session.settings().secret_key_files } else { &given };
    ensure!(
        !files.is_empty(),
        "there is no key to sign with: name one with `--key-file FILE` or in `secret-key-files`; `store key generate` \
         makes one"
    );
    keys::read_all(files)
}

fn paths(session: &Session, store: &LocalStore, args: &Args) -> Result<BTreeSet<StorePath>> {
    if args.all {
        return Ok(store.all_valid()?);
    }
    let paths = session.valid_paths(store, &args.paths)?.into_iter().collect();
    Ok(if args.recursive { store.closure(&paths)? } else { paths })
}
