//! Differences for programs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use derivation::{Both, Cause, Change, Diff, Output, Side};
use serde_json::{Value, json};
use store_path::StorePath;

use super::inside;
use super::text::{describe_output, wanted};
use super::trees::{Difference, What};
use crate::derivations_at_hand::AtHand;

/// Returns `left`, `right`, `equal`, and `pairs`: what differs by itself, and what leads to it.
///
/// A `parent` is a place in `pairs`. That is shorter than writing every way out, and grows with the graph only.
pub(super) fn print(at_hand: &AtHand, (left, right): (&StorePath, &StorePath), diff: &Diff) -> Result<Value> {
    let places: BTreeMap<usize, usize> =
        shown(diff).into_iter().enumerate().map(|(new, old)| (old, new)).collect();
    let full = |path: &StorePath| at_hand.store_dir().print(path);
    let mut pairs = Vec::with_capacity(places.len());
    for place in places.keys() {
        let pair = &diff.pairs()[*place];
        let causes: Vec<Value> =
            pair.causes.iter().map(|cause| of_cause(at_hand, cause)).collect::<Result<_>>()?;
        pairs.push(json!({
            "left": full(&pair.left),
            "right": full(&pair.right),
            "parent": pair.parent.map(|parent| places[&parent]),
            "changesOutputs": pair.changes_outputs,
            "causes": causes,
        }));
    }
    Ok(json!({ "left": full(left), "right": full(right), "equal": diff.pairs().is_empty(), "pairs": pairs }))
}

/// Returns the pairs with causes and all on the way to them; each is looked at once.
fn shown(diff: &Diff) -> BTreeSet<usize> {
    let mut shown = BTreeSet::new();
    for place in diff.differing() {
        let mut next = Some(place);
        while let Some(place) = next.filter(|place| shown.insert(*place)) {
            next = diff.pairs()[place].parent;
        }
    }
    shown
}

fn of_cause(at_hand: &AtHand, cause: &Cause) -> Result<Value> {
    let full = |path: &StorePath| at_hand.store_dir().print(path);
    let paths = |path: &Option<StorePath>| path.as_ref().map(full);
    Ok(match cause {
        Cause::Name { left, right } => {
            json!({ "kind": "name", "left": left.as_str(), "right": right.as_str() })
        }
        Cause::System(both) => of_both("system", both),
        Cause::Builder(both) => of_both("builder", both),
        Cause::Argument { number, value } => {
            with_change(json!({ "kind": "argument", "number": number }), value)
        }
        Cause::Variable { name, value } => {
            with_change(json!({ "kind": "variable", "name": String::from_utf8_lossy(name) }), value)
        }
        Cause::Attribute { name, value } => with_change(json!({ "kind": "attribute", "name": name }), value),
        Cause::Output { name, left, right } => {
            let text = |output: &Option<Output>| output.as_ref().map(describe_output);
            json!({ "kind": "output", "name": name.as_str(), "left": text(left), "right": text(right) })
        }
        Cause::Input { side: Side::Left, drv } => {
            json!({ "kind": "input", "left": full(drv), "right": null })
        }
        Cause::Input { side: Side::Right, drv } => {
            json!({ "kind": "input", "left": null, "right": full(drv) })
        }
        Cause::Wanted { drv, left, right } => {
            json!({ "kind": "wanted", "drv": full(drv), "left": wanted(left), "right": wanted(right) })
        }
        Cause::Source { left, right } => json!({
            "kind": "source",
            "left": paths(left),
            "right": paths(right),
            "inside": inside(at_hand, cause)?.as_ref().map(of_difference),
        }),
        Cause::Absent { drv } => json!({ "kind": "absent", "drv": full(drv) }),
        Cause::OnlyPaths => json!({ "kind": "paths" }),
    })
}

fn of_both(kind: &str, both: &Both) -> Value {
    json!({ "kind": kind, "left": text(&both.left), "right": text(&both.right) })
}

fn with_change(mut object: Value, change: &Change) -> Value {
    object["left"] = change.left.as_deref().map(text).into();
    object["right"] = change.right.as_deref().map(text).into();
    object
}

/// JSON holds text only; what is not becomes U+FFFD.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn of_difference(difference: &Difference) -> Value {
    let mut object = match &difference.what {
        What::Absent { on_left } => json!({ "kind": "absent", "left": !on_left, "right": on_left }),
        What::Kind { left, right } => json!({ "kind": "kind", "left": left, "right": right }),
        What::Target { left, right } => json!({ "kind": "target", "left": text(left), "right": text(right) }),
        What::Line { number, left, right } => json!({
            "kind": "line", "line": number,
            "left": left.as_deref().map(text), "right": right.as_deref().map(text),
        }),
        What::Byte { offset } => json!({ "kind": "byte", "byte": offset }),
    };
    object["file"] = difference.file.to_string_lossy().into();
    object
}
