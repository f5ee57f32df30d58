//! Why a path needs another one, for programs.

use std::io;

use local_store::{Mention, Spot};
use serde_json::{Value, json};

use super::text::{escape, name};
use super::{Edge, Found};
use crate::results::Results;

/// Prints `shortest`, the paths of the shortest way; `ways`, how many there are; and `references`, what refers to what
/// on the ways that are shown, each with where it stands.
pub(super) fn print(results: &mut Results, found: &Found<'_>, all: bool) -> io::Result<()> {
    let full = |place: usize| found.store.store_dir().print(&found.graph.paths()[place]);
    let count = found.count();
    let references: Vec<Value> = found
        .edges
        .iter()
        .map(|Edge { from, to, mentions, .. }| {
            json!({
                "from": full(*from),
                "to": full(*to),
                "files": mentions.files,
                "places": mentions.places,
                "some": mentions.some.iter().map(place).collect::<Vec<_>>(),
            })
        })
        .collect();
    let mut value = json!({
        "depends": true,
        "shortest": shortest(found).into_iter().map(full).collect::<Vec<_>>(),
        // More than can be counted is no number.
        "ways": (count < u64::MAX).then_some(count),
        "references": references,
    });
    if all {
        value["leftOut"] = found.left_out.into();
    }
    results.json(&value)
}

fn shortest(found: &Found<'_>) -> Vec<usize> {
    let mut way: Vec<usize> = found.starts.iter().copied().take(1).collect();
    while let Some(next) = way.last().and_then(|last| found.ways.next(*last).first().copied()) {
        way.push(next);
    }
    way
}

fn place(mention: &Mention) -> Value {
    let mut value = json!({ "file": name(&mention.file), "places": mention.places });
    match &mention.spot {
        Spot::Contents { offset, before, after } => {
            value["kind"] = "contents".into();
            value["offset"] = (*offset).into();
            value["before"] = escape(before).into();
            value["after"] = escape(after).into();
        }
        Spot::Target(target) => {
            value["kind"] = "symlink".into();
            value["target"] = target.to_string_lossy().into();
        }
        Spot::Name => value["kind"] = "name".into(),
    }
    value
}
