//! `store path-info`

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use binary_cache::NarInfo;
use binary_cache::path_info::{Extent, Version, print_all};
use local_store::{LocalStore, Reach};
use serde_json::{Map, Value, json};
use store_path::{PathInfo, StorePath};

use crate::bounded;
use crate::derivation_file;
use crate::derivations_at_hand::AtHand;
use crate::exit::Exit;
use crate::origin;
use crate::path_info::table::Row;
use crate::session::Session;
use crate::store_argument;

/// Prints store paths that are valid; with `--json` everything that is known of them.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store path-info --recursive ./result\n  \
                        store path-info --json /nix/store/…-hello-2.10\n  \
                        store path-info -rsSh ./result | sort -k2 -h\n  \
                        store path-info --json-format 3 --pure ./result")]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Store paths, links to them such as `./result`, or files that `store build` takes, for what was built from them.
    #[arg(required_unless_present = "all")]
    paths: Vec<PathBuf>,

    /// All valid paths.
    #[arg(long, conflicts_with = "paths")]
    all: bool,

    /// Also what they refer to, directly or through others.
    #[arg(short, long)]
    recursive: bool,

    /// Prints the bytes of each path's archive.
    #[arg(short, long)]
    size: bool,

    /// Prints the bytes of the archives of each path and of all that it refers to, directly or through others.
    #[arg(short = 'S', long)]
    closure_size: bool,

    /// Prints sizes with a unit.
    #[arg(short, long)]
    human_readable: bool,

    /// Prints why each path may be believed: `ultimate` if it was built here, its content address, its signatures.
    #[arg(long)]
    sigs: bool,

    /// Prints help; `-h` is for sizes, as in Nix.
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

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
    let paths = wanted(session, &store, args)?;
    let sizes = if args.closure_size { closure_sizes(&store, &paths)? } else { BTreeMap::new() };
    if let Some(format) = args.json_format {
        let extent = if args.pure { Extent::Contents } else { Extent::Everything };
        let mut value = print_all(&bare(&store, &paths)?, format.into(), extent, store.store_dir())?;
        put_closure_sizes(&mut value, &sizes, &store);
        session.results().json(&value)?;
    } else if session.json() {
        let list = read(&store, &paths, &sizes)?;
        session.results().json(&list.into())?;
    } else {
        print(session, args, &store, &paths, &sizes)?;
    }
    Ok(Exit::Success)
}

/// Returns a path that is named, or what was built from a file, as `store build` takes one.
fn named(session: &Session, store: &LocalStore, argument: &PathBuf) -> Result<Vec<StorePath>> {
    let place = session.absolute(argument);
    let is_in_store = store_argument::resolve(store.location(), &place).is_ok();
    if is_in_store || !place.is_file() || !may_be_built(&place) {
        return session.valid_paths(store, std::slice::from_ref(argument));
    }
    let mut outputs = Vec::new();
    for drv in AtHand::new(session)?.take(session, &place)? {
        if store.is_valid(&drv)? {
            outputs.extend(engine::known_outputs(store, &drv)?.into_values());
        }
    }
    let valid = store.valid_among(&outputs.iter().cloned().collect())?;
    outputs.retain(|path| valid.contains(path));
    let shown = argument.display();
    ensure!(
        !outputs.is_empty(),
        "nothing that is built from `{shown}` is in the store; `store build {shown}` builds it"
    );
    Ok(outputs)
}

/// Whether a file begins as those do that `store build` takes; of any other, it is told that it is not in the store.
fn may_be_built(file: &Path) -> bool {
    let is_either =
        |text: Vec<u8>| derivation_file::is_aterm(&text) || text.trim_ascii_start().starts_with(b"{");
    bounded::read(file).is_ok_and(is_either)
}

/// Returns the paths that are told of, in their order.
fn wanted(session: &Session, store: &LocalStore, args: &Args) -> Result<Vec<StorePath>> {
    if args.all {
        return Ok(store.all_valid()?.into_iter().collect());
    }
    let mut paths = Vec::new();
    for argument in &args.paths {
        paths.extend(named(session, store, argument)?);
    }
    if args.recursive {
        return Ok(store.closure(&paths.into_iter().collect::<BTreeSet<_>>())?.into_iter().collect());
    }
    Ok(paths)
}

fn closure_sizes(store: &LocalStore, paths: &[StorePath]) -> Result<BTreeMap<StorePath, u64>> {
    let graph = store.reference_graph(&paths.iter().cloned().collect(), Reach::References)?;
    let places: Vec<usize> = paths.iter().filter_map(|path| graph.place(path)).collect();
    let sizes = graph.by_archives().closures(&places);
    Ok(places.iter().zip(sizes).map(|(place, size)| (graph.paths()[*place].clone(), size)).collect())
}

fn put_closure_sizes(value: &mut Value, sizes: &BTreeMap<StorePath, u64>, store: &LocalStore) {
    for (path, size) in sizes {
        let info = match value.get_mut("info") {
            Some(wrapped) => &mut wrapped[path.to_string()],
            None => &mut value[store.store_dir().print(path)],
        };
        info["closureSize"] = (*size).into();
    }
}

fn print(
    session: &mut Session,
    args: &Args,
    store: &LocalStore,
    paths: &[StorePath],
    sizes: &BTreeMap<StorePath, u64>,
) -> Result<()> {
    let asked = if args.size || args.sigs { paths.iter().cloned().collect() } else { BTreeSet::new() };
    let infos = store.path_infos(&asked)?;
    let row = |path: &StorePath| Row {
        path: match args.real_path {
            true => store.place_of(path).display().to_string(),
            false => store.store_dir().print(path),
        },
        size: infos.get(path).filter(|_| args.size).map(|info| info.nar_size),
        closure_size: sizes.get(path).copied(),
        signed: infos.get(path).filter(|_| args.sigs),
    };
    let rows: Vec<Row<'_>> = paths.iter().map(row).collect();
    Ok(table::print(session.results(), &rows, args.human_readable)?)
}

/// Reads what is known of all `paths` at once, in their order.
fn read(store: &LocalStore, paths: &[StorePath], sizes: &BTreeMap<StorePath, u64>) -> Result<Vec<Value>> {
    let infos = store.path_infos(&paths.iter().cloned().collect())?;
    let origins = origin::all(store, infos).into_iter().map(|origin| (origin.info.path.clone(), origin));
    let origins: BTreeMap<_, _> = origins.collect();
    let object = |path: &StorePath| {
        let origin = origins.get(path).with_context(|| format!("`{path}` is not valid any more"))?;
        let mut object = describe(store, &origin.info);
        if let Some(size) = sizes.get(path) {
            object.insert("closureSize".to_owned(), (*size).into());
        }
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
    put("realPath", store.place_of(&info.path).to_string_lossy().into());
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
