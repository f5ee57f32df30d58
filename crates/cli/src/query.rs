//! `store query`

mod drawing;
mod relation;
mod tree;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use derivation::Derivation;
use local_store::{LocalStore, Reach, References, Root};
use serde_json::{Value, json};
use store_path::StorePath;

use crate::derivations_at_hand::AtHand;
use crate::exit::Exit;
use crate::session::Session;

/// Prints the paths that stand in some relation to others, or what is known of paths.
///
/// It is `nix-store --query`, in the same words and the same order.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store query --references ./result\n  \
                        store query -R /nix/store/…-hello.drv | xargs du -sc\n  \
                        store query --tree ./result\n  \
                        store query --graph ./result | dot -Tsvg > result.svg")]
pub(crate) struct Args {
    #[command(flatten)]
    relation: Relation,

    /// Asks about what derivations make, instead of the derivations.
    #[arg(short, long)]
    use_output: bool,

    /// With `--requisites`: also what the derivations among them make, as far as it is there.
    #[arg(long, conflicts_with_all = OTHERS)]
    include_outputs: bool,

    /// Store paths, or links to them such as `./result`.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// The relations that `--include-outputs` adds nothing to.
const OTHERS: [&str; 14] = [
    "references",
    "referrers",
    "referrers_closure",
    "outputs",
    "deriver",
    "valid_derivers",
    "hash",
    "size",
    "roots",
    "resolve",
    "tree",
    "graph",
    "graphml",
    "binding",
];

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Relation {
    /// What the paths refer to.
    #[arg(long)]
    references: bool,

    /// What refers to the paths.
    #[arg(long, alias = "referers")]
    referrers: bool,

    /// What refers to the paths, directly or through others; the paths, too.
    #[arg(long, alias = "referers-closure")]
    referrers_closure: bool,

    /// What the paths refer to, directly or through others; the paths, too. What is referred to comes first.
    #[arg(short = 'R', long)]
    requisites: bool,

    /// What the derivations make, as far as it is known: content-addressed outputs are once they were built.
    #[arg(long)]
    outputs: bool,

    /// The derivations that made the paths; `unknown-deriver` where nobody remembers.
    #[arg(short, long)]
    deriver: bool,

    /// The derivations in the store that make the paths, which need not be there.
    #[arg(long)]
    valid_derivers: bool,

    /// The hashes of their archives.
    #[arg(long)]
    hash: bool,

    /// How many bytes their archives have.
    #[arg(long)]
    size: bool,

    /// What keeps the paths from being deleted: links and processes, and what those lead to.
    #[arg(long)]
    roots: bool,

    /// The store paths that links lead to, valid or not.
    #[arg(long)]
    resolve: bool,

    /// A tree of what the paths refer to; each is shown once with what is below it.
    #[arg(long)]
    tree: bool,

    /// What the paths refer to, as a graph in the language of graphviz.
    #[arg(long)]
    graph: bool,

    /// What the paths refer to, as a graph in GraphML.
    #[arg(long)]
    graphml: bool,

    /// What the variable NAME is in the derivations, or in those that made the paths.
    #[arg(short, long, value_name = "NAME")]
    binding: Option<String>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let relation = &args.relation;
    if let Some(name) = &relation.binding {
        return bindings(session, name, &args.paths);
    }
    let store = session.read_store()?;
    if relation.resolve || relation.valid_derivers {
        let paths = session.store_paths(&store, &args.paths)?;
        let found = if relation.resolve { paths } else { relation::valid_derivers(&store, &paths)? };
        return print_paths(session, &store, &found);
    }
    let asked = session.valid_paths(&store, &args.paths)?;
    if relation.outputs {
        return print_paths(session, &store, &relation::outputs(&store, &asked)?);
    }
    if relation.deriver {
        return derivers(session, &store, &asked);
    }
    let asked = if args.use_output { relation::made_by(&store, &asked)? } else { asked };
    if relation.hash || relation.size {
        return facts(session, &store, &asked, relation.hash);
    }
    if relation.roots {
        return roots(session, &store, asked.into_iter().collect());
    }
    if relation.tree || relation.graph || relation.graphml {
        let graph = store.reference_graph(&asked.iter().cloned().collect(), Reach::References)?;
        draw(session, &store, relation, &graph, &asked)?;
        return Ok(Exit::Success);
    }
    let found = related(&store, args, asked.into_iter().collect())?;
    print_paths(session, &store, &found)
}

/// Returns what stands in a relation to `paths`, what is referred to before what refers to it.
fn related(store: &LocalStore, args: &Args, paths: BTreeSet<StorePath>) -> Result<Vec<StorePath>> {
    let (relation, wanted) = (&args.relation, args.include_outputs);
    let graph = if relation.requisites && wanted {
        store.reference_graph(&relation::with_outputs(store, paths)?, Reach::Only)?
    } else if relation.requisites {
        store.reference_graph(&paths, Reach::References)?
    } else if relation.referrers_closure {
        store.reference_graph(&paths, Reach::Referrers)?
    } else {
        let mut all = BTreeSet::new();
        for path in &paths {
            all.extend(if relation.references { store.references(path)? } else { store.referrers(path)? });
        }
        store.reference_graph(&all, Reach::Only)?
    };
    Ok(graph.references_first().into_iter().map(|place| graph.paths()[place].clone()).collect())
}

fn print_paths(session: &mut Session, store: &LocalStore, paths: &[StorePath]) -> Result<Exit> {
    session.print_list(paths.iter().map(|path| store.store_dir().print(path)).collect())?;
    Ok(Exit::Success)
}

/// Prints one line for each path asked about, in the order of the question.
fn derivers(session: &mut Session, store: &LocalStore, paths: &[StorePath]) -> Result<Exit> {
    let infos = store.path_infos(&paths.iter().cloned().collect())?;
    let deriver = |path: &StorePath| infos.get(path).and_then(|info| info.deriver.as_ref());
    let print = |path: &StorePath| deriver(path).map(|deriver| store.store_dir().print(deriver));
    let lines = paths.iter().map(|path| print(path).unwrap_or_else(|| "unknown-deriver".to_owned()));
    session.print_list(lines.collect())?;
    Ok(Exit::Success)
}

fn facts(session: &mut Session, store: &LocalStore, paths: &[StorePath], hash: bool) -> Result<Exit> {
    let infos = store.path_infos(&paths.iter().cloned().collect())?;
    let fact = |path: &StorePath| -> Result<Value> {
        let info = infos.get(path).ok_or_else(|| local_store::Error::NotValid { path: path.clone() })?;
        Ok(if hash { info.nar_hash.prefixed_nix32().into() } else { info.nar_size.into() })
    };
    let facts = paths.iter().map(fact).collect::<Result<Vec<Value>>>()?;
    if session.json() {
        session.results().json(&facts.into())?;
        return Ok(Exit::Success);
    }
    for fact in facts {
        match fact {
            Value::String(text) => session.results().line(text)?,
            number => session.results().line(number)?,
        }
    }
    Ok(Exit::Success)
}

/// Prints the roots that lead to `paths`, directly or through what refers to them.
fn roots(session: &mut Session, store: &LocalStore, paths: BTreeSet<StorePath>) -> Result<Exit> {
    let kept_by = relation::kept_by(store, session.settings(), paths)?;
    let roots: Vec<_> = store.all_roots()?.into_iter().filter(|(path, _)| kept_by.contains(path)).collect();
    let shown = |root: &Root| match root.link() {
        Some(link) => link.display().to_string(),
        None => format!("{{{root}}}"),
    };
    let print = |path: &StorePath| store.store_dir().print(path);
    if session.json() {
        let root = |(path, root): &(StorePath, Root)| json!({ "root": shown(root), "path": print(path) });
        session.results().json(&roots.iter().map(root).collect())?;
        return Ok(Exit::Success);
    }
    for (path, root) in &roots {
        session.results().line(format_args!("{} -> {}", shown(root), print(path)))?;
    }
    Ok(Exit::Success)
}

fn draw(
    session: &mut Session,
    store: &LocalStore,
    relation: &Relation,
    graph: &References,
    asked: &[StorePath],
) -> Result<()> {
    let roots: Vec<usize> = asked.iter().filter_map(|path| graph.place(path)).collect();
    let is_json = session.json();
    let results = session.results();
    match (is_json, relation) {
        (true, _) => drawing::json(results, store.store_dir(), graph, &roots)?,
        (_, Relation { tree: true, .. }) => tree::print(results, store.store_dir(), graph, &roots)?,
        (_, Relation { graph: true, .. }) => drawing::dot(results, graph, &roots)?,
        _ => drawing::graphml(results, graph, &roots)?,
    }
    Ok(())
}

fn bindings(session: &mut Session, name: &str, paths: &[PathBuf]) -> Result<Exit> {
    let mut at_hand = AtHand::new(session)?;
    let mut found = Vec::new();
    for argument in paths {
        found.extend(binding(session, &mut at_hand, name, argument)?);
    }
    if session.json() {
        let texts = found.iter().map(|value| String::from_utf8_lossy(value)).collect();
        session.results().json(&texts)?;
        return Ok(Exit::Success);
    }
    for value in found {
        session.results().write_all(&value)?;
        session.results().write_all(b"\n")?;
    }
    Ok(Exit::Success)
}

/// Returns the values of a variable in the derivations that an argument means.
fn binding(session: &Session, at_hand: &mut AtHand, name: &str, argument: &Path) -> Result<Vec<Vec<u8>>> {
    let mut values = Vec::new();
    for drv in at_hand.take(session, &session.absolute(argument))? {
        let derivation = at_hand.find(&drv)?;
        let derivation = derivation.with_context(|| format!("the derivation `{drv}` is not in the store"))?;
        let value = variable(&derivation, name);
        ensure!(value.is_some(), "the derivation `{drv}` has no variable `{name}`");
        values.extend(value);
    }
    Ok(values)
}

/// Returns a variable; a structured attribute that is no text, as JSON.
fn variable(derivation: &Derivation, name: &str) -> Option<Vec<u8>> {
    if let Some(value) = derivation.env.get(name.as_bytes()) {
        return Some(value.clone());
    }
    let attributes: Value = serde_json::from_slice(derivation.env.get(&b"__json"[..])?).ok()?;
    match attributes.get(name)? {
        Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}
