//! How long it will still take: not less than the longest chain of builds that wait for each other, and not less than
//! all work shared between as many builds as run at once.

use std::time::Duration;

use super::goal::{Kind, State};
use super::model::Model;

/// So many builds have to have ended before they say something about others.
const TELLING: u32 = 3;

/// Returns how long the rest is expected to take; `None` if too little is known.
pub(super) fn left(model: &Model, now: Duration) -> Option<Duration> {
    let typical = match model.ended {
        (count, together) if count >= TELLING => Some(together / count),
        _ => None,
    };
    let mut all = Duration::ZERO;
    let mut longest = Duration::ZERO;
    // By place: how long it takes from the start of a goal to the end of all that needs it. What needs a goal comes later.
    let mut chains = vec![Duration::ZERO; model.goals.len()];
    for (place, goal) in model.goals.iter().enumerate().rev() {
        let own = match (goal.kind, goal.state) {
            (_, State::Done | State::Failed { .. } | State::Blocked | State::Cancelled) => continue,
            (Kind::Fetch | Kind::Find | Kind::Found, _) => Duration::ZERO,
            (Kind::Build, State::Waiting) => goal.expected.or(typical)?,
            (Kind::Build, State::Running { since }) => {
                goal.expected.or(typical)?.saturating_sub(now.saturating_sub(since))
            }
        };
        let after = goal.users.iter().map(|user| chains[*user]).max().unwrap_or_default();
        chains[place] = own + after;
        longest = longest.max(chains[place]);
        all += own;
    }
    let slots = u32::try_from(model.most_running).unwrap_or(u32::MAX).max(1);
    Some(longest.max(all / slots))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Builds that were expected to take so many minutes, each needing some of those before it.
    fn model(builds: &[(u32, &[usize])]) -> Model {
        let mut model = Model::default();
        for (minutes, inputs) in builds {
            let place = model.add(Kind::Build, "x", inputs);
            model.goals[place].expected = (*minutes > 0).then(|| MINUTE * *minutes);
        }
        model
    }

    #[test]
    fn a_chain_takes_its_sum() {
        let mut model = model(&[(1, &[]), (2, &[0]), (3, &[1]), (1, &[])]);
        model.start(0, Duration::ZERO);
        model.start(3, Duration::ZERO);
        assert_eq!(left(&model, Duration::ZERO), Some(MINUTE * 6));
        assert_eq!(left(&model, MINUTE / 2), Some(MINUTE * 11 / 2));
        // What takes longer than was expected makes nothing negative.
        assert_eq!(left(&model, MINUTE * 20), Some(MINUTE * 5));
    }

    #[test]
    fn what_runs_side_by_side_shares_the_slots() {
        let mut model = model(&[(2, &[]), (2, &[]), (2, &[]), (2, &[])]);
        model.start(0, Duration::ZERO);
        assert_eq!(left(&model, Duration::ZERO), Some(MINUTE * 8));
        model.start(1, Duration::ZERO);
        assert_eq!(left(&model, Duration::ZERO), Some(MINUTE * 4));
        model.fail(0, MINUTE);
        model.block(2);
        assert_eq!(left(&model, MINUTE), Some(MINUTE * 3 / 2).max(Some(MINUTE * 2)));
    }

    #[test]
    fn what_nobody_knows_is_not_told() {
        let mut unknown = model(&[(0, &[]), (0, &[]), (0, &[]), (0, &[]), (0, &[])]);
        assert_eq!(left(&unknown, Duration::ZERO), None);
        for place in 0..3 {
            assert_eq!(left(&unknown, Duration::ZERO), None);
            unknown.start(place, Duration::ZERO);
            unknown.built(place, MINUTE);
        }
        // By now three of them have ended, in a minute each.
        assert_eq!(left(&unknown, Duration::ZERO), Some(MINUTE * 2));
    }

    #[test]
    fn nothing_is_left_in_the_end() {
        let mut model = model(&[(1, &[])]);
        model.start(0, Duration::ZERO);
        model.built(0, MINUTE);
        assert_eq!(left(&model, MINUTE), Some(Duration::ZERO));
    }
}
