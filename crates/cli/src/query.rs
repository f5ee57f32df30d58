//! `store query`

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use local_store::LocalStore;
use store_path::StorePath;

use crate::exit::Exit;
use crate::session::Session;

/// Prints the paths that stand in some relation to others.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store query --references ./result\n  \
                        store query --requisites /nix/store/…-hello.drv")]
pub(crate) struct Args {
    #[command(flatten)]
    relation: Relation,

    /// Store paths, or links to them such as `./result`.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Relation {
    /// What the paths refer to.
    #[arg(long)]
    references: bool,

    /// What refers to the paths.
    #[arg(long)]
    referrers: bool,

    /// What refers to the paths, directly or through others; the paths, too.
    #[arg(long)]
    referrers_closure: bool,

    /// What the paths refer to, directly or through others; the paths, too.
    #[arg(long)]
    requisites: bool,

    /// What the derivations make, as far as it is known: content-addressed outputs are once they were built.
    #[arg(long)]
    outputs: bool,

    /// The derivations that made the paths; `unknown-deriver` where nobody remembers.
    #[arg(long)]
    deriver: bool,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.read_store()?;
    let paths = session.valid_paths(&store, &args.paths)?;
    let lines = if args.relation.deriver {
        derivers(&store, &paths)?
    } else {
        related(&store, &args.relation, &paths)?.iter().map(|path| store.store_dir().print(path)).collect()
    };
    session.print_list(lines)?;
    Ok(Exit::Success)
}

/// Returns one line for each path asked about, in the order of the question.
fn derivers(store: &LocalStore, paths: &[StorePath]) -> Result<Vec<String>> {
    let deriver = |path| {
        let info = store.path_info(path)?.context("it is not valid any more")?;
        let unknown = || "unknown-deriver".to_owned();
        Ok(info.deriver.map_or_else(unknown, |deriver| store.store_dir().print(&deriver)))
    };
    paths.iter().map(deriver).collect()
}

fn related(store: &LocalStore, relation: &Relation, paths: &[StorePath]) -> Result<BTreeSet<StorePath>> {
    let paths: BTreeSet<StorePath> = paths.iter().cloned().collect();
    if relation.requisites {
        return Ok(store.closure(&paths)?);
    }
    if relation.referrers_closure {
        return Ok(store.referrers_closure(&paths)?);
    }
    let mut all = BTreeSet::new();
    for path in &paths {
        if relation.references {
            all.extend(store.references(path)?);
        } else if relation.referrers {
            all.extend(store.referrers(path)?);
        } else {
            all.extend(outputs(store, path)?);
        }
    }
    Ok(all)
}

fn outputs(store: &LocalStore, path: &StorePath) -> Result<Vec<StorePath>> {
    if !path.is_derivation() {
        return Ok(store.outputs_of(path)?.into_values().collect());
    }
    Ok(engine::known_outputs(store, path)?.into_values().collect())
}
