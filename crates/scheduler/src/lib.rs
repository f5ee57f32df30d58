//! Which goal may run next.
//!
//! Floor 1, pure. A [`Schedule`] is a state machine: goals are added, inputs first, then [`Schedule::take`] hands
//! them out and [`Schedule::finish`] takes them back. It does not know what a goal is, that threads exist, or
//! what time it is, so the same events always give the same goals in the same order.
//!
//! What a goal needs may come to light while it waits: more goals are added then, and it waits for those too.
//!
//! An event costs what it changes: the direct users of the goal that ended, and one step in the queue of goals
//! that are ready. Goals that go on waiting are never looked at, however many there are.
//!
//! ```
//! use std::num::NonZeroUsize;
//!
//! use scheduler::{Outcome, Policy, Schedule};
//!
//! let mut schedule = Schedule::new(NonZeroUsize::MIN, Policy::StopAtFailure);
//! let library = schedule.add(&[]);
//! let program = schedule.add(&[library]);
//! assert_eq!(schedule.take(), Some(library));
//! assert_eq!(schedule.take(), None); // the one slot is taken
//! schedule.finish(library, Outcome::Done);
//! assert_eq!(schedule.take(), Some(program));
//! schedule.finish(program, Outcome::Done);
//! assert!(schedule.is_finished());
//! ```

mod goal;
mod schedule;
#[cfg(test)]
mod tests;

pub use goal::{GoalId, Outcome};
pub use schedule::{Policy, Schedule};
