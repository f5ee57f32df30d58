//! `store realisation show`
#![expect(clippy::disallowed_methods, reason = "the files are the user's")]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use binary_cache::PublicKey;
use binary_cache::build_trace::Entry;
use serde_json::Value;

use crate::build_failure::harmless;
use crate::exit::Exit;
use crate::session::Session;

/// Prints entries of the build trace: what outputs turned out to be whose paths only a build told.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store realisation show entry.json\n  \
                        store realisation show --json --public-key cache-1:… entry.json")]
pub(crate) struct Args {
    /// Files of JSON with an entry or a list of them, of the form of any Nix.
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// A key whose signature is good, as `NAME:BASE64`; may be repeated. What none of them has signed is named, and the
    /// exit code is 1.
    #[arg(long, value_name = "KEY")]
    public_key: Vec<PublicKey>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let mut entries = Vec::new();
    for file in &args.files {
        let file = session.absolute(file);
        entries.extend(
            read(&file).with_context(|| format!("cannot read the build trace in `{}`", file.display()))?,
        );
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

fn read(file: &Path) -> Result<Vec<Entry>> {
    let list = match serde_json::from_slice(&fs::read(file)?)? {
        Value::Array(list) => list,
        one => vec![one],
    };
    let read = |value: &Value| Ok(Entry::parse(value)?);
    list.iter().map(read).collect()
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
