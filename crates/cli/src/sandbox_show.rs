//! `store sandbox show`

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use derivation::{Derivation, check_closure};
use engine::Context;
use local_store::LocalStore;
use sandbox::Launcher;
use serde_json::json;
use store_path::StorePath;

use crate::derivation_file;
use crate::exit::Exit;
use crate::plan_json;
use crate::recipe::Reader;
use crate::session::Session;
use crate::store_argument;
use crate::target;
use crate::visit;

/// Prints what the sandbox of a derivation is made of, one step a line, in the order in which it is made.
///
/// Nothing is built or made; where inputs are not in the store yet, it says which, and what those in turn need is not
/// in the list. `nix-NEW` stands for a name that is chosen when the build directory is made.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store sandbox show hello.json\n  \
                        store sandbox show --json /nix/store/…-hello.drv")]
pub(crate) struct Args {
    /// A derivation: a store path, a recipe, or a file with derivations of which one is used by no other there.
    #[arg(value_name = "DRV|FILE")]
    target: String,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.read_or_make_store()?;
    let whole = session.absolute(Path::new(&args.target));
    let (path, outputs) =
        if whole.exists() { (args.target.as_str(), Vec::new()) } else { target::split(&args.target) };
    let mut found = find(session, &store, &session.absolute(Path::new(path)))?;
    // Which outputs are wanted does not matter, as a build makes them all; but whose.
    if let Some(file) = target::file_of(&found.drv, &outputs)? {
        found.drv = visit::of_made(&store, &file)?;
    }
    let derivation = match found.derivations.remove(&found.drv) {
        Some(derivation) => derivation,
        None => engine::read_derivation(&store, &found.drv)?,
    };
    let launcher = Launcher::start()?;
    let (settings, environment) = (session.settings(), session.variables());
    let context = Context {
        store: &store,
        launcher: &launcher,
        settings,
        environment,
        stop: None,
        on_failure: None,
        tick: None,
        first: 0,
    };
    let known = &mut |drv: &StorePath| match found.derivations.get(drv) {
        Some(derivation) => Ok(derivation.clone()),
        None => engine::read_derivation(&store, drv),
    };
    let sketch = engine::sketch(&context, &found.drv, &derivation, known)??;
    let drv = store.store_dir().print(&found.drv);
    let absent: Vec<String> = sketch.absent.iter().map(|path| store.store_dir().print(path)).collect();
    if session.json() {
        let value = json!({ "derivation": drv, "absent": absent, "plan": plan_json::plan(&sketch.plan) });
        session.results().json(&value)?;
        return Ok(Exit::Success);
    }
    session.results().line(format_args!("# the sandbox of {drv}"))?;
    for lack in sketch.plan.lacks() {
        session.results().line(format_args!("# without namespaces: {lack}"))?;
    }
    for path in absent {
        session.results().line(format_args!("# not in the store yet, nor is what it needs shown: {path}"))?;
    }
    session.results().line(sketch.plan.to_string().trim_end())?;
    Ok(Exit::Success)
}

/// A derivation, and those that were in one file with it, by their paths.
pub(crate) struct Found {
    pub(crate) drv: StorePath,
    pub(crate) derivations: HashMap<StorePath, Derivation>,
}

pub(crate) fn find(session: &Session, store: &LocalStore, argument: &Path) -> Result<Found> {
    match store_argument::resolve_unless_file(store.location(), argument) {
        Ok(path) => Ok(Found { drv: visit::of_output(store, &path)?, derivations: HashMap::new() }),
        Err(_) if argument.is_file() => in_file(session, store, argument),
        Err(error) => Err(error),
    }
}

/// Reads and completes the derivations of a file, of which the store learns nothing.
fn in_file(session: &Session, store: &LocalStore, file: &Path) -> Result<Found> {
    let stated = Reader::naming(session, store).read(file)?;
    let known = &mut |path: &StorePath| engine::read_derivation(store, path);
    let checked = check_closure(stated, store.store_dir(), known)?;
    let goals = derivation_file::goals(&checked);
    ensure!(!goals.is_empty(), "there is no derivation in `{}` that no other one there uses", file.display());
    if goals.len() > 1 {
        let paths: Vec<String> = goals.iter().map(|goal| store.store_dir().print(goal.path())).collect();
        bail!(visit::one_of(&file.to_string_lossy(), &paths));
    }
    let drv = goals[0].path().clone();
    let derivations =
        checked.iter().map(|checked| (checked.path().clone(), checked.derivation().clone())).collect();
    Ok(Found { drv, derivations })
}
