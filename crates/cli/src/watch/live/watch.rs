//! When a picture is drawn, and for which terminal.
#![expect(clippy::disallowed_methods, reason = "people want to know how long their builds run")]

use std::io;
use std::time::{Duration, Instant};

use engine::Event;
use sandbox::{Processes, Size};

use super::estimate;
use super::frame::{self, Canvas};
use super::model::Model;
use crate::interrupt::Interrupt;
use crate::outlet::{self, Bottom, Reflow};

/// The time between two pictures.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The time between two looks at what builders use.
const LOOK: Duration = Duration::from_secs(2);

/// Draws what is known, again and again.
pub(crate) struct Live<'a> {
    model: Model,
    bottom: Bottom,
    is_coloured: bool,
    /// When it is pending, everything is being stopped, and there is nothing to see.
    interrupt: &'a Interrupt,
    began: Instant,
    /// When the last picture was drawn.
    drawn: Option<Instant>,
    /// When it was looked at what builders use.
    looked: Option<Instant>,
    /// How long the rest may take, and when that was worked out.
    left: Option<(Instant, Option<Duration>)>,
}

impl<'a> Live<'a> {
    /// Takes the bottom of the terminal.
    pub(crate) fn new(interrupt: &'a Interrupt, reflow: Reflow, is_coloured: bool) -> Self {
        Self {
            model: Model::default(),
            bottom: outlet::bottom(reflow),
            is_coloured,
            interrupt,
            began: Instant::now(),
            drawn: None,
            looked: None,
            left: None,
        }
    }

    /// Learns from one event, and draws if it is time.
    pub(crate) fn on_event(&mut self, event: &Event<'_>) {
        let now = Instant::now();
        self.model.apply(event, now - self.began);
        if self.drawn.is_none_or(|drawn| now - drawn >= TICK) {
            self.drawn = Some(now);
            self.draw(now);
        }
    }

    fn draw(&mut self, now: Instant) {
        if self.interrupt.is_pending() || outlet::is_in_background() {
            return self.bottom.clear();
        }
        let size = Size::of(io::stderr()).unwrap_or(Size { rows: 24, columns: 80 });
        let (rows, columns) = (usize::from(size.rows), usize::from(size.columns));
        let canvas = Canvas { columns, rows, is_coloured: self.is_coloured };
        self.look(now);
        let left = self.left(now);
        self.bottom.set(frame::draw(&self.model, now - self.began, left, canvas), columns);
    }

    /// Looks at what builders use, from time to time: at every process of the machine.
    fn look(&mut self, now: Instant) {
        let since = self.looked.map(|looked| now - looked);
        if since.is_some_and(|since| since < LOOK) || self.model.running.is_empty() {
            return;
        }
        self.looked = Some(now);
        let processes = Processes::look();
        self.model.load(since, |process| processes.usage(process));
    }

    /// Works out how long the rest may take, from time to time: it looks at every goal.
    fn left(&mut self, now: Instant) -> Option<Duration> {
        let goals = u32::try_from(self.model.goals.len()).unwrap_or(u32::MAX);
        let often = Duration::from_secs(1) + Duration::from_micros(20) * goals;
        match self.left {
            Some((then, left)) if now - then < often => left,
            _ => {
                let left = estimate::left(&self.model, now - self.began);
                self.left = Some((now, left));
                left
            }
        }
    }
}
