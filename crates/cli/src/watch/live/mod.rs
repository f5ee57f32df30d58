//! A live picture at the bottom of a terminal: what runs, what waits and for what, what failed, how far all is.
//!
//! ```text
//! Event ──► model (pure) ──► tree: which goals ──► frame: lines of so many columns (pure) ──► outlet: the terminal
//!              ▲                  estimate ──────────┘
//!           nix_message: what builders say for programs that show progress
//! ```
//!
//! However many events there are, there are at most ten pictures a second ([`TICK`]), and the engine's ticks make new
//! ones while nothing happens. What stays on the terminal is said by [`super::plain`], above the picture.

mod activity;
mod estimate;
mod frame;
mod goal;
mod model;
mod text;
mod tree;
mod watch;

#[cfg(test)]
mod pictures;
#[cfg(test)]
mod screens;

pub(crate) use watch::{Live, TICK};
