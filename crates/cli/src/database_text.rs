//! `store dump-db`, `store load-db` and `store register-validity`
#![expect(clippy::disallowed_methods, reason = "reads derivations that are about to be registered")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Write, stdin};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use binary_cache::registration::{Registration, Registrations, print};
use engine::Newcomers;
use local_store::LocalStore;
use store_path::StorePath;

use crate::exit::Exit;
use crate::session::Session;

/// All that is known of so many paths is in memory at a time.
const AT_ONCE: usize = 4096;

/// Prints what the database says of valid paths, for `store load-db` and `nix-store --load-db`.
///
/// Signatures, content addresses and times are not in it: `store export --format 2` keeps the first two.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store dump-db > database.txt\n  store dump-db ./result")]
pub(crate) struct DumpArgs {
    /// Store paths, or links to them such as `./result`; without any, all that are valid.
    paths: Vec<PathBuf>,
}

/// Reads from stdin what `store dump-db` or `nix-store --dump-db` has printed, and makes all of it valid, or nothing.
///
/// The files have to be there, or valid in the lower store; that they are what their hashes say, `store verify --contents` sees.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  store load-db < database.txt")]
pub(crate) struct LoadArgs {}

/// Makes paths valid that are in the store directory already, all or none.
///
/// For each, stdin has these lines: the path, its deriver or nothing, the number of its references, the references. The
/// files get the modes and times of the store and are hashed; so nobody may be making them at the same time.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  printf '%s\\n\\n0\\n' /nix/store/…-hello | store register-validity")]
pub(crate) struct RegisterArgs {
    /// Registers again what is valid already.
    #[arg(long)]
    reregister: bool,

    /// After each path, a line with its hash in base 16 and one with its size are there; they are believed.
    #[arg(long)]
    hash_given: bool,
}

/// Runs `store dump-db`.
pub(crate) fn dump(session: &mut Session, args: &DumpArgs) -> Result<Exit> {
    let store = session.read_store()?;
    if args.paths.is_empty() {
        let all: Vec<StorePath> = store.all_valid()?.into_iter().collect();
        for some in all.chunks(AT_ONCE) {
            for info in store.path_infos(&some.iter().cloned().collect())?.values() {
                session.results().write_all(print(info, store.store_dir()).as_bytes())?;
            }
        }
        return Ok(Exit::Success);
    }
    // In the order of the question, as Nix prints them.
    let paths = session.valid_paths(&store, &args.paths)?;
    let infos = store.path_infos(&paths.iter().cloned().collect())?;
    for path in &paths {
        let info = infos.get(path).with_context(|| format!("`{path}` is not valid any more"))?;
        session.results().write_all(print(info, store.store_dir()).as_bytes())?;
    }
    Ok(Exit::Success)
}

/// Runs `store load-db`.
pub(crate) fn load(session: &mut Session, _args: &LoadArgs) -> Result<Exit> {
    let store = session.open_store()?;
    let registrations = read(session, &store, true)?;
    register(session, &store, registrations)
}

/// Runs `store register-validity`.
pub(crate) fn register_validity(session: &mut Session, args: &RegisterArgs) -> Result<Exit> {
    let store = session.open_store()?;
    let mut registrations = read(session, &store, args.hash_given)?;
    if !args.reregister {
        let valid = store.valid_among(&registrations.iter().map(|one| one.path.clone()).collect())?;
        registrations.retain(|one| !valid.contains(&one.path));
    }
    refuse_absent(&store, &registrations)?;
    store.settle_in_place(&mut registrations)?;
    register(session, &store, registrations)
}

fn read(session: &Session, store: &LocalStore, has_hashes: bool) -> Result<Vec<Registration>> {
    let input = stdin().lock();
    if input.is_terminal() {
        bail!(
            "cannot read a database from the terminal; take it from a file: `store load-db < database.txt`"
        );
    }
    let mut reader = Registrations::new(input, store.store_dir().clone(), has_hashes);
    let mut all: BTreeMap<StorePath, Registration> = BTreeMap::new();
    let failed = "nothing is registered: cannot read stdin";
    while let Some(one) = reader.next().context(failed)? {
        if let Some(twice) = all.get(&one.path) {
            let (path, first) = (store.store_dir().print(&one.path), twice.line);
            bail!("{failed}: cannot read line {}: `{path}` stands in line {first} already", one.line);
        }
        all.insert(one.path.clone(), one);
    }
    if all.is_empty() {
        session.messages().note("nothing to register: stdin is empty");
    }
    let mut all = all.into_values().collect();
    store.leave_out_below(&mut all)?;
    Ok(all)
}

fn refuse_absent(store: &LocalStore, registrations: &[Registration]) -> Result<()> {
    let absent = store.not_on_disk(&registrations.iter().map(|one| &one.path).collect::<Vec<_>>())?;
    let Some(first) = absent.first() else { return Ok(()) };
    let line = registrations.iter().find(|one| one.path == **first).map_or(0, |one| one.line);
    let place = store.real_path(first);
    let others = match absent.len() - 1 {
        0 => String::new(),
        1 => ", nor is 1 other".to_owned(),
        others => format!(", nor are {others} others"),
    };
    bail!(
        "nothing is registered: `{}` (line {line}) is not on disk{others}; copy the files first",
        place.display()
    )
}

fn register(session: &Session, store: &LocalStore, registrations: Vec<Registration>) -> Result<Exit> {
    refuse_absent(store, &registrations)?;
    let mut newcomers = Newcomers::new(store);
    let mut outputs = BTreeMap::new();
    for Registration { path, line, .. } in registrations.iter().filter(|one| one.path.is_derivation()) {
        let known = outputs_of(store, path, &mut newcomers).with_context(|| {
            format!("nothing is registered: the derivation `{path}` (line {line}) is not right")
        })?;
        outputs.insert(path.clone(), known);
    }
    let count = registrations.len();
    store.register_as_said(registrations, outputs).context("nothing is registered")?;
    session.messages().note(format_args!("{count} paths registered"));
    Ok(Exit::Success)
}

fn outputs_of(
    store: &LocalStore,
    drv: &StorePath,
    newcomers: &mut Newcomers<'_>,
) -> Result<BTreeMap<String, StorePath>> {
    let text = fs::read(store.place_of(drv))?;
    Ok(newcomers.outputs(drv, &text)?)
}
