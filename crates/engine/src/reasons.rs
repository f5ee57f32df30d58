//! Why a goal is wanted: the shortest way to it from something that the caller asked for.
//!
//! Nobody asks while all goes well, so nothing is kept of it until the first failure. From then on a question costs the
//! length of its answer. When the plan has grown, it begins anew.

use std::collections::VecDeque;

use store_path::StorePath;

use crate::plan::Plan;

/// Where the ways lead.
#[derive(Debug, Default)]
pub(crate) struct Reasons {
    /// By place in the plan: the user through which the shortest way leads; none of what the caller asked for.
    users: Vec<Option<usize>>,
}

impl Reasons {
    /// Returns the derivations from one that the caller asked for to that of the goal at `place`, each needed by the one
    /// before.
    pub(crate) fn of(&mut self, plan: &Plan, place: usize) -> Vec<StorePath> {
        if self.users.is_empty() {
            self.users = users(plan);
        }
        let way = std::iter::successors(Some(place), |place| self.users[*place]);
        let mut way: Vec<StorePath> = way.map(|place| plan.goals.list[place].task.drv().clone()).collect();
        // A goal that stands for what a build makes goes by the name of that build.
        way.dedup();
        way.reverse();
        way
    }
}

fn users(plan: &Plan) -> Vec<Option<usize>> {
    let goals = &plan.goals.list;
    let mut users = vec![None; goals.len()];
    let mut seen = vec![false; goals.len()];
    let mut next: VecDeque<usize> = plan.tops().into();
    next.iter().for_each(|place| seen[*place] = true);
    while let Some(place) = next.pop_front() {
        for input in &goals[place].inputs {
            if !std::mem::replace(&mut seen[*input], true) {
                users[*input] = Some(place);
                next.push_back(*input);
            }
        }
    }
    users
}
