//! Which goals are shown, and how they hang together.
//!
//! What runs is shown first, then what failed last, then what is wanted in the end, then whatever waits for these, the
//! nearest first, as long as there is room. A goal hangs under the nearest goal shown that needs it; goals between them
//! may be left out.

use std::collections::{BTreeMap, BTreeSet};

use super::goal::State;
use super::model::Model;

/// A chain that is longer is not followed at each picture.
const LONGEST_CHAIN: usize = 256;

/// So many failures are shown; each was told in full before.
const MOST_FAILED: usize = 3;

/// A goal in the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) place: usize,
    /// Of each goal above it, from the outermost, whether more hang under it further down.
    pub(super) goes_on: Vec<bool>,
    /// Whether goals between it and the one above were left out.
    pub(super) is_distant: bool,
}

/// What is shown, from top to bottom.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    /// How many running builds have no room.
    pub(super) hidden_running: usize,
    /// How many builds wait that are not shown.
    pub(super) hidden_waiting: usize,
}

/// Chooses what is shown in so many rows, nested so deeply at most.
pub(super) fn choose(model: &Model, rows: usize, depth: usize) -> Tree {
    let running = &model.running[..model.running.len().min(rows)];
    let failed = model.failed.iter().rev().take(MOST_FAILED.min(rows - running.len()));
    let leaves: Vec<usize> = running.iter().chain(failed).copied().collect();
    // The picture stays small beside what runs, however large the screen is.
    let most = rows.min(3 * leaves.len() + 2);
    let chains: Vec<Vec<usize>> = leaves.iter().map(|leaf| chain(model, *leaf)).collect();
    let mut shown: BTreeSet<usize> = leaves.iter().copied().collect();
    let tops = leaves.iter().map(|leaf| top(model, *leaf));
    let nearest =
        (0..depth.saturating_sub(1)).flat_map(|step| chains.iter().filter_map(move |chain| chain.get(step)));
    for place in tops.chain(nearest.copied()) {
        if shown.len() < most {
            shown.insert(place);
        }
    }
    let waits = |place: &&usize| matches!(model.goals[**place].state, State::Waiting);
    let shown_waiting = shown.iter().filter(waits).filter(|place| model.goals[**place].is_build()).count();
    Tree {
        nodes: hang(model, &shown),
        hidden_running: model.running.len() - running.len(),
        hidden_waiting: model.waiting_count().saturating_sub(shown_waiting),
    }
}

/// The goals above one, nearest first, each needed by the next.
fn chain(model: &Model, place: usize) -> Vec<usize> {
    let above = std::iter::successors(model.goals[place].parent, |place| model.goals[*place].parent);
    above.take(LONGEST_CHAIN).collect()
}

/// What a goal is wanted for in the end.
fn top(model: &Model, place: usize) -> usize {
    std::iter::successors(Some(place), |place| model.goals[*place].parent).last().unwrap_or(place)
}

/// Puts the goals in order, each below the nearest one that it belongs to.
fn hang(model: &Model, shown: &BTreeSet<usize>) -> Vec<Node> {
    let mut below: BTreeMap<Option<usize>, Vec<(usize, bool)>> = BTreeMap::new();
    for place in shown {
        let above = chain(model, *place).into_iter().enumerate().find(|(_, above)| shown.contains(above));
        let far = || Some(top(model, *place)).filter(|top| top != place && shown.contains(top));
        let (parent, is_distant) = match above {
            Some((steps, parent)) => (Some(parent), steps > 0),
            None => (far(), far().is_some()),
        };
        below.entry(parent).or_default().push((*place, is_distant));
    }
    let mut nodes = Vec::with_capacity(shown.len());
    // The last is next.
    let mut stack: Vec<Node> = Vec::new();
    let push = |stack: &mut Vec<Node>, parent: Option<&Node>| {
        let children = below.get(&parent.map(|node| node.place)).map_or(&[][..], Vec::as_slice);
        for (index, (place, is_distant)) in children.iter().enumerate().rev() {
            let mut goes_on = parent.map_or_else(Vec::new, |node| node.goes_on.clone());
            goes_on.push(index + 1 < children.len());
            stack.push(Node { place: *place, goes_on, is_distant: *is_distant });
        }
    };
    push(&mut stack, None);
    while let Some(node) = stack.pop() {
        push(&mut stack, Some(&node));
        nodes.push(node);
    }
    nodes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::goal::Kind;
    use super::*;

    fn model(builds: &[(&str, &[usize])], running: &[usize]) -> Model {
        let mut model = Model::default();
        for (name, inputs) in builds {
            model.add(Kind::Build, name, inputs);
        }
        running.iter().for_each(|place| model.start(*place, Duration::ZERO));
        model
    }

    /// One goal a line: how deep it hangs, its name, and whether it is distant.
    fn drawn(model: &Model, rows: usize, depth: usize) -> Vec<String> {
        let tree = choose(model, rows, depth);
        let line = |node: &Node| {
            let distant = if node.is_distant { "~" } else { "" };
            format!("{}{distant}{}", " ".repeat(node.goes_on.len() - 1), model.goals[node.place].name)
        };
        let mut lines: Vec<String> = tree.nodes.iter().map(line).collect();
        lines.push(format!("{} {}", tree.hidden_running, tree.hidden_waiting));
        lines
    }

    #[test]
    fn what_runs_hangs_under_what_it_is_for() {
        let model = model(&[("a", &[]), ("b", &[0]), ("c", &[]), ("d", &[1, 2]), ("e", &[3])], &[0, 2]);
        assert_eq!(drawn(&model, 20, 9), ["e", " d", "  b", "   a", "  c", "0 0"]);
    }

    #[test]
    fn without_room_the_goals_between_are_left_out() {
        let model = model(&[("a", &[]), ("b", &[0]), ("c", &[]), ("d", &[1, 2]), ("e", &[3])], &[0, 2]);
        assert_eq!(drawn(&model, 4, 9), ["e", " ~b", "  a", " ~c", "0 1"]);
        assert_eq!(drawn(&model, 2, 9), ["a", "c", "0 3"]);
        assert_eq!(drawn(&model, 1, 9), ["a", "1 3"]);
        assert_eq!(drawn(&model, 0, 9), ["2 3"]);
    }

    #[test]
    fn a_long_chain_is_cut_in_the_middle() {
        let mut model = Model::default();
        for place in 0..70_000 {
            let before: &[usize] = if place == 0 { &[] } else { &[place - 1] };
            model.add(Kind::Build, &place.to_string(), before);
        }
        model.start(0, Duration::ZERO);
        assert_eq!(drawn(&model, 20, 3), ["69999", " ~2", "  1", "   0", "0 69996"]);
    }

    #[test]
    fn failures_stay_for_a_while() {
        let mut model = model(&[("a", &[]), ("b", &[0]), ("c", &[])], &[0, 2]);
        model.fail(0, Duration::ZERO);
        model.block(1);
        assert_eq!(drawn(&model, 20, 9), ["b", " a", "c", "0 0"]);
    }
}
