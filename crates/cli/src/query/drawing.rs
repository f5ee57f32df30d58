//! What paths refer to, as a graph for programs.
//!
//! The languages of graphviz and GraphML are written as Nix writes them, to the byte. Names of paths contain nothing that
//! either would need to have escaped.

use std::collections::BTreeSet;
use std::io;

use local_store::References;
use serde_json::{Value, json};
use store_path::StoreDir;

use crate::results::Results;

/// The colours of arrows, in turn, so that those that cross can be told apart.
const COLOURS: [&str; 6] = ["black", "red", "green", "blue", "magenta", "burlywood"];

const GRAPHML_HEAD: &str = "<?xml version='1.0' encoding='utf-8'?>
<graphml xmlns='http://graphml.graphdrawing.org/xmlns'
    xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'
    xsi:schemaLocation='http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd'>
<key id='narSize' for='node' attr.name='narSize' attr.type='int'/>\
<key id='name' for='node' attr.name='name' attr.type='string'/>\
<key id='type' for='node' attr.name='type' attr.type='string'/>\
<graph id='G' edgedefault='directed'>";

/// Prints a digraph; an arrow leads from what is referred to to what refers to it.
pub(super) fn dot(results: &mut Results, graph: &References, roots: &[usize]) -> io::Result<()> {
    results.line("digraph G {")?;
    let mut colours = COLOURS.iter().cycle();
    for place in in_turn(graph, roots) {
        let path = &graph.paths()[place];
        results.line(format_args!(
            "\"{path}\" [label = \"{}\", shape = box, style = filled, fillcolor = \"#ff0000\"];",
            path.name()
        ))?;
        for (other, colour) in others(graph, place).zip(&mut colours) {
            let other = &graph.paths()[other];
            results.line(format_args!("\"{other}\" -> \"{path}\" [color = \"{colour}\"];"))?;
        }
    }
    results.line("}")
}

/// Prints GraphML; an edge leads from what refers to what is referred to.
pub(super) fn graphml(results: &mut Results, graph: &References, roots: &[usize]) -> io::Result<()> {
    results.line(GRAPHML_HEAD)?;
    for place in in_turn(graph, roots) {
        let path = &graph.paths()[place];
        let name = path.name().as_str();
        // What Nix means by a name here.
        let name = name.find('-').map_or("", |end| &name[..=end]);
        results.line(format_args!("  <node id=\"{path}\">"))?;
        results.line(format_args!("    <data key=\"narSize\">{}</data>", graph.nar_size(place)))?;
        results.line(format_args!("    <data key=\"name\">{name}</data>"))?;
        results.line(format_args!("    <data key=\"type\">{}</data>", kind(graph, place)))?;
        results.line("  </node>")?;
        for other in others(graph, place) {
            let other = &graph.paths()[other];
            results.line(format_args!("  <edge source=\"{path}\" target=\"{other}\"/>"))?;
        }
    }
    results.line("</graph>")?;
    results.line("</graphml>")
}

/// Prints `roots`, `nodes` and `edges`; an edge leads from what refers to what is referred to.
pub(super) fn json(
    results: &mut Results,
    store_dir: &StoreDir,
    graph: &References,
    roots: &[usize],
) -> io::Result<()> {
    let full = |place: usize| store_dir.print(&graph.paths()[place]);
    let node = |place: usize| {
        let name = graph.paths()[place].name().as_str();
        let (size, kind) = (graph.nar_size(place), kind(graph, place));
        json!({ "path": full(place), "name": name, "narSize": size, "type": kind })
    };
    let order = graph.references_first();
    let nodes: Vec<Value> = order.iter().map(|place| node(*place)).collect();
    let edges = order.iter().flat_map(|from| graph.of(*from).iter().map(move |to| (*from, *to)));
    let edges: Vec<Value> = edges.map(|(from, to)| json!({ "from": full(from), "to": full(to) })).collect();
    let roots: Vec<String> = roots.iter().map(|root| full(*root)).collect();
    results.json(&json!({ "roots": roots, "nodes": nodes, "edges": edges }))
}

fn kind(graph: &References, place: usize) -> &'static str {
    if graph.paths()[place].is_derivation() { "derivation" } else { "output-path" }
}

/// Returns what a path refers to apart from itself.
fn others(graph: &References, place: usize) -> impl Iterator<Item = usize> {
    graph.of(place).iter().copied().filter(move |other| *other != place)
}

/// Returns all that is reached from the roots in Nix's order: of what is known to be there, the first by name is next.
fn in_turn(graph: &References, roots: &[usize]) -> Vec<usize> {
    let (mut known, mut done) = (roots.iter().copied().collect::<BTreeSet<_>>(), Vec::new());
    let mut was_known = vec![false; graph.paths().len()];
    known.iter().for_each(|place| was_known[*place] = true);
    while let Some(place) = known.pop_first() {
        done.push(place);
        for other in graph.of(place) {
            if !std::mem::replace(&mut was_known[*other], true) {
                known.insert(*other);
            }
        }
    }
    done
}
