//! How long a build may run and be silent, and how much it may print.

use std::time::{Duration, Instant};

/// What a build may use before it is ended; nothing is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// From its start to its end.
    pub time: Option<Duration>,
    /// From its start, or from the last that it printed, to the next.
    pub silence: Option<Duration>,
    /// Bytes that it prints.
    pub output_bytes: Option<u64>,
}

/// Which part of its [`Allowance`] a build has overrun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrun {
    /// It ran too long.
    Time,
    /// It printed nothing for too long.
    Silence,
    /// It printed too much.
    Output,
}

/// What a build has used of its allowance.
#[derive(Debug)]
pub(crate) struct Meter {
    allowance: Allowance,
    started: Instant,
    heard: Instant,
    printed: u64,
}

impl Meter {
    pub(crate) fn new(allowance: Allowance, now: Instant) -> Self {
        Self { allowance, started: now, heard: now, printed: 0 }
    }

    /// Counts output.
    pub(crate) fn hear(&mut self, bytes: usize, now: Instant) {
        self.printed = self.printed.saturating_add(bytes as u64);
        self.heard = now;
    }

    /// What is overrun, if anything.
    pub(crate) fn overrun(&self, now: Instant) -> Option<Overrun> {
        let past = |since: Instant, most: Option<Duration>| {
            most.is_some_and(|most| now.saturating_duration_since(since) >= most)
        };
        if self.allowance.output_bytes.is_some_and(|most| self.printed > most) {
            Some(Overrun::Output)
        } else if past(self.started, self.allowance.time) {
            Some(Overrun::Time)
        } else if past(self.heard, self.allowance.silence) {
            Some(Overrun::Silence)
        } else {
            None
        }
    }

    /// How long it can be before something is overrun; nothing if that is never.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let left = |since: Instant, most: Option<Duration>| {
            most.map(|most| most.saturating_sub(now.saturating_duration_since(since)))
        };
        let ends = [left(self.started, self.allowance.time), left(self.heard, self.allowance.silence)];
        ends.into_iter().flatten().min()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "an `Instant` can be had from the clock only")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn whatever_is_overrun_first_counts() {
        let start = Instant::now();
        let allowance =
            Allowance { time: Some(SECOND * 10), silence: Some(SECOND * 4), output_bytes: Some(100) };
        let mut meter = Meter::new(allowance, start);
        assert_eq!(meter.left(start), Some(SECOND * 4));
        meter.hear(60, start + SECOND * 3);
        assert_eq!(meter.overrun(start + SECOND * 6), None);
        assert_eq!(meter.left(start + SECOND * 6), Some(SECOND));
        assert_eq!(meter.overrun(start + SECOND * 7), Some(Overrun::Silence));
        meter.hear(40, start + SECOND * 7);
        assert_eq!(meter.left(start + SECOND * 7), Some(SECOND * 3));
        assert_eq!(meter.overrun(start + SECOND * 10), Some(Overrun::Time));
        meter.hear(1, start + SECOND * 7);
        assert_eq!(meter.overrun(start + SECOND * 7), Some(Overrun::Output));
    }

    #[test]
    fn without_an_allowance_there_is_no_end() {
        let start = Instant::now();
        let mut meter = Meter::new(Allowance::default(), start);
        meter.hear(usize::MAX, start);
        assert_eq!(meter.left(start), None);
        assert_eq!(meter.overrun(start + SECOND * 1_000_000), None);
    }

    #[test]
    fn no_number_of_seconds_is_too_large() {
        let start = Instant::now();
        let allowance = Allowance { time: Some(Duration::MAX), ..Allowance::default() };
        assert_eq!(Meter::new(allowance, start).left(start + SECOND), Some(Duration::MAX - SECOND));
    }
}
