//! A graph as a tree of lines.

use std::io;

use derivation::{Graph, InputOutputs};
use store_path::StoreDir;

use crate::branches::prefix;
use crate::derivation_diff::wanted;
use crate::results::Results;

/// Of so many levels each has its place in a line.
const MOST_LEVELS: usize = 24;

/// Prints each derivation with its inputs below it. Where one is met again, a word refers to the first time.
pub(super) fn print(
    results: &mut Results,
    store_dir: &StoreDir,
    graph: &Graph,
    with_sources: bool,
) -> io::Result<()> {
    let mut tree = Tree { results, store_dir, graph, with_sources, shown: vec![false; graph.nodes.len()] };
    for root in 0..graph.roots {
        tree.print(root)?;
    }
    Ok(())
}

struct Tree<'a> {
    results: &'a mut Results,
    store_dir: &'a StoreDir,
    graph: &'a Graph,
    with_sources: bool,
    /// Whether each node was shown with its inputs.
    shown: Vec<bool>,
}

/// A node whose inputs are being shown.
struct Open {
    node: usize,
    next: usize,
}

impl Tree<'_> {
    /// Prints one tree. The walk has a stack of its own: graphs are deeper than a thread's stack.
    fn print(&mut self, root: usize) -> io::Result<()> {
        let mut stack: Vec<Open> = Vec::new();
        // For each level, whether something follows below.
        let mut lines: Vec<bool> = Vec::new();
        if self.node(&[], root, None)? {
            self.sources(&mut lines, root)?;
            stack.push(Open { node: root, next: 0 });
        }
        while let Some(open) = stack.last_mut() {
            let inputs = &self.graph.nodes[open.node].inputs;
            let Some((input, outputs)) = inputs.get(open.next) else {
                stack.pop();
                lines.pop();
                continue;
            };
            open.next += 1;
            lines.push(open.next < inputs.len());
            if self.node(&lines, *input, Some(outputs))? {
                self.sources(&mut lines, *input)?;
                stack.push(Open { node: *input, next: 0 });
            } else {
                lines.pop();
            }
        }
        Ok(())
    }

    /// Prints the line of a node, and returns whether its inputs are to follow.
    fn node(&mut self, lines: &[bool], place: usize, outputs: Option<&InputOutputs>) -> io::Result<bool> {
        let node = &self.graph.nodes[place];
        let was_shown = std::mem::replace(&mut self.shown[place], true);
        let sources =
            node.known.as_ref().filter(|_| self.with_sources).map_or(0, |known| known.sources.len());
        let has_more = !node.inputs.is_empty() || sources > 0;
        let note = match &node.known {
            None => " (not at hand)",
            Some(_) if was_shown && has_more => " (see above)",
            Some(known) if known.input_count > node.inputs.len() => " (…)",
            Some(_) => "",
        };
        let outputs = match outputs.map(wanted) {
            Some(outputs) if outputs != "out" => format!(" [{outputs}]"),
            _ => String::new(),
        };
        let path = self.store_dir.print(&node.path);
        self.results.line(format_args!("{}{path}{outputs}{note}", prefix(lines, MOST_LEVELS, ' ')))?;
        Ok(!was_shown)
    }

    fn sources(&mut self, lines: &mut Vec<bool>, place: usize) -> io::Result<()> {
        let node = &self.graph.nodes[place];
        let Some(known) = node.known.as_ref().filter(|_| self.with_sources) else { return Ok(()) };
        for (number, source) in known.sources.iter().enumerate() {
            let follows = number + 1 < known.sources.len() || !node.inputs.is_empty();
            lines.push(follows);
            self.results.line(format_args!(
                "{}{}",
                prefix(lines, MOST_LEVELS, ' '),
                self.store_dir.print(source)
            ))?;
            lines.pop();
        }
        Ok(())
    }
}
