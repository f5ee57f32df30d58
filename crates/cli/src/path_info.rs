//! `store path-info`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use local_store::LocalStore;
use serde_json::{Map, Value, json};
use store_path::{PathInfo, StorePath};

use crate::exit::Exit;
use crate::origin;
use crate::session::Session;

/// Prints store paths that are valid; with `--json` everything that is known of them.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store path-info --recursive ./result\n  \
                        store path-info --json /nix/store/…-hello-2.10")]
pub(crate) struct Args {
    /// Store paths, or links to them such as `./result`.
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Also what they refer to, directly or through others.
    #[arg(short, long)]
    recursive: bool,

    /// Prints where the files lie instead of the store path.
    #[arg(long)]
    real_path: bool,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.open_existing_store()?;
    let mut paths = session.valid_paths(&store, &args.paths)?;
    if args.recursive {
        paths = store.closure(&paths.into_iter().collect::<BTreeSet<_>>())?.into_iter().collect();
    }
    if session.json() {
        let list = read(&store, &paths)?;
        session.results().json(&list.into())?;
        return Ok(Exit::Success);
    }
    for path in &paths {
        if args.real_path {
            session.results().line(store.real_path(path).display())?;
        } else {
            session.results().line(store.store_dir().print(path))?;
        }
    }
    Ok(Exit::Success)
}

/// Reads what is known of all `paths` at once, in their order.
fn read(store: &LocalStore, paths: &[StorePath]) -> Result<Vec<Value>> {
    let infos = store.path_infos(&paths.iter().cloned().collect())?;
    let origins = origin::all(store, infos).into_iter().map(|origin| (origin.info.path.clone(), origin));
    let origins: BTreeMap<_, _> = origins.collect();
    let object = |path: &StorePath| {
        let origin = origins.get(path).with_context(|| format!("`{path}` is not valid any more"))?;
        let mut object = describe(store, &origin.info);
        origin.put_json(store, &mut object)?;
        Ok(object.into())
    };
    paths.iter().map(object).collect()
}

/// Returns what `nix path-info --json` prints, and where the files lie.
pub(crate) fn to_json(store: &LocalStore, info: &PathInfo) -> Value {
    describe(store, info).into()
}

fn describe(store: &LocalStore, info: &PathInfo) -> Map<String, Value> {
    let full = |path: &StorePath| store.store_dir().print(path);
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("path", full(&info.path).into());
    put("realPath", store.real_path(&info.path).to_string_lossy().into());
    put("narHash", info.nar_hash.to_sri().into());
    put("narSize", info.nar_size.into());
    put("references", info.references.iter().map(full).collect());
    if let Some(address) = &info.content_address {
        put("ca", address.to_string().into());
    }
    if let Some(deriver) = &info.deriver {
        put("deriver", full(deriver).into());
    }
    put("registrationTime", info.registration_time.into());
    if info.ultimate {
        put("ultimate", true.into());
    }
    if !info.signatures.is_empty() {
        put("signatures", json!(info.signatures));
    }
    put("valid", true.into());
    object
}
