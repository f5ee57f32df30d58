//! When a build began, and how long it took.

#![expect(clippy::disallowed_methods, reason = "looks at the clock")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the time of day, in milliseconds since 1970.
pub fn now_millis() -> i64 {
    in_millis(SystemTime::now())
}

fn in_millis(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

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
        Measured { started_millis: in_millis(self.started), wall_time: self.clock.elapsed() }
    }
}
