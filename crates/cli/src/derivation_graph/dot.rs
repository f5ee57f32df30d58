//! A graph in the language of graphviz.

use std::collections::BTreeSet;
use std::io;

use derivation::{Graph, Node};

use crate::derivation_diff::wanted;
use crate::results::Results;

/// Prints the graph; an arrow leads from a derivation to one that it needs, with the outputs if those are not `out`.
pub(super) fn print(results: &mut Results, graph: &Graph, with_sources: bool) -> io::Result<()> {
    results.line("digraph derivations {")?;
    results.line("  node [shape=box, fontname=\"sans-serif\"]; rankdir=LR;")?;
    for (place, node) in graph.nodes.iter().enumerate() {
        let style = match () {
            () if node.known.is_none() => ", style=dashed",
            () if place < graph.roots => ", style=bold",
            () => "",
        };
        results.line(format_args!("  \"{}\" [label=\"{}\"{style}];", node.path, label(node)))?;
    }
    for node in &graph.nodes {
        for (place, outputs) in &node.inputs {
            let outputs = wanted(outputs);
            let outputs = if outputs == "out" { String::new() } else { format!(" [label=\"{outputs}\"]") };
            results
                .line(format_args!("  \"{}\" -> \"{}\"{outputs};", node.path, graph.nodes[*place].path))?;
        }
    }
    if with_sources {
        sources(results, graph)?;
    }
    results.line("}")
}

/// Neither paths nor names of outputs contain what a quoted string would need to have escaped.
fn label(node: &Node) -> &str {
    let name = node.path.name().as_str();
    name.strip_suffix(".drv").unwrap_or(name)
}

fn sources(results: &mut Results, graph: &Graph) -> io::Result<()> {
    let of = |node: &Node| node.known.as_ref().map(|known| known.sources.clone()).unwrap_or_default();
    let all: BTreeSet<_> = graph.nodes.iter().flat_map(of).collect();
    for source in all {
        results.line(format_args!("  \"{source}\" [label=\"{}\", shape=note];", source.name()))?;
    }
    for node in &graph.nodes {
        for source in of(node) {
            results.line(format_args!("  \"{}\" -> \"{source}\";", node.path))?;
        }
    }
    Ok(())
}
