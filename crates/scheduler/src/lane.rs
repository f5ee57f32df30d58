//! The goals that share one kind of slot.

use crate::demand::{Limits, Slot};
use crate::queue::Queue;

/// The goals that share one kind of slot: those that are ready, and how many run.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) ready: Queue,
    pub(crate) running: usize,
    slots: usize,
}

impl Lane {
    fn new(slots: usize) -> Self {
        Self { ready: Queue::default(), running: 0, slots }
    }

    pub(crate) fn has_slot(&self) -> bool {
        self.running < self.slots
    }
}

/// One lane for each kind of slot.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    none: Lane,
    substitution: Lane,
    offer: Lane,
    build: Lane,
}

impl Lanes {
    /// In the order in which goals are handed out that are ready at the same time.
    pub(crate) const SLOTS: [Slot; 4] = [Slot::None, Slot::Substitution, Slot::Offer, Slot::Build];

    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            none: Lane::new(usize::MAX),
            substitution: Lane::new(limits.substitutions.get()),
            offer: Lane::new(1),
            build: Lane::new(limits.builds.get()),
        }
    }

    pub(crate) fn of(&mut self, slot: Slot) -> &mut Lane {
        match slot {
            Slot::None => &mut self.none,
            Slot::Substitution => &mut self.substitution,
            Slot::Offer => &mut self.offer,
            Slot::Build => &mut self.build,
        }
    }
}
