//! Admission by memory.

use std::collections::BTreeMap;

use crate::goal::GoalId;

/// Who takes how much of the memory, and for whom some is set aside.
///
/// A goal that does not fit is overtaken by others that do, so that no slot stands idle. When that has happened often
/// enough, memory is set aside for it: of what is freed, others get only what it leaves. So it has its turn after those at the
/// latest that ran by then.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    budget: u64,
    /// What is taken by goals that run.
    taken: u64,
    /// How often a goal may be overtaken.
    patience: usize,
    /// The goal that was overtaken last, with how often that has happened since one that was had its turn.
    overtaken: Option<(GoalId, usize)>,
    aside: Option<Aside>,
}

/// Memory set aside.
#[derive(Clone, Debug)]
struct Aside {
    goal: GoalId,
    memory: u64,
    /// Goals that have started since, beside it, with what they take.
    beside: BTreeMap<GoalId, u64>,
    beside_taken: u64,
}

impl Room {
    pub(crate) fn new(budget: u64, patience: usize) -> Self {
        Self { budget, taken: 0, patience, overtaken: None, aside: None }
    }

    /// Returns how much a goal may take that starts now, other than the one that memory is set aside for.
    pub(crate) fn left(&self) -> u64 {
        match &self.aside {
            // Whatever it takes: one alone may run.
            None if self.taken == 0 => u64::MAX,
            None => self.budget.saturating_sub(self.taken),
            Some(aside) => {
                let beside = self.budget.saturating_sub(aside.memory).saturating_sub(aside.beside_taken);
                beside.min(self.budget.saturating_sub(self.taken))
            }
        }
    }

    /// Returns the goal that memory is set aside for, if that is free now.
    pub(crate) fn favoured(&self) -> Option<GoalId> {
        let aside = self.aside.as_ref()?;
        let fits = self.taken == 0 || aside.memory <= self.budget.saturating_sub(self.taken);
        fits.then_some(aside.goal)
    }

    /// Takes note that a goal waits for memory while another one starts that takes some.
    pub(crate) fn overtake(&mut self, goal: GoalId, memory: u64) {
        if self.aside.is_some() {
            return;
        }
        let times = self.overtaken.map_or(0, |(_, times)| times) + 1;
        self.overtaken = Some((goal, times));
        if times >= self.patience {
            self.aside = Some(Aside { goal, memory, beside: BTreeMap::new(), beside_taken: 0 });
        }
    }

    /// Takes memory for a goal that starts.
    pub(crate) fn enter(&mut self, goal: GoalId, memory: u64) {
        self.forget(goal);
        self.taken = self.taken.saturating_add(memory);
        if let Some(aside) = self.aside.as_mut().filter(|_| memory > 0) {
            aside.beside.insert(goal, memory);
            aside.beside_taken += memory;
        }
    }

    /// Gives back the memory of a goal that ran.
    pub(crate) fn leave(&mut self, goal: GoalId, memory: u64) {
        self.taken -= memory;
        if let Some(aside) = &mut self.aside {
            aside.beside_taken -= aside.beside.remove(&goal).unwrap_or(0);
        }
    }

    /// Sets nothing aside any more for a goal that waits no longer.
    pub(crate) fn forget(&mut self, goal: GoalId) {
        if self.overtaken.is_some_and(|(overtaken, _)| overtaken == goal) {
            self.overtaken = None;
        }
        self.aside = self.aside.take().filter(|aside| aside.goal != goal);
    }
}
