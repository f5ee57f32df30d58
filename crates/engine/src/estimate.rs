//! What past builds say of a plan: how long it takes, and what each of its goals takes.

use std::num::NonZeroUsize;
use std::time::Duration;

use local_store::LocalStore;
use scheduler::{Demand, Slot};
use store_path::{Expected, StorePath};

use crate::order::Task;
use crate::plan::Plan;

/// How long a path is expected to be on its way: less than a build, of which nobody knows either.
const FETCH_MILLIS: u64 = 1000;

/// What is to be expected of the goals of a plan, as far as anything like them was built here.
#[derive(Debug, Default)]
pub(crate) struct Expectations {
    /// By place in the plan.
    list: Vec<Option<Expected>>,
    /// How long builds take of which nothing is known: as long as the others.
    usual: Option<Duration>,
}

impl Expectations {
    fn millis(&self, place: usize) -> Option<u64> {
        let wall_time = self.list[place].map(|expected| expected.wall_time).or(self.usual)?;
        Some(u64::try_from(wall_time.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Plan {
    /// Returns what is to be expected of each of [`Plan::tasks`], as far as anything like it was built here.
    pub fn expected(&self) -> &[Option<Expected>] {
        &self.expectations.list
    }

    /// Returns the plan for so many builds at the same time; without, there is one.
    pub fn in_slots(mut self, slots: NonZeroUsize) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Returns the plan in which so many of what is wanted, and what they need, go before everything else.
    pub(crate) fn with_first(mut self, count: usize) -> Self {
        let tops = self.wanted.iter().take(count).filter_map(|wanted| self.top(wanted));
        self.first = tops.filter_map(|top| self.goals.place(&top)).collect();
        self
    }

    /// Returns how long it will take at least, if builds go as they did before: as long as the longest chain of them, or as
    /// all of them shared out. None if nothing is known of any.
    ///
    /// Of which nothing is known takes as long as the others do on average.
    pub fn estimate(&self) -> Option<Duration> {
        self.expectations.usual?;
        let (mut chains, mut longest, mut all) = (Vec::with_capacity(self.goals.list.len()), 0, 0_u64);
        for (place, goal) in self.goals.list.iter().enumerate() {
            let own = self.millis(place);
            let before = goal.inputs.iter().map(|input| chains[*input]).max().unwrap_or(0);
            let chain: u64 = own.saturating_add(before);
            chains.push(chain);
            longest = longest.max(chain);
            all = all.saturating_add(own);
        }
        let slots = self.slots.map_or(1, |slots| u64::try_from(slots.get()).unwrap_or(u64::MAX));
        Some(Duration::from_millis(longest.max(all.div_ceil(slots))))
    }

    /// Looks up what is to be expected of goals that were not looked up before.
    ///
    /// What cannot be read is not known: the builds themselves will tell what is wrong with the database.
    pub(crate) fn expect(&mut self, store: &LocalStore) {
        let known = self.expectations.list.len();
        let new = &self.goals.list[known..];
        let drvs: Vec<&StorePath> = new.iter().filter_map(|goal| goal.task.builds()).collect();
        let found = store.expected(&drvs).unwrap_or_else(|_| vec![None; drvs.len()]);
        let mut found = found.into_iter();
        let list =
            new.iter().map(|goal| goal.task.builds().is_some().then(|| found.next().flatten()).flatten());
        self.expectations.list.extend(list);
        let times = || self.expectations.list.iter().flatten().map(|expected| expected.wall_time);
        let count = u32::try_from(times().count()).unwrap_or(u32::MAX);
        self.expectations.usual = times().sum::<Duration>().checked_div(count);
    }

    /// Returns what the schedule has to know of a goal.
    pub(crate) fn demand(&self, place: usize) -> Demand {
        let usual = Demand { priority: i32::from(self.first.contains(&place)), ..Demand::default() };
        let memory = self.expectations.list[place].map_or(0, |expected| expected.peak_memory_bytes);
        match self.expectations.usual {
            _ if matches!(self.goals.list[place].task, Task::Fetch(_)) => {
                Demand { slot: Slot::Substitution, millis: FETCH_MILLIS, ..usual }
            }
            // Over as soon as it is handed out.
            _ if !self.is_build(place) => Demand { slot: Slot::None, millis: 0, ..usual },
            Some(_) => Demand { millis: self.millis(place), memory, ..usual },
            None => usual,
        }
    }

    fn millis(&self, place: usize) -> u64 {
        if self.is_build(place) { self.expectations.millis(place).unwrap_or(0) } else { 0 }
    }

    fn is_build(&self, place: usize) -> bool {
        let builds = self.goals.list[place].task.builds();
        builds.is_some_and(|drv| !self.graph.is_fetched(drv))
    }
}
