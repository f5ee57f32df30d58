//! `store derivation show`

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use derivation::{Derivation, check_closure};
use local_store::LocalStore;
use store_path::StorePath;

use crate::derivation_file::Stated;
use crate::derivation_form::{Form, HELP};
use crate::derivers;
use crate::exit::Exit;
use crate::recipe::Reader;
use crate::session::Session;
use crate::store_argument;

/// Prints derivations, usually as JSON in the form of `nix show-derivation`.
#[derive(clap::Args, Debug)]
#[command(after_help = format!("Examples:\n  store derivation show ./result\n  \
    store derivation show --recursive /nix/store/…-hello.drv > hello.json\n  \
    store derivation show --format v4 ./result\n\n{HELP}"))]
pub(crate) struct Args {
    /// Derivations, or what was built from them; also files with derivations, which need not be in the store; `-` for JSON on
    /// stdin.
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Also shows what they need to be built, directly or through others.
    #[arg(short, long)]
    recursive: bool,

    /// The form: one of those below. Without it, that of Nix 2.8, or the first one after it that can hold all.
    #[arg(short, long, value_name = "FORM")]
    format: Option<Form>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.read_or_make_store()?;
    let mut shown = BTreeMap::new();
    for argument in &args.paths {
        shown.extend(read(session, &store, argument)?);
    }
    if args.recursive {
        add_inputs(&store, &mut shown)?;
    }
    let list: Vec<(StorePath, &Derivation)> =
        shown.iter().map(|(path, derivation)| (path.clone(), derivation)).collect();
    let form = args.format.unwrap_or_else(|| Form::default_for(shown.values()));
    form.write(store.store_dir(), &list, session.results())?;
    Ok(Exit::Success)
}

/// Reads what one argument means.
fn read(session: &Session, store: &LocalStore, argument: &Path) -> Result<Vec<(StorePath, Derivation)>> {
    let reader = Reader::naming(session, store);
    if argument == Path::new("-") {
        return complete(store, reader.read_stdin(session)?);
    }
    let argument = &session.absolute(argument);
    let path = match store_argument::resolve_unless_file(store.location(), argument) {
        Ok(path) => path,
        Err(_) if argument.is_file() => return complete(store, reader.read(argument)?),
        Err(error) => return Err(error),
    };
    let candidates: BTreeSet<StorePath> = derivers::of(store, &path)?.into_iter().collect();
    let drv = store.valid_among(&candidates)?.into_iter().next();
    let drv =
        drv.with_context(|| format!("`{path}` is not a derivation, and was not built from a known one"))?;
    let derivation = engine::read_derivation(store, &drv)?;
    Ok(vec![(drv, derivation)])
}

/// Completes the derivations of a file, of which the store learns nothing.
fn complete(store: &LocalStore, stated: Vec<Stated>) -> Result<Vec<(StorePath, Derivation)>> {
    let known = &mut |path: &StorePath| engine::read_derivation(store, path);
    let checked = check_closure(stated, store.store_dir(), known)?;
    Ok(checked.iter().map(|checked| (checked.path().clone(), checked.derivation().clone())).collect())
}

fn add_inputs(store: &LocalStore, shown: &mut BTreeMap<StorePath, Derivation>) -> Result<()> {
    let inputs = |derivation: &Derivation| derivation.input_drvs.keys().cloned().collect::<Vec<_>>();
    let mut open: Vec<StorePath> = shown.values().flat_map(inputs).collect();
    while let Some(path) = open.pop() {
        if let Entry::Vacant(place) = shown.entry(path) {
            let derivation = engine::read_derivation(store, place.key())?;
            open.extend(inputs(&derivation));
            place.insert(derivation);
        }
    }
    Ok(())
}
