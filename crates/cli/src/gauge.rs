//! One line at the bottom of a terminal that says how far something is: for work that has no picture of its own.
#![expect(clippy::disallowed_methods, reason = "a line that changes too often cannot be read")]

use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use local_store::Progress;
use sandbox::Size;

use crate::outlet::{self, Bottom, Line, Paint};
use crate::session::Session;
use crate::size;
use crate::watch;

/// The time between two changes.
const TICK: Duration = Duration::from_millis(100);

/// Says how far something is, if there is a terminal for it; nothing of that is left when it is dropped.
pub(crate) struct Gauge {
    /// What is done to paths.
    doing: &'static str,
    bottom: Option<Bottom>,
    is_coloured: bool,
    changed: Mutex<Instant>,
}

impl Gauge {
    /// Begins, for what is called `doing`.
    pub(crate) fn new(session: &Session, doing: &'static str) -> Self {
        let (variables, messages) = (session.variables(), session.messages());
        let is_live = watch::Progress::Auto.is_live(variables, messages.verbosity());
        let bottom = is_live.then(|| outlet::bottom(watch::reflow(variables)));
        let is_coloured = messages.style().is_coloured();
        Self { doing, bottom, is_coloured, changed: Mutex::new(Instant::now()) }
    }

    /// Hears how far it is, from any thread; most of it is not worth a change.
    pub(crate) fn show(&self, now: Progress) {
        let Some(bottom) = &self.bottom else { return };
        {
            // Whoever changes it now says nearly the same.
            let Ok(mut changed) = self.changed.try_lock() else { return };
            if changed.elapsed() < TICK {
                return;
            }
            *changed = Instant::now();
        }
        let columns = Size::of(io::stderr()).map_or(80, |size| usize::from(size.columns));
        bottom.set(vec![self.line(now, columns)], columns);
    }

    fn line(&self, now: Progress, columns: usize) -> Line {
        let mut line = Line::new(columns.saturating_sub(1), self.is_coloured);
        line.push(Paint::Running, self.doing);
        line.push(Paint::Plain, &format!(" {} of {} paths", now.paths, now.of));
        if now.bytes > 0 {
            line.push(Paint::Dim, &format!(", {}", size::show(now.bytes)));
        }
        line
    }

    /// Whether there is a terminal for it.
    pub(crate) fn is_live(&self) -> bool {
        self.bottom.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_many_and_how_much() {
        let gauge = Gauge {
            doing: "verifying",
            bottom: None,
            is_coloured: false,
            changed: Mutex::new(Instant::now()),
        };
        let now = Progress { of: 20, paths: 3, bytes: 0 };
        assert_eq!(gauge.line(now, 80).text(), "verifying 3 of 20 paths");
        assert_eq!(
            gauge.line(Progress { bytes: 2048, ..now }, 80).text(),
            "verifying 3 of 20 paths, 2.0 KiB"
        );
        assert_eq!(gauge.line(now, 12).width(), 11);
    }
}
