//! When a build began, and how long it took.

#![expect(clippy::disallowed_methods, reason = "looks at the clock")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs from when it is started; the time of day may be changed meanwhile.
pub(crate) struct Stopwatch {
    started: SystemTime,
    clock: Instant,
}

/// A time that was measured.
pub(crate) struct Measured {
    /// In milliseconds since 1970.
    pub(crate) started_millis: i64,
    pub(crate) wall_time: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { started: SystemTime::now(), clock: Instant::now() }
    }

    pub(crate) fn stop(&self) -> Measured {
        let since_1970 = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        Measured {
            started_millis: i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX),
            wall_time: self.clock.elapsed(),
        }
    }
}
