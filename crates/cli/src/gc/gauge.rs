//! How far a collection is, at the bottom of a terminal.
#![expect(clippy::disallowed_methods, reason = "a terminal is not told more often than a person can read")]

use std::io;
use std::time::{Duration, Instant};

use local_store::CollectionNews;
use sandbox::Size;

use crate::outlet::{self, Bottom, Line, Paint};
use crate::session::Session;
use crate::size;
use crate::watch::{Progress, reflow};

/// A person reads no faster.
const A_MOMENT: Duration = Duration::from_millis(100);

/// One line that says how much is gone.
pub(super) struct Gauge {
    /// None where there is no terminal to show it.
    bottom: Option<Bottom>,
    is_coloured: bool,
    found: usize,
    last: Option<Instant>,
}

impl Gauge {
    pub(super) fn new(session: &Session) -> Self {
        let is_live = Progress::Auto.is_live(session.variables(), session.messages().verbosity());
        let bottom = is_live.then(|| outlet::bottom(reflow(session.variables())));
        let gauge =
            Self { bottom, is_coloured: session.messages().style().is_coloured(), found: 0, last: None };
        gauge.show("looking for what nothing needs", "");
        gauge
    }

    /// Whether there is a terminal to show it.
    pub(super) fn is_live(&self) -> bool {
        self.bottom.is_some()
    }

    /// Shows what there is to say.
    pub(super) fn tell(&mut self, news: CollectionNews<'_>) {
        match news {
            CollectionNews::Found(found) => self.found = found,
            CollectionNews::Progress { gone, freed_bytes } if self.is_time() => {
                let counts = format!("{gone} of {} paths", self.found);
                self.show(&counts, &format!(", {} freed", size::show(freed_bytes)));
            }
            CollectionNews::Progress { .. } | CollectionNews::Gone(_) => {}
        }
    }

    fn is_time(&mut self) -> bool {
        let is_time = self.bottom.is_some() && self.last.is_none_or(|last| last.elapsed() >= A_MOMENT);
        if is_time {
            self.last = Some(Instant::now());
        }
        is_time
    }

    fn show(&self, first: &str, then: &str) {
        let Some(bottom) = &self.bottom else { return };
        let columns = Size::of(io::stderr()).map_or(80, |size| usize::from(size.columns));
        let mut line = Line::new(columns.saturating_sub(1), self.is_coloured);
        line.push(Paint::Running, first);
        line.push(Paint::Plain, then);
        bottom.set(vec![line], columns);
    }
}
