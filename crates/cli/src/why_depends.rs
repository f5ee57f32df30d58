//! `store why-depends`

mod json;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use local_store::{LocalStore, Mentions, Reach, References, Ways};
use store_path::StorePath;

use crate::exit::Exit;
use crate::session::Session;
use crate::size;

/// Tells why a path needs another one: which path refers to which, in what file, and at which byte of it.
///
/// The shortest way is shown; `--all` shows every one, as a tree in which each path is shown once with what is below it.
/// Where one of the two is a derivation and the other is not, it stands for what it makes. If there is no way, the exit
/// code is 1.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store why-depends ./result /nix/store/…-gcc\n  \
                        store why-depends --all --places 1 ./result /nix/store/…-openssl\n  \
                        store why-depends --json ./result /nix/store/…-bash")]
pub(crate) struct Args {
    /// What needs the other path.
    from: PathBuf,

    /// What is needed.
    to: PathBuf,

    /// Shows every way instead of the shortest one.
    #[arg(long)]
    all: bool,

    /// With `--all`: shows at most so many references; the rest is counted.
    #[arg(long, value_name = "NUMBER", default_value_t = 500, value_parser = size::count::<usize>)]
    limit: usize,

    /// Shows at most so many files for each reference; with 0, no file is read.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = size::count::<usize>)]
    places: usize,
}

/// What there is to show.
struct Found<'a> {
    store: &'a LocalStore,
    graph: &'a References,
    ways: Ways<'a>,
    /// Where ways begin, the shortest first.
    starts: Vec<usize>,
    /// What refers to what on the way, in the order in which it is shown.
    edges: Vec<Edge>,
    /// How many further references there are.
    left_out: usize,
}

/// A reference on the way.
struct Edge {
    from: usize,
    to: usize,
    /// How many references it is from the start.
    depth: usize,
    /// Whether another one of `from` follows.
    follows: bool,
    /// Whether `to` was shown with what is below it already.
    again: bool,
    /// Where it stands in the files.
    mentions: Mentions,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.read_store()?;
    let asked = session.valid_paths(&store, &[args.from.clone(), args.to.clone()])?;
    let [from, to] = &asked[..] else { return Ok(Exit::Usage) };
    let goals = if from.is_derivation() { BTreeSet::new() } else { made_by(&store, to)? };
    let goals: BTreeSet<_> = goals.into_iter().chain([to.clone()]).collect();
    let mut graph = store.reference_graph(&BTreeSet::from([from.clone()]), Reach::References)?;
    let mut starts = BTreeSet::from([from.clone()]);
    if places(&graph, &goals).is_empty() && from.is_derivation() {
        starts = made_by(&store, from)?;
        graph = store.reference_graph(&starts, Reach::References)?;
    }
    let ways = graph.ways_to(&places(&graph, &goals));
    let mut starts = places(&graph, &starts);
    starts.retain(|start| ways.steps(*start).is_some());
    starts.sort_by_key(|start| ways.steps(*start));
    if starts.is_empty() {
        return no_way(session, &store, from, to);
    }
    if !args.all {
        starts.truncate(1);
    }
    let mut found = Found { store: &store, graph: &graph, ways, starts, edges: Vec::new(), left_out: 0 };
    found.follow(args)?;
    if args.all {
        found.left_out = found.references() - found.edges.len();
    }
    if session.json() {
        json::print(session.results(), &found, args.all)?;
    } else {
        text::print(session.results(), &found)?;
        say_rest(session, &found, args.all);
    }
    Ok(Exit::Success)
}

/// Returns the outputs of a derivation that are there.
fn made_by(store: &LocalStore, path: &StorePath) -> Result<BTreeSet<StorePath>> {
    if !path.is_derivation() {
        return Ok(BTreeSet::new());
    }
    Ok(store.valid_among(&engine::known_outputs(store, path)?.into_values().collect())?)
}

fn places(graph: &References, paths: &BTreeSet<StorePath>) -> Vec<usize> {
    paths.iter().filter_map(|path| graph.place(path)).collect()
}

fn no_way(session: &mut Session, store: &LocalStore, from: &StorePath, to: &StorePath) -> Result<Exit> {
    let full = |path: &StorePath| store.store_dir().print(path);
    if session.json() {
        let value = serde_json::json!({ "from": full(from), "to": full(to), "depends": false });
        session.results().json(&value)?;
    }
    session.messages().error(format_args!("`{}` does not depend on `{}`", full(from), full(to)));
    Ok(Exit::Failure)
}

fn say_rest(session: &Session, found: &Found<'_>, all: bool) {
    let count = found.count();
    if found.left_out > 0 {
        let left_out = found.left_out;
        session
            .messages()
            .note(format_args!("{left_out} more references are on the way; `--limit` shows more"));
    }
    if count > 1 && !all {
        let more = if count == u64::MAX { "countless other".to_owned() } else { (count - 1).to_string() };
        let ways = if count == 2 { "way leads there, too" } else { "ways lead there, too" };
        session.messages().note(format_args!("{more} {ways}; `--all` shows them"));
    }
}

/// A path whose references are being followed.
struct Open {
    place: usize,
    left: Vec<(usize, Mentions)>,
}

impl Found<'_> {
    /// Returns in how many ways the goals are reached from the starts; the largest number stands for that many or more.
    fn count(&self) -> u64 {
        self.starts.iter().fold(0, |sum, start| sum.saturating_add(self.ways.count(*start)))
    }

    /// Returns how many references there are on all ways from the starts.
    fn references(&self) -> usize {
        let mut seen = vec![false; self.graph.paths().len()];
        let (mut left, mut sum) = (self.starts.clone(), 0);
        while let Some(place) = left.pop() {
            if !std::mem::replace(&mut seen[place], true) {
                let next = self.ways.next(place);
                sum += next.len();
                left.extend(next);
            }
        }
        sum
    }

    fn follow(&mut self, args: &Args) -> Result<()> {
        let mut shown = vec![false; self.graph.paths().len()];
        for start in self.starts.clone() {
            let mut stack = Vec::new();
            if !std::mem::replace(&mut shown[start], true) {
                stack.push(self.open(start, args)?);
            }
            // The walk has a stack of its own: graphs are deeper than a thread's stack.
            while let Some(here) = stack.last_mut() {
                if args.all && self.edges.len() >= args.limit {
                    return Ok(());
                }
                let Some((to, mentions)) = here.left.pop() else {
                    stack.pop();
                    continue;
                };
                let (from, follows) = (here.place, !here.left.is_empty());
                let again = std::mem::replace(&mut shown[to], true) && !self.ways.next(to).is_empty();
                self.edges.push(Edge { from, to, depth: stack.len(), follows, again, mentions });
                if !again {
                    stack.push(self.open(to, args)?);
                }
            }
        }
        Ok(())
    }

    /// Looks to where ways go on from a path, and where in its files that is said; the last one is the first to show.
    fn open(&mut self, place: usize, args: &Args) -> Result<Open> {
        let mut next = self.ways.next(place);
        if !args.all {
            next.truncate(1);
        }
        let paths: Vec<&StorePath> = next.iter().map(|other| &self.graph.paths()[*other]).collect();
        let mentions = match args.places {
            0 => vec![Mentions::default(); next.len()],
            _ if next.is_empty() => Vec::new(),
            most => self.store.mentions(&self.graph.paths()[place], &paths, most)?,
        };
        let left = next.into_iter().zip(mentions).rev().collect();
        Ok(Open { place, left })
    }
}
