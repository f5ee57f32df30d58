//! `store path-info`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use binary_cache::NarInfo;
use binary_cache::path_info::{Extent, Version, print_all};
use local_store::LocalStore;
use serde_json::{Map, Value, json};
use store_path::{PathInfo, StorePath};

use crate::exit::Exit;
use crate::origin;
use crate::session::Session;

/// Prints store paths that are valid; with `--json` everything that is known of them.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store path-info --recursive ./result\n  \
                        store path-info --json /nix/store/…-hello-2.10\n  \
                        store path-info --json-format 3 --pure ./result")]
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

    /// Prints JSON as Nix does, in that version of its format, without what only this program knows.
    #[arg(long, value_enum, value_name = "VERSION", conflicts_with = "real_path")]
    json_format: Option<JsonFormat>,

    /// Leaves out what differs from store to store: deriver, time, signatures.
    #[arg(long, requires = "json_format")]
    pure: bool,
}

/// The versions of Nix's format.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum JsonFormat {
    /// Full paths, and content addresses as texts: Nix up to 2.32.
    #[value(name = "1")]
    One,
    /// Base names, and content addresses taken apart.
    #[value(name = "2")]
    Two,
    /// Also signatures taken apart: Nix since 2.33.
    #[value(name = "3")]
    Three,
}

impl From<JsonFormat> for Version {
    fn from(format: JsonFormat) -> Self {
        match format {
            JsonFormat::One => Self::One,
            JsonFormat::Two => Self::Two,
            JsonFormat::Three => Self::Three,
        }
    }
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.read_store()?;
    let mut paths = session.valid_paths(&store, &args.paths)?;
    if args.recursive {
        paths = store.closure(&paths.into_iter().collect::<BTreeSet<_>>())?.into_iter().collect();
    }
    if let Some(format) = args.json_format {
        let extent = if args.pure { Extent::Contents } else { Extent::Everything };
        let value = print_all(&bare(&store, &paths)?, format.into(), extent, store.store_dir())?;
        session.results().json(&value)?;
        return Ok(Exit::Success);
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

/// Returns what Nix knows, too, of all `paths`, in their order.
fn bare(store: &LocalStore, paths: &[StorePath]) -> Result<Vec<NarInfo>> {
    let infos = store.path_infos(&paths.iter().cloned().collect())?;
    let known = |path: &StorePath| {
        let info = infos.get(path).with_context(|| format!("`{path}` is not valid any more"))?.clone();
        Ok(NarInfo { info, url: None, compression: None, file_hash: None, file_size: None })
    };
    paths.iter().map(known).collect()
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
