//! Which goal may run next.
//!
//! Floor 1, pure. A [`Schedule`] is a state machine: goals are added, inputs first, then [`Schedule::take`] hands
//! them out and [`Schedule::finish`] takes them back. It does not know what a goal is, that threads exist, or
//! what time it is, so the same events always give the same goals in the same order.
//!
//! Of goals that are ready, the one goes first whose way through its users takes longest: it decides when everything is
//! done. Of those, only what fits into the memory that the others leave.
//!
//! What a goal needs may come to light while it waits: more goals are added then, and it waits for those too. A goal
//! that was handed out may come back: to be handed out again, or to be tried in another way that needs more.
//!
//! An event costs what it changes: the direct users of the goal that ended, and one step in the queue of goals
//! that are ready. Goals that go on waiting are never looked at, however many there are.
//!
//! ```
//! use std::num::NonZeroUsize;
//!
//! use scheduler::{Demand, Limits, Outcome, Policy, Schedule};
//!
//! let one = NonZeroUsize::MIN;
//! let limits = Limits { builds: one, substitutions: one, memory: None };
//! let mut schedule = Schedule::new(limits, Policy::StopAtFailure);
//! let library = schedule.add(&[], Demand { millis: 90_000, ..Demand::default() });
//! let program = schedule.add(&[library], Demand::default());
//! assert_eq!(schedule.take(), Some(library));
//! assert_eq!(schedule.take(), None); // the one slot is taken
//! schedule.finish(library, Outcome::Done);
//! assert_eq!(schedule.take(), Some(program));
//! schedule.finish(program, Outcome::Done);
//! assert!(schedule.is_finished());
//! ```

mod change;
mod comeback;
mod demand;
mod edges;
mod goal;
mod lane;
mod queue;
mod rank;
mod room;
mod schedule;
#[cfg(test)]
mod tests;

pub use demand::{Demand, Limits, Slot};
pub use goal::{GoalId, Outcome};
pub use schedule::{Policy, Schedule};
