//! One run: goals are handed out, and chance says what becomes of them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::fmt;

use anyhow::{Result, ensure};
use scheduler::{Demand, GoalId, Limits, Outcome, Policy, Schedule, Slot};

use super::chances::Chances;
use super::events::{Answer, Event, Record};
use super::laws::{Laws, Standing};
use super::odds::{Odds, which};
use super::world::World;

/// A run on its way.
pub(super) struct Simulation {
    schedule: Schedule,
    laws: Laws,
    chances: Chances,
    odds: &'static Odds,
    policy: Policy,
    /// How many goals there are from the start.
    first: usize,
    /// For goals that came late, a goal from the start which has all they may need below it.
    above: Vec<usize>,
    /// In milliseconds.
    now: u64,
    /// When which goal is heard of.
    news: BinaryHeap<Reverse<(u64, GoalId)>>,
    /// Goals that run and are to be cancelled.
    given_up: HashSet<GoalId>,
    totals: Totals,
    limits: Limits,
    record: Record,
}

/// What has happened.
#[derive(Clone, Copy, Default)]
pub(super) struct Totals {
    done: usize,
    failed: usize,
    cancelled: usize,
    lost: usize,
    put_off: usize,
    rebuilt: usize,
    late: usize,
    kept_free: usize,
}

impl fmt::Display for Totals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, failed, cancelled, lost, put_off, rebuilt, late, kept_free } = self;
        write!(
            formatter,
            "{late} more came late; {done} done, {failed} failed, {cancelled} cancelled; workers lost {lost}, \
             put off {put_off}, not available {rebuilt}, slots kept free {kept_free}"
        )
    }
}

impl Simulation {
    pub(super) fn new(world: &World, limits: Limits, policy: Policy, seed: u64, odds: &'static Odds) -> Self {
        let mut simulation = Self {
            schedule: Schedule::new(limits, policy),
            laws: Laws::new(&limits),
            chances: Chances::seeded(seed.wrapping_add(1)),
            odds,
            policy,
            first: world.len(),
            above: Vec::new(),
            now: 0,
            news: BinaryHeap::new(),
            given_up: HashSet::new(),
            totals: Totals::default(),
            limits,
            record: Record::default(),
        };
        for goal in 0..world.len() {
            simulation.add(world.inputs(goal), world.demands[goal]);
            if simulation.chances.happens(2_000) {
                simulation.happen(Event::Want(GoalId::from_index(goal)));
                simulation.laws.wanted(GoalId::from_index(goal));
            }
        }
        simulation
    }

    /// Runs everything to its end.
    pub(super) fn run(&mut self) -> Result<Totals> {
        loop {
            while let Answer::Goal(Some(goal)) = self.happen(Event::Take) {
                self.laws.started(goal)?;
                self.start(goal);
            }
            self.laws.idle()?;
            if self.schedule.is_finished() {
                break;
            }
            match self.news.pop() {
                Some(Reverse((time, goal))) => {
                    self.now = time;
                    self.hear(goal)?;
                    self.meddle()?;
                }
                None => {
                    ensure!(self.resume(), "nothing runs and nothing is put off, but something is left");
                }
            }
        }
        let count = self.laws.finished()?;
        let kept_free = self.laws.kept_free;
        let (done, failed, cancelled) =
            (count(Outcome::Done), count(Outcome::Failed), count(Outcome::Cancelled));
        Ok(Totals { done, failed, cancelled, late: self.above.len(), kept_free, ..self.totals })
    }

    /// Returns what has happened, and a schedule to which the same can happen.
    pub(super) fn into_record(self) -> (Record, Schedule) {
        (self.record, Schedule::new(self.limits, self.policy))
    }

    fn happen(&mut self, event: Event) -> Answer {
        self.record.happen(event, &mut self.schedule)
    }

    /// Has something happen, and returns what that cancels.
    fn cancels(&mut self, event: Event) -> Vec<GoalId> {
        match self.happen(event) {
            Answer::Cancelled(cancelled) => cancelled,
            _ => Vec::new(),
        }
    }

    fn add(&mut self, inputs: Vec<GoalId>, demand: Demand) -> GoalId {
        let goal = GoalId::from_index(self.laws.len());
        self.laws.added(&inputs, demand);
        self.happen(Event::Add(Box::new((inputs, demand))));
        goal
    }

    /// Decides when a goal is heard of that was handed out.
    fn start(&mut self, goal: GoalId) {
        let takes = match self.laws.demand(goal) {
            Demand { slot: Slot::None, .. } => 0,
            Demand { slot: Slot::Offer, .. } => 1,
            // Half as much as expected, or up to twice.
            Demand { millis, .. } => millis * (50 + self.chances.below(150) as u64) / 100 + 1,
        };
        self.news.push(Reverse((self.now + takes, goal)));
    }

