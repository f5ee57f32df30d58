//! `store du`

mod table;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use local_store::{LocalStore, Part, Reach, References, Weights};
use serde_json::{Value, json};
use store_path::StorePath;

use crate::exit::Exit;
use crate::session::Session;

/// Tells how much store paths take: each alone, with all it needs, and what deleting it would free.
///
/// SIZE is the path alone, CLOSURE what it takes with all that it refers to. COMMON is how much of that other paths of the
/// question need as well. FREES is what goes when the path is deleted together with whatever nothing in the store refers
/// to then and no root keeps; the rest of the closure is shared with what stays. USERS is how many paths and roots have
/// to go before it can be deleted at all.
///
/// Sizes are those of archives, which the database knows; `--real` looks at the disk, where a file with several names, as
/// `store optimise` makes them, counts once.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store du ./result /nix/store/…-gcc\n  \
                        store du --all | head -20\n  \
                        store du --real --json ./result")]
pub(crate) struct Args {
    /// Store paths, or links to them such as `./result`.
    #[arg(required_unless_present = "all")]
    paths: Vec<PathBuf>,

    /// All valid paths, those that free most first.
    #[arg(long, conflicts_with = "paths")]
    all: bool,

    /// Counts blocks on disk.
    #[arg(long)]
    real: bool,

    /// In which order paths are printed; the order of the question if not given, or with `--all` by what they free.
    #[arg(long, value_enum)]
    sort: Option<Order>,

    /// Prints sizes in bytes.
    #[arg(short, long)]
    bytes: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Order {
    /// The largest first, alone.
    Size,
    /// The largest first, with all that it refers to.
    Closure,
    /// What frees most first.
    Frees,
    /// By name.
    Path,
}

/// What is told of a path.
struct Row {
    path: StorePath,
    size: u64,
    closure: u64,
    /// Where several were asked about: how much of the closure another one of those needs, too.
    common: Option<u64>,
    frees: u64,
    /// How many other paths refer to it, and how many roots keep it.
    referrers: usize,
    roots: usize,
}

/// What is told of all paths together.
struct Total {
    paths: usize,
    bytes: u64,
    frees: u64,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.read_store()?;
    let asked = if args.all {
        store.all_valid()?.into_iter().collect()
    } else {
        session.valid_paths(&store, &args.paths)?
    };
    let (mut rows, total) = look(&store, args, &asked)?;
    match args.sort.or(args.all.then_some(Order::Frees)) {
        None => {}
        Some(Order::Size) => rows.sort_by_key(|row| std::cmp::Reverse(row.size)),
        Some(Order::Closure) => rows.sort_by_key(|row| std::cmp::Reverse(row.closure)),
        Some(Order::Frees) => rows.sort_by_key(|row| std::cmp::Reverse(row.frees)),
        Some(Order::Path) => rows.sort_by(|one, other| one.path.cmp(&other.path)),
    }
    if session.json() {
        let value = in_json(&store, args, &rows, &total);
        session.results().json(&value)?;
    } else {
        table::print(session.results(), store.store_dir(), args.bytes, &rows, &total)?;
    }
    Ok(Exit::Success)
}

fn look(store: &LocalStore, args: &Args, asked: &[StorePath]) -> Result<(Vec<Row>, Total)> {
    let reach = if args.all { Reach::Only } else { Reach::References };
    let graph = store.reference_graph(&asked.iter().cloned().collect(), reach)?;
    let weights = if args.real { on_disk(store, &graph)? } else { graph.by_archives() };
    let referrers = store.referrer_counts(&graph)?;
    let mut roots = vec![0; graph.paths().len()];
    for (path, _) in store.all_roots()? {
        graph.place(&path).into_iter().for_each(|place| roots[place] += 1);
    }
    let inside = graph.referrer_counts();
    let held: Vec<bool> =
        (0..roots.len()).map(|place| roots[place] > 0 || referrers[place] > inside[place]).collect();
    let mut seen = BTreeSet::new();
    let places = asked.iter().filter_map(|path| graph.place(path));
    let places: Vec<usize> = places.filter(|place| seen.insert(*place)).collect();
    let (alone, closures) = (weights.alone(), weights.closures(&places));
    let common = if args.all || places.len() < 2 { Vec::new() } else { weights.shared_closures(&places) };
    let frees = weights.freed_with_each(&held);
    let row = |(number, place): (usize, &usize)| Row {
        path: graph.paths()[*place].clone(),
        size: alone[*place],
        closure: closures[number],
        common: common.get(number).copied(),
        frees: frees[*place],
        referrers: referrers[*place],
        roots: roots[*place],
    };
    let rows = places.iter().enumerate().map(row).collect();
    let gone = weights.gone_with(&places, &held);
    let total = Total { paths: gone.len(), bytes: weights.sum(), frees: weights.freed(&gone) };
    Ok((rows, total))
}

/// Weighs paths by what their files take on disk.
fn on_disk<'a>(store: &LocalStore, graph: &'a References) -> Result<Weights<'a>> {
    let paths: Vec<&StorePath> = graph.paths().iter().collect();
    let found = store.disk_use(&paths)?;
    let parts = found.shared.into_iter().map(|file| Part {
        bytes: file.bytes,
        places: file.paths,
        elsewhere: file.elsewhere,
    });
    Ok(graph.by(found.own, parts.collect()))
}

fn in_json(store: &LocalStore, args: &Args, rows: &[Row], total: &Total) -> Value {
    let row = |row: &Row| {
        let mut value = json!({
            "path": store.store_dir().print(&row.path),
            "size": row.size,
            "closureSize": row.closure,
            "shared": row.closure.saturating_sub(row.frees),
            "frees": row.frees,
            "referrers": row.referrers,
            "roots": row.roots,
        });
        if let Some(common) = row.common {
            value["common"] = common.into();
        }
        value
    };
    json!({
        "sizes": if args.real { "disk" } else { "archives" },
        "paths": rows.iter().map(row).collect::<Vec<_>>(),
        "together": { "paths": total.paths, "size": total.bytes, "frees": total.frees },
    })
}
