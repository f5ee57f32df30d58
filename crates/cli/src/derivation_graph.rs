//! `store derivation graph`

mod dot;
mod json;
mod tree;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use derivation::graph;

use crate::derivations_at_hand::AtHand;
use crate::exit::Exit;
use crate::session::Session;
use crate::size;

/// Prints what derivations need to be built, down to what needs nothing.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store derivation graph ./result\n  \
                        store derivation graph --format dot hello.json | dot -Tsvg > hello.svg\n  \
                        store derivation graph --depth 1 --sources /nix/store/…-hello.drv")]
pub(crate) struct Args {
    /// Derivations, what was built from them, or files with derivations, which need not be in the store; `-` for JSON on
    /// stdin.
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// How the graph is written; `--json` is `--format json`.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// How many steps to follow inputs; all of them if not given.
    #[arg(long, value_name = "STEPS", value_parser = size::count::<usize>)]
    depth: Option<usize>,

    /// Also shows what derivations need besides derivations; JSON always has it.
    #[arg(long)]
    sources: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A tree, in which the inputs of each derivation are shown once.
    Text,
    /// A graph in the language of graphviz.
    Dot,
    /// Nodes and edges.
    Json,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let mut at_hand = AtHand::new(session)?;
    let mut roots = Vec::new();
    for argument in &args.paths {
        let found = at_hand.take(session, argument)?;
        for root in &found {
            ensure!(at_hand.find(root)?.is_some(), "the derivation `{root}` is not in the store");
        }
        roots.extend(found);
    }
    let graph = graph(roots, args.depth, &mut |drv| at_hand.find(drv))?;
    let store_dir = at_hand.store_dir();
    match args.format {
        _ if session.json() => json::print(session.results(), store_dir, &graph)?,
        Format::Json => json::print(session.results(), store_dir, &graph)?,
        Format::Dot => dot::print(session.results(), &graph, args.sources)?,
        Format::Text => tree::print(session.results(), store_dir, &graph, args.sources)?,
    }
    Ok(Exit::Success)
}