    /// Decides what has become of a goal.
    fn hear(&mut self, goal: GoalId) -> Result<()> {
        let slot = self.laws.demand(goal).slot;
        let runs = self.laws.standing(goal) == Standing::Running;
        if self.given_up.remove(&goal) {
            return self.end(goal, Outcome::Cancelled);
        }
        let Odds { failed, lost, put_off, unavailable, keeps, .. } = *self.odds;
        match which(self.chances.below(100_000), &[failed, lost, put_off, unavailable, keeps]) {
            0 => return self.end(goal, Outcome::Failed),
            1 => {
                self.totals.lost += 1;
                self.happen(Event::GiveBack(goal));
                self.laws.came_back(goal);
            }
            2 if runs && slot != Slot::Substitution => {
                self.totals.put_off += 1;
                self.happen(Event::PutOff(goal));
                self.laws.put_off(goal);
            }
            3 if runs && matches!(slot, Slot::Substitution | Slot::Offer) => return self.rebuild(goal),
            _ if runs && slot == Slot::Offer => self.keep(goal, 1_000_000),
            4 if runs && slot == Slot::Build => self.keep(goal, 1_000),
            _ => return self.end(goal, Outcome::Done),
        }
        Ok(())
    }

    /// A goal goes on without a slot: what was built is being kept, or it is built elsewhere.
    fn keep(&mut self, goal: GoalId, at_most_millis: usize) {
        self.happen(Event::FreeSlot(goal));
        self.laws.keeps(goal);
        self.news.push(Reverse((self.now + 1 + self.chances.below(at_most_millis) as u64, goal)));
    }

    fn end(&mut self, goal: GoalId, outcome: Outcome) -> Result<()> {
        if outcome == Outcome::Failed && self.policy == Policy::StopAtFailure {
            self.laws.stopped();
        }
        let cancelled = self.cancels(Event::Finish(goal, outcome));
        self.laws.ended(goal, outcome, &cancelled)
    }

    /// What was to be fetched is not available, or an offer is declined. It is built, which may take more.
    fn rebuild(&mut self, goal: GoalId) -> Result<()> {
        self.totals.rebuilt += 1;
        let inputs: Vec<GoalId> =
            (0..self.chances.below(3)).map(|_| self.add_below(self.above(goal))).collect();
        let demand =
            Demand { millis: self.chances.millis(), memory: self.chances.memory(), ..Demand::default() };
        let cancelled = self.cancels(Event::Retry(goal, Box::new((inputs.clone(), demand))));
        self.laws.retried(goal, &inputs, demand, &cancelled)
    }

    /// Now and then, something else happens.
    fn meddle(&mut self) -> Result<()> {
        let Odds { found, added, given_up, resumed, .. } = *self.odds;
        match which(self.chances.below(100_000), &[found, added, given_up, resumed]) {
            0 => self.need_more()?,
            1 => {
                let above = 1 + self.chances.below(self.first);
                self.add_below(above);
            }
            2 => self.give_up()?,
            3 => drop(self.resume()),
            _ => {}
        }
        Ok(())
    }

    fn resume(&mut self) -> bool {
        self.laws.resumed();
        matches!(self.happen(Event::Resume), Answer::HadAny(true))
    }

    fn any_goal(&mut self) -> GoalId {
        GoalId::from_index(self.chances.below(self.laws.len()))
    }

    /// A goal that waits turns out to need more.
    fn need_more(&mut self) -> Result<()> {
        let user = self.any_goal();
        if self.laws.standing(user) != Standing::Waiting {
            return Ok(());
        }
        let input = self.add_below(self.above(user));
        let cancelled = self.cancels(Event::AlsoNeeds(user, input));
        self.laws.also_needs(user, &[input]);
        self.laws.cancelled(&cancelled, false)
    }

    /// Somebody does not want a goal any more.
    fn give_up(&mut self) -> Result<()> {
        let goal = self.any_goal();
        match self.laws.standing(goal) {
            Standing::Ended(_) => Ok(()),
            Standing::Running | Standing::Keeping => {
                self.given_up.insert(goal);
                Ok(())
            }
            Standing::Waiting | Standing::Ready | Standing::PutOff => {
                let cancelled = self.cancels(Event::Cancel(goal));
                self.laws.ended(goal, Outcome::Cancelled, &cancelled)
            }
        }
    }

    /// Returns a goal from the start, such that a goal needs at most those below it.
    fn above(&self, goal: GoalId) -> usize {
        goal.index().checked_sub(self.first).map_or(goal.index(), |late| self.above[late])
    }

    /// Adds a goal that needs none but goals from the start below that one.
    fn add_below(&mut self, above: usize) -> GoalId {
        let inputs = (0..self.chances.below(3)).filter(|_| above > 0);
        let near = 1 + above.min(50);
        let inputs: Vec<GoalId> = inputs
            .map(|_| GoalId::from_index(above.saturating_sub(1 + self.chances.below(near))))
            .filter(|input| input.index() < above)
            .collect();
        let slot = if self.chances.happens(2_000) { Slot::None } else { Slot::Build };
        let demand = Demand { slot, millis: self.chances.millis(), ..Demand::default() };
        self.above.push(above);
        self.add(inputs, demand)
    }
}
