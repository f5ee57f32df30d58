//! Differences for people.

use anyhow::Result;
use derivation::{Both, Cause, Change, Diff, InputOutputs, Output, Pair, Side};
use store_path::StorePath;

use super::trees::{Difference, What};
use super::{inside, values};
use crate::build_failure::harmless;
use crate::derivations_at_hand::AtHand;
use crate::session::Session;

/// A chain longer than that is told by its ends.
const LONGEST_CHAIN: usize = 12;

/// Prints every pair that differs by itself, with the way to it.
pub(super) fn print(session: &mut Session, at_hand: &AtHand, diff: &Diff) -> Result<()> {
    let mut said = false;
    for (count, place) in diff.differing().enumerate() {
        let pair = &diff.pairs()[place];
        if count > 0 {
            session.results().line("")?;
        }
        if !pair.changes_outputs && !said {
            said = true;
            session
                .results()
                .line("What these make has the same paths; what follows changes derivations only.\n")?;
        }
        session.results().line(chain(diff, place))?;
        session.results().line(format_args!("- {}", at_hand.store_dir().print(&pair.left)))?;
        session.results().line(format_args!("+ {}", at_hand.store_dir().print(&pair.right)))?;
        for cause in &pair.causes {
            for line in describe(at_hand, pair, cause)? {
                session.results().line(format_args!("  {line}"))?;
            }
        }
    }
    Ok(())
}

/// Returns the names on the way from what was asked about.
fn chain(diff: &Diff, place: usize) -> String {
    let parent = |place: &usize| diff.pairs()[*place].parent;
    let mut way: Vec<usize> = std::iter::successors(Some(place), parent).collect();
    way.reverse();
    let name = |place: &usize| name(&diff.pairs()[*place].left).to_owned();
    let mut names: Vec<String> = match way.len() {
        length if length > LONGEST_CHAIN => {
            let half = LONGEST_CHAIN / 2;
            let dots = std::iter::once(format!("… {} more …", length - 2 * half));
            way[..half].iter().map(name).chain(dots).chain(way[length - half..].iter().map(name)).collect()
        }
        _ => way.iter().map(name).collect(),
    };
    // What the reader is to look at comes last.
    if let Some(last) = names.last_mut() {
        last.push(':');
    }
    names.join(" > ")
}

fn name(drv: &StorePath) -> &str {
    let name = drv.name().as_str();
    name.strip_suffix(".drv").unwrap_or(name)
}

fn describe(at_hand: &AtHand, pair: &Pair, cause: &Cause) -> Result<Vec<String>> {
    let store_dir = at_hand.store_dir();
    Ok(match cause {
        Cause::Name { left, right } => two("name", left.as_str(), right.as_str()),
        Cause::System(both) => headed("system".to_owned(), of_both(both)),
        Cause::Builder(both) => headed("builder".to_owned(), of_both(both)),
        Cause::Argument { number, value } => headed(format!("argument {number}"), of_change(value)),
        Cause::Variable { name, value } => {
            let name = harmless(&String::from_utf8_lossy(name));
            headed(format!("variable `{name}`"), of_change(value))
        }
        Cause::Attribute { name, value } => {
            headed(format!("structured attribute `{}`", harmless(name)), of_change(value))
        }
        Cause::Output { name, left, right } => {
            let text = |output: &Option<Output>| output.as_ref().map(describe_output);
            headed(format!("output `{name}`"), signed(text(left), text(right)))
        }
        Cause::Input { side, drv } => {
            let path = Some(store_dir.print(drv));
            let lines = if *side == Side::Left { signed(path, None) } else { signed(None, path) };
            headed("input derivation".to_owned(), lines)
        }
        Cause::Wanted { drv, left, right } => {
            let title = format!("outputs wanted of `{}`", name(drv));
            headed(title, signed(Some(wanted(left)), Some(wanted(right))))
        }
        Cause::Source { left, right } => source(at_hand, cause, (left.as_ref(), right.as_ref()))?,
        Cause::Absent { drv } => {
            vec![format!("`{}` is not at hand, so what differs there cannot be told", store_dir.print(drv))]
        }
        Cause::OnlyPaths => vec![format!(
            "nothing but paths; `store derivation check` says which of `{}` and `{}` states a wrong one",
            pair.left, pair.right
        )],
    })
}

fn source(
    at_hand: &AtHand,
    cause: &Cause,
    (left, right): (Option<&StorePath>, Option<&StorePath>),
) -> Result<Vec<String>> {
    let path = |path: Option<&StorePath>| path.map(|path| at_hand.store_dir().print(path));
    let mut lines = headed("source".to_owned(), signed(path(left), path(right)));
    if left.is_some() && right.is_some() {
        match inside(at_hand, cause)? {
            Some(difference) => lines.extend(indented(where_it_differs(&difference))),
            None => {
                lines.push("  what is in them cannot be compared: they are not both in the store".to_owned())
            }
        }
    }
    Ok(lines)
}

fn where_it_differs(difference: &Difference) -> Vec<String> {
    let file = match difference.file.as_os_str().is_empty() {
        true => String::new(),
        false => format!("`{}`, ", harmless(&difference.file.to_string_lossy())),
    };
    match &difference.what {
        What::Absent { on_left } => {
            vec![format!("{file}which is only in the {}", if *on_left { "second" } else { "first" })]
        }
        What::Kind { left, right } => vec![format!("{file}which is {left} and {right}")],
        What::Target { left, right } => {
            headed(format!("{file}where the link leads"), values::lines(Some(left), Some(right)))
        }
        What::Line { number, left, right } => {
            headed(format!("{file}line {number}"), values::lines(left.as_deref(), right.as_deref()))
        }
        What::Byte { offset } => vec![format!("{file}from byte {offset} on")],
    }
}

/// Says what an output is; not its path, which follows from the rest.
pub(super) fn describe_output(output: &Output) -> String {
    match output {
        Output::InputAddressed(_) | Output::Deferred => "named by how it is built".to_owned(),
        Output::Fixed { method, hash, .. } => format!("fixed: {method} {}", hash.to_sri()),
        Output::Floating { method, algorithm } => format!("named by its contents: {method} {algorithm}"),
        Output::Impure { method, algorithm } => format!("impure: {method} {algorithm}"),
    }
}

/// Returns `bin out`, and `x^(out)` for outputs of what the output `x` describes. Recursive, but no deeper than parsers let it be.
pub(crate) fn wanted(outputs: &InputOutputs) -> String {
    let plain = outputs.outputs.iter().map(ToString::to_string);
    let dynamic = outputs.dynamic.iter().map(|(name, inner)| format!("{name}^({})", wanted(inner)));
    plain.chain(dynamic).collect::<Vec<_>>().join(" ")
}

fn of_both(both: &Both) -> Vec<String> {
    values::lines(Some(&both.left), Some(&both.right))
}

fn of_change(change: &Change) -> Vec<String> {
    values::lines(change.left.as_deref(), change.right.as_deref())
}

fn two(title: &str, left: &str, right: &str) -> Vec<String> {
    headed(title.to_owned(), signed(Some(left.to_owned()), Some(right.to_owned())))
}

fn signed(left: Option<String>, right: Option<String>) -> Vec<String> {
    let left = left.map(|text| format!("- {text}"));
    left.into_iter().chain(right.map(|text| format!("+ {text}"))).collect()
}

fn headed(title: String, lines: Vec<String>) -> Vec<String> {
    std::iter::once(title).chain(indented(lines)).collect()
}

fn indented(lines: Vec<String>) -> impl Iterator<Item = String> {
    lines.into_iter().map(|line| format!("  {line}"))
}
