//! A graph for programs.

use std::io;

use derivation::{Graph, InputOutputs, Node};
use serde_json::{Map, Value, json};
use store_path::{StoreDir, StorePath};

use crate::results::Results;

/// Prints `roots`, `nodes` and `edges`; an edge leads from a derivation to one that it needs.
pub(super) fn print(results: &mut Results, store_dir: &StoreDir, graph: &Graph) -> io::Result<()> {
    let full = |path: &StorePath| store_dir.print(path);
    let path = |place: usize| full(&graph.nodes[place].path);
    let roots: Vec<String> = (0..graph.roots).map(path).collect();
    let nodes: Vec<Value> = graph.nodes.iter().map(|node| of_node(store_dir, node)).collect();
    let edges = graph.nodes.iter().flat_map(|node| node.inputs.iter().map(move |input| (node, input)));
    let edge = |(node, (place, outputs)): (&Node, &(usize, InputOutputs))| {
        let mut edge = json!({ "from": full(&node.path), "to": path(*place) });
        put_outputs(&mut edge, outputs);
        edge
    };
    let edges: Vec<Value> = edges.map(edge).collect();
    results.json(&json!({ "roots": roots, "nodes": nodes, "edges": edges }))
}

fn of_node(store_dir: &StoreDir, node: &Node) -> Value {
    let full = |path: &StorePath| store_dir.print(path);
    let Some(known) = &node.known else { return json!({ "path": full(&node.path), "known": false }) };
    let output = |(name, path): &(derivation::OutputName, Option<StorePath>)| {
        (name.as_str().to_owned(), path.as_ref().map(full).into())
    };
    json!({
        "path": full(&node.path),
        "known": true,
        "name": known.name.as_str(),
        "outputs": known.outputs.iter().map(output).collect::<Map<String, Value>>(),
        "sources": known.sources.iter().map(full).collect::<Vec<_>>(),
        "followed": node.inputs.len() == known.input_count,
    })
}

/// Recursive, but no deeper than the parsers let it be.
fn put_outputs(object: &mut Value, outputs: &InputOutputs) {
    object["outputs"] = outputs.outputs.iter().map(|name| Value::from(name.as_str())).collect();
    if !outputs.dynamic.is_empty() {
        let dynamic = outputs.dynamic.iter().map(|(name, inner)| {
            let mut value = json!({});
            put_outputs(&mut value, inner);
            (name.as_str().to_owned(), value)
        });
        object["dynamicOutputs"] = dynamic.collect::<Map<String, Value>>().into();
    }
}
