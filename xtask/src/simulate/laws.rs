//! What has to hold for every run, by a simple book-keeping of its own.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use scheduler::{Demand, GoalId, Limits, Outcome, Slot};

/// Where a goal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting,
    Ready,
    PutOff,
    Running,
    Keeping,
    Ended(Outcome),
}

/// What is known of a goal.
struct Known {
    standing: Standing,
    is_wanted: bool,
    demand: Demand,
    /// How many inputs are not done.
    missing: usize,
    inputs: Vec<u32>,
    users: Vec<u32>,
}

/// One kind of slot.
#[derive(Default)]
struct Lane {
    slots: usize,
    running: usize,
    /// Goals that are ready, by the memory they take.
    ready: BTreeMap<u64, usize>,
}

/// What is known of the run.
pub(super) struct Laws {
    goals: Vec<Known>,
    builds: Lane,
    substitutions: Lane,
    offers: Lane,
    budget: u64,
    taken: u64,
    put_off: Vec<u32>,
    /// Nothing may start any more.
    is_stopped: bool,
    /// How often a slot stayed free that a goal could have had, so that a bigger one has its turn.
    pub(super) kept_free: usize,
}

impl Laws {
    pub(super) fn new(limits: &Limits) -> Self {
        let lane = |slots: NonZeroUsize| Lane { slots: slots.get(), ..Lane::default() };
        Self {
            goals: Vec::new(),
            builds: lane(limits.builds),
            substitutions: lane(limits.substitutions),
            offers: lane(NonZeroUsize::MIN),
            budget: limits.memory.unwrap_or(u64::MAX),
            taken: 0,
            put_off: Vec::new(),
            is_stopped: false,
            kept_free: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.goals.len()
    }

    pub(super) fn standing(&self, goal: GoalId) -> Standing {
        self.goals[goal.index()].standing
    }

    pub(super) fn demand(&self, goal: GoalId) -> Demand {
        self.goals[goal.index()].demand
    }

    pub(super) fn wanted(&mut self, goal: GoalId) {
        self.goals[goal.index()].is_wanted = true;
    }

    pub(super) fn added(&mut self, inputs: &[GoalId], demand: Demand) {
        let goal = self.goals.len();
        let inputs = numbers(inputs);
        let is_lost = inputs.iter().any(|input| self.is_lost(*input));
        let standing = if is_lost { Standing::Ended(Outcome::Cancelled) } else { Standing::Waiting };
        let (is_wanted, missing, known, users) = (false, 0, Vec::new(), Vec::new());
        self.goals.push(Known { standing, is_wanted, demand, missing, inputs: known, users });
        self.needs(goal, inputs);
        self.settle(goal);
    }

    /// Takes note of inputs that turned out late.
    pub(super) fn also_needs(&mut self, goal: GoalId, inputs: &[GoalId]) {
        self.needs(goal.index(), numbers(inputs));
    }

    fn needs(&mut self, goal: usize, inputs: Vec<u32>) {
        for &input in &inputs {
            let user = u32::try_from(goal).expect("there are fewer than four billion goals");
            let input = &mut self.goals[input as usize];
            if input.standing != Standing::Ended(Outcome::Done) {
                input.users.push(user);
                self.goals[goal].missing += 1;
            }
        }
        let known = &mut self.goals[goal].inputs;
        if known.is_empty() {
            *known = inputs;
        } else {
            known.extend(inputs);
        }
    }

    /// Makes a goal ready that has nothing to wait for.
    fn settle(&mut self, goal: usize) {
        let known = &mut self.goals[goal];
        if known.standing == Standing::Waiting && known.missing == 0 {
            known.standing = Standing::Ready;
            let Demand { slot, memory, .. } = known.demand;
            if let Some(lane) = self.lane(slot) {
                *lane.ready.entry(memory).or_default() += 1;
            }
        }
    }

    fn lane(&mut self, slot: Slot) -> Option<&mut Lane> {
        match slot {
            Slot::None => None,
            Slot::Substitution => Some(&mut self.substitutions),
            Slot::Offer => Some(&mut self.offers),
            Slot::Build => Some(&mut self.builds),
        }
    }

    fn is_lost(&self, goal: u32) -> bool {
        let standing = self.goals[goal as usize].standing;
        matches!(standing, Standing::Ended(Outcome::Failed | Outcome::Cancelled))
    }

    /// Moves a goal on from where it was.
    fn leave(&mut self, goal: usize, next: Standing) {
        let Known { standing, demand: Demand { slot, memory, .. }, .. } = self.goals[goal];
        if let Some(lane) = self.lane(slot) {
            match standing {
                Standing::Running => lane.running -= 1,
                Standing::Ready => {
                    let same = lane.ready.get_mut(&memory).expect("it was counted when it became ready");
                    *same -= 1;
                    if *same == 0 {
                        lane.ready.remove(&memory);
                    }
                }
                _ => {}
            }
        }
        if standing == Standing::Running {
            self.taken -= memory;
        }
        self.goals[goal].standing = next;
    }

    /// Something has failed, and that ends it all.
    pub(super) fn stopped(&mut self) {
        self.is_stopped = true;
    }

    /// A goal was handed out.
    pub(super) fn started(&mut self, goal: GoalId) -> Result<()> {
        let known = &self.goals[goal.index()];
        let standing = known.standing;
        ensure!(!self.is_stopped, "goal {} starts after the end", goal.index());
        ensure!(standing == Standing::Ready, "goal {} starts and is {standing:?}", goal.index());
        let undone = known
            .inputs
            .iter()
            .find(|input| self.goals[**input as usize].standing != Standing::Ended(Outcome::Done));
        ensure!(undone.is_none(), "goal {} starts before its input {undone:?}", goal.index());
        let Demand { slot, memory, .. } = known.demand;
        self.leave(goal.index(), Standing::Running);
        if let Some(lane) = self.lane(slot) {
            lane.running += 1;
            ensure!(lane.running <= lane.slots, "goal {} starts without a slot", goal.index());
        }
        let is_alone = self.taken == 0;
        self.taken += memory;
        let fits = memory == 0 || is_alone || self.taken <= self.budget;
        ensure!(fits, "goal {} starts and does not fit", goal.index());
        Ok(())
    }

    /// Nothing more was handed out.
    pub(super) fn idle(&mut self) -> Result<()> {
        let left = if self.taken == 0 { u64::MAX } else { self.budget.saturating_sub(self.taken) };
        for lane in [&self.builds, &self.substitutions, &self.offers] {
            let (Some((least, _)), Some((most, _))) =
                (lane.ready.first_key_value(), lane.ready.last_key_value())
            else {
                continue;
            };
            if !self.is_stopped && lane.running < lane.slots && *least <= left {
                ensure!(
                    *least > 0 && *most > left,
                    "a slot stays free, and a goal of {least} bytes would fit"
                );
                self.kept_free += 1;
            }
        }
        Ok(())
    }

    /// The builder has ended, and what it made is being kept.
    pub(super) fn keeps(&mut self, goal: GoalId) {
        self.leave(goal.index(), Standing::Keeping);
    }

    /// A goal came back, and is to be handed out again.
    pub(super) fn came_back(&mut self, goal: GoalId) {
        self.leave(goal.index(), Standing::Waiting);
        self.settle(goal.index());
    }

    pub(super) fn put_off(&mut self, goal: GoalId) {
        self.leave(goal.index(), Standing::PutOff);
        self.put_off.extend(numbers(&[goal]));
    }

    pub(super) fn resumed(&mut self) {
        for goal in std::mem::take(&mut self.put_off) {
            let known = &mut self.goals[goal as usize];
            if known.standing == Standing::PutOff {
                known.standing = Standing::Waiting;
                self.settle(goal as usize);
            }
        }
    }

    /// A goal came back, to be done in another way.
    pub(super) fn retried(
        &mut self,
        goal: GoalId,
        inputs: &[GoalId],
        demand: Demand,
        cancelled: &[GoalId],
    ) -> Result<()> {
        self.leave(goal.index(), Standing::Waiting);
        let known = &mut self.goals[goal.index()];
        known.demand = demand;
        self.also_needs(goal, inputs);
        if cancelled.is_empty() {
            self.settle(goal.index());
        }
        self.cancelled(cancelled, false)
    }

    /// A goal is over.
    pub(super) fn ended(&mut self, goal: GoalId, outcome: Outcome, cancelled: &[GoalId]) -> Result<()> {
        self.leave(goal.index(), Standing::Ended(outcome));
        let on_purpose = outcome == Outcome::Cancelled;
        if outcome == Outcome::Done {
            for user in std::mem::take(&mut self.goals[goal.index()].users) {
                self.goals[user as usize].missing -= 1;
                self.settle(user as usize);
            }
        }
        self.cancelled(cancelled, on_purpose)?;
        let futile = [goal].into_iter().chain(cancelled.iter().copied()).filter(|_| on_purpose);
        for input in futile.flat_map(|goal| &self.goals[goal.index()].inputs) {
            let left =
                is_untouched(self.goals[*input as usize].standing) && self.is_unwanted(*input as usize);
            ensure!(!left, "goal {input} is still to run, and nobody wants it any more");
        }
        Ok(())
    }

    /// Goals were cancelled, which needs a reason: an input that is lost; or, if somebody was given up on purpose, that nobody
    /// wants them any more.
    pub(super) fn cancelled(&mut self, cancelled: &[GoalId], on_purpose: bool) -> Result<()> {
        for goal in cancelled {
            let standing = self.standing(*goal);
            ensure!(is_untouched(standing), "goal {} is cancelled and was {standing:?}", goal.index());
            self.leave(goal.index(), Standing::Ended(Outcome::Cancelled));
        }
        for goal in cancelled {
            let lacks = self.goals[goal.index()].inputs.iter().any(|input| self.is_lost(*input));
            let has_reason = lacks || on_purpose && self.is_unwanted(goal.index());
            ensure!(has_reason, "goal {} is cancelled for no reason", goal.index());
        }
        Ok(())
    }

    /// Whether all that needed it is lost.
    fn is_unwanted(&self, goal: usize) -> bool {
        let Known { is_wanted, users, .. } = &self.goals[goal];
        !is_wanted && !users.is_empty() && users.iter().all(|user| self.is_lost(*user))
    }

    /// Everything is over. Returns how many goals ended in that way.
    pub(super) fn finished(&self) -> Result<impl Fn(Outcome) -> usize> {
        let has_ended = |known: &Known| match known.standing {
            Standing::Ended(_) => true,
            standing => self.is_stopped && !matches!(standing, Standing::Running | Standing::Keeping),
        };
        let left = self.goals.iter().position(|known| !has_ended(known));
        ensure!(left.is_none(), "all is said to be over, but goal {left:?} has not ended");
        Ok(|outcome| self.goals.iter().filter(|known| known.standing == Standing::Ended(outcome)).count())
    }
}

/// Whether it has not begun, or not anew.
fn is_untouched(standing: Standing) -> bool {
    matches!(standing, Standing::Waiting | Standing::Ready | Standing::PutOff)
}

fn numbers(goals: &[GoalId]) -> Vec<u32> {
    goals.iter().map(|goal| u32::try_from(goal.index()).expect("there are fewer than four billion")).collect()
}
