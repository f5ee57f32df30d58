//! The chain of builds that no number of slots could have made shorter.

use std::time::Duration;

use super::goal::Goal;

/// Returns the places of the goals on the critical path, first to last: the chain, each needed by the next, whose builds
/// took longest together. Goals come after what they need, but for those that were found late.
pub(super) fn path(goals: &[Goal]) -> Vec<usize> {
    let mut best: Vec<Option<(Duration, Option<usize>)>> = vec![None; goals.len()];
    for start in 0..goals.len() {
        settle(goals, &mut best, start);
    }
    let longest = |place: &usize| best[*place].map(|(length, _)| length);
    // Of several, the first.
    let mut at =
        (0..goals.len()).rev().max_by_key(longest).filter(|last| longest(last) > Some(Duration::ZERO));
    let mut path = Vec::new();
    while let Some(place) = at {
        path.push(place);
        at = best[place].and_then(|(_, before)| before);
    }
    path.reverse();
    path.retain(|place| goals[*place].drv.is_some());
    path
}

/// Works out the longest chain that ends with a goal, and what comes before it there; with a stack of its own, as
/// chains are deeper than a thread's stack.
fn settle(goals: &[Goal], best: &mut [Option<(Duration, Option<usize>)>], start: usize) {
    let mut stack = vec![(start, 0)];
    while let Some((place, next)) = stack.pop() {
        if best[place].is_some() {
            continue;
        }
        if let Some(input) = goals[place].inputs.get(next) {
            stack.push((place, next + 1));
            // What waits for itself is on the stack already, and has no chain.
            if best[*input].is_none() && !stack.iter().rev().skip(1).any(|(other, _)| other == input) {
                stack.push((*input, 0));
            }
            continue;
        }
        let before =
            goals[place].inputs.iter().filter_map(|input| best[*input].map(|(time, _)| (time, *input)));
        let before = before.max_by_key(|(time, input)| (*time, std::cmp::Reverse(*input)));
        let time = before.map_or(Duration::ZERO, |(time, _)| time) + goals[place].took();
        best[place] = Some((time, before.map(|(_, input)| input)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goals(list: &[(u64, &[usize])]) -> Vec<Goal> {
        let goal = |(seconds, inputs): &(u64, &[usize])| Goal {
            drv: Some("00000000000000000000000000000000-x.drv".parse().unwrap()),
            inputs: inputs.to_vec(),
            started: Some(Duration::ZERO),
            ended: Some(Duration::from_secs(*seconds)),
            ..Goal::default()
        };
        list.iter().map(goal).collect()
    }

    #[test]
    fn the_longest_chain_counts_not_the_one_with_most_builds() {
        let diamond = goals(&[(1, &[]), (5, &[0]), (2, &[0]), (2, &[2]), (1, &[1, 3])]);
        assert_eq!(path(&diamond), [0, 1, 4]);
        assert_eq!(path(&goals(&[(1, &[]), (3, &[]), (2, &[])])), [1]);
    }

    #[test]
    fn what_took_no_time_is_on_no_path() {
        assert_eq!(path(&goals(&[])), [0; 0]);
        assert_eq!(path(&goals(&[(0, &[]), (0, &[0])])), [0; 0]);
        // A build that failed keeps its users from having a time, but not from being there.
        assert_eq!(path(&goals(&[(2, &[]), (0, &[0])])), [0]);
    }

    #[test]
    fn goals_may_need_what_was_found_after_them() {
        assert_eq!(path(&goals(&[(1, &[2]), (1, &[0]), (4, &[])])), [2, 0, 1]);
        // Nothing waits for itself in a run that ends, but none is so strange that this would not.
        assert_eq!(path(&goals(&[(1, &[1]), (1, &[0])])).len(), 2);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let inputs: Vec<[usize; 1]> = (0..5_000).map(|place| [place]).collect();
        let list: Vec<(u64, &[usize])> =
            (0..5_000).map(|place| (1, if place == 0 { &[][..] } else { &inputs[place - 1][..] })).collect();
        assert_eq!(path(&goals(&list)).len(), 5_000);
    }
}
