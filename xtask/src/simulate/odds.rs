//! How often what happens.

/// How often things happen, in a hundred thousand.
pub(super) struct Odds {
    /// Of what is heard of a goal, how often it is that it failed; or one of these.
    pub(super) failed: usize,
    pub(super) lost: usize,
    pub(super) put_off: usize,
    /// What was to be fetched cannot be, or what was offered is declined.
    pub(super) unavailable: usize,
    /// A builder has ended, and what it made is being kept.
    pub(super) keeps: usize,
    /// How often, after that, a goal turns out to need another one; or one of these.
    pub(super) found: usize,
    /// A goal is added.
    pub(super) added: usize,
    /// A goal is given up.
    pub(super) given_up: usize,
    /// What was put off is resumed.
    pub(super) resumed: usize,
}

impl Odds {
    /// Much of what is planned is done.
    pub(super) const CALM: Self = Self {
        failed: 5,
        lost: 200,
        put_off: 200,
        unavailable: 30_000,
        keeps: 50_000,
        found: 500,
        added: 500,
        given_up: 5,
        resumed: 2_000,
    };
    /// In a small world, much happens.
    #[cfg(test)]
    pub(super) const STORMY: Self = Self {
        failed: 5_000,
        lost: 5_000,
        put_off: 10_000,
        unavailable: 40_000,
        keeps: 20_000,
        found: 15_000,
        added: 10_000,
        given_up: 5_000,
        resumed: 20_000,
    };
}

/// Returns which one it is of things that happen so often each; if none, how many there are.
pub(super) fn which(mut number: usize, odds: &[usize]) -> usize {
    let is_it = |&often: &usize| {
        let is_it = number < often;
        number = number.saturating_sub(often);
        is_it
    };
    odds.iter().position(is_it).unwrap_or(odds.len())
}
