//! `store derivation outputs`
#![expect(clippy::disallowed_methods, reason = "lists are files of the user's")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use derivation::{Derivation, DerivedPath, OutputName, OutputsSpec, Wanted};
use serde_json::{Map, Value, json};
use store_path::{StoreDir, StorePath};

use crate::derivations_at_hand::AtHand;
use crate::exit::Exit;
use crate::session::Session;

/// Prints what derivations make, without building it.
///
/// What has no path before it is built is printed in words. With `--json` it is told how Nix writes what was asked for,
/// and what stands for each output in the texts of derivations that use it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store derivation outputs /nix/store/…-hello.drv\n  \
                        store derivation outputs --json '/nix/store/…-hello.drv^out,dev'\n  \
                        store derivation outputs --from wanted.json")]
pub(crate) struct Args {
    /// Derivations, with the outputs that are meant: `…-x.drv^out,dev`; all of them if nothing follows, or `^*`. Without
    /// outputs also files with derivations; `-` for JSON on stdin.
    #[arg(required_unless_present = "from")]
    paths: Vec<String>,

    /// Also what is in a FILE of JSON, as Nix writes it: a derived path, or a list of them.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let mut at_hand = AtHand::new(session)?;
    let mut wanted = Vec::new();
    for word in &args.paths {
        wanted.extend(in_words(session, &mut at_hand, word)?);
    }
    if let Some(file) = &args.from {
        let file = session.absolute(file);
        let read = || in_json(&fs::read(&file)?);
        wanted.extend(read().with_context(|| format!("cannot read what `{}` wants", file.display()))?);
    }
    let json = session.json();
    let mut list = Vec::new();
    for path in wanted {
        let outputs = outputs(&at_hand, &path)?;
        if json {
            list.push(to_json(at_hand.store_dir(), &path, &outputs));
            continue;
        }
        for (output, found) in outputs {
            let line = match found {
                Some(found) => at_hand.store_dir().print(&found),
                None => {
                    DerivedPath { wanted: Wanted::One(output), ..path.clone() }.print(at_hand.store_dir())
                }
            };
            session.results().line(line)?;
        }
    }
    if json {
        session.results().json(&list.into())?;
    }
    Ok(Exit::Success)
}

fn in_words(session: &Session, at_hand: &mut AtHand, word: &str) -> Result<Vec<DerivedPath>> {
    if word.contains(['^', '!']) && !session.absolute(Path::new(word)).exists() {
        let read = DerivedPath::parse(word, at_hand.store_dir());
        return Ok(vec![read.with_context(|| format!("cannot read `{word}`"))?]);
    }
    let all = |path| DerivedPath { path, through: Vec::new(), wanted: Wanted::Outputs(OutputsSpec::All) };
    Ok(at_hand.take(session, Path::new(word))?.into_iter().map(all).collect())
}

fn in_json(bytes: &[u8]) -> Result<Vec<DerivedPath>> {
    let list = match serde_json::from_slice(bytes)? {
        Value::Array(list) => list,
        one => vec![one],
    };
    let read = |value: &Value| Ok(DerivedPath::parse_json(value)?);
    list.iter().map(read).collect()
}

/// Returns the outputs that are meant, and their paths if those are known. A path that is there is its own.
fn outputs(at_hand: &AtHand, wanted: &DerivedPath) -> Result<BTreeMap<OutputName, Option<StorePath>>> {
    let chosen = match &wanted.wanted {
        Wanted::Itself => None,
        Wanted::One(output) => Some([output.clone()].into()),
        Wanted::Outputs(OutputsSpec::Names(names)) => Some(names.clone()),
        Wanted::Outputs(OutputsSpec::All) => None,
    };
    if !wanted.through.is_empty() {
        let names = chosen.with_context(|| {
            let text = wanted.print(at_hand.store_dir());
            format!("which outputs `{text}` has is not known before it is built; name them")
        })?;
        return Ok(names.into_iter().map(|name| (name, None)).collect());
    }
    let drv = at_hand.store_dir().print(&wanted.path);
    let derivation =
        at_hand.find(&wanted.path)?.with_context(|| format!("there is no derivation `{drv}`"))?;
    let names = chosen.unwrap_or_else(|| derivation.outputs.keys().cloned().collect());
    let unknown = names.iter().find(|name| !derivation.outputs.contains_key(name));
    ensure!(
        unknown.is_none(),
        "`{drv}` has no output `{}`, only {}",
        unknown.map_or("", OutputName::as_str),
        all_names(&derivation)
    );
    let path = |name: OutputName| {
        let path = derivation.outputs[&name].path().cloned();
        (name, path)
    };
    Ok(names.into_iter().map(path).collect())
}

fn all_names(derivation: &Derivation) -> String {
    derivation.outputs.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn to_json(
    store_dir: &StoreDir,
    path: &DerivedPath,
    outputs: &BTreeMap<OutputName, Option<StorePath>>,
) -> Value {
    let output = |(name, found): (&OutputName, &Option<StorePath>)| {
        let found = found.as_ref().map(|found| store_dir.print(found));
        let placeholder = path.placeholder(name).to_string();
        (name.as_str().to_owned(), json!({ "path": found, "placeholder": placeholder }))
    };
    json!({
        "derivedPath": path.to_json(),
        "outputs": outputs.iter().map(output).collect::<Map<String, Value>>(),
    })
}
