//! `store realisation show`
#![expect(clippy::disallowed_methods, reason = "the files are the user's")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use binary_cache::PublicKey;
use binary_cache::build_trace::Entry;
use local_store::LocalStore;
use serde_json::Value;
use store_path::StorePath;

use crate::build_failure::harmless;
use crate::derivers;
use crate::exit::Exit;
use crate::session::Session;
use crate::store_argument;

/// Prints entries of the build trace: what outputs turned out to be whose paths only a build told.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store realisation show /nix/store/…-hello.drv\n  \
                        store realisation show --json --public-key cache-1:… entry.json")]
pub(crate) struct Args {
    /// Derivations of the store, or what was built from them; of those whose inputs are all paths something can be
    /// known. Also files of JSON with an entry or a list of them, in the form of any Nix.
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// A key whose signature is good, as `NAME:BASE64`; may be repeated. What none of them has signed is named, and the
    /// exit code is 1.
    #[arg(long, value_name = "KEY")]
    public_key: Vec<PublicKey>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let mut entries = Vec::new();
    let store = session.read_store_if_there()?;
    for argument in &args.paths {
        let argument = session.absolute(argument);
        match store_argument::resolve_unless_file(&session.location()?, &argument) {
            Ok(path) => entries.extend(in_store(store.as_ref(), &path)?),
            Err(_) if argument.is_file() => entries.extend(in_file(&argument)?),
            Err(error) => return Err(error),
        }
    }
    let mut exit = Exit::Success;
    for entry in &entries {
        if !is_signed(entry, &args.public_key) {
            session
                .messages()
                .error(harmless(&format!("no key that was given has signed `{}`", name(entry))));
            exit = Exit::Failure;
        }
    }
    if session.json() {
        let list: Vec<Value> = entries.iter().map(Entry::print).collect::<Result<_, _>>()?;
        session.results().json(&list.into())?;
        return Ok(exit);
    }
    for entry in &entries {
        let path = match entry {
            Entry::Current(entry) => &entry.path,
            Entry::Legacy(entry) => &entry.path,
        };
        session.results().line(harmless(&format!("{} {path}", name(entry))))?;
    }
    Ok(exit)
}

/// Returns what is known of the outputs of a derivation, or of the derivations that a path is an output of.
fn in_store(store: Option<&LocalStore>, path: &StorePath) -> Result<Vec<Entry>> {
    let store = store.with_context(|| format!("there is no store that could know `{path}`"))?;
    let drvs: BTreeSet<StorePath> = derivers::of(store, path)?.into_iter().collect();
    Ok(store.realisations(&drvs)?.into_iter().map(Entry::Current).collect())
}

fn in_file(file: &Path) -> Result<Vec<Entry>> {
    let read = || {
        let list = match serde_json::from_slice(&fs::read(file)?)? {
            Value::Array(list) => list,
            one => vec![one],
        };
        let entry = |value: &Value| Ok::<_, anyhow::Error>(Entry::parse(value)?);
        list.iter().map(entry).collect::<Result<Vec<Entry>>>()
    };
    read().with_context(|| format!("cannot read the build trace in `{}`", file.display()))
}

fn name(entry: &Entry) -> String {
    match entry {
        Entry::Current(entry) => format!("{}^{}", entry.drv, entry.output),
        Entry::Legacy(entry) => entry.id.to_string(),
    }
}

fn is_signed(entry: &Entry, keys: &[PublicKey]) -> bool {
    let text = entry.fingerprint();
    let is_good = |signature: &String| keys.iter().any(|key| key.has_signed(&text, signature));
    keys.is_empty() || entry.signatures().iter().any(is_good)
}
