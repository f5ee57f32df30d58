//! What a schedule is told and asked, kept so that it can be told and asked the same once more.

use std::hash::{DefaultHasher, Hash, Hasher};

use scheduler::{Demand, GoalId, Outcome, Schedule};

/// Something that a schedule is told or asked.
pub(super) enum Event {
    Add(Box<(Vec<GoalId>, Demand)>),
    Want(GoalId),
    AlsoNeeds(GoalId, GoalId),
    Take,
    FreeSlot(GoalId),
    GiveBack(GoalId),
    PutOff(GoalId),
    Resume,
    Retry(GoalId, Box<(Vec<GoalId>, Demand)>),
    Finish(GoalId, Outcome),
    Cancel(GoalId),
}

/// What it answers: the goal it hands out or has added, the goals it has cancelled, or whether it had put any off.
#[derive(Hash)]
pub(super) enum Answer {
    Goal(Option<GoalId>),
    Cancelled(Vec<GoalId>),
    HadAny(bool),
    Nothing,
}

impl Event {
    /// Tells or asks a schedule.
    pub(super) fn happen(&self, schedule: &mut Schedule) -> Answer {
        match self {
            Self::Add(goal) => Answer::Goal(Some(schedule.add(&goal.0, goal.1))),
            Self::AlsoNeeds(goal, input) => Answer::Cancelled(schedule.also_needs(*goal, &[*input])),
            Self::Take => Answer::Goal(schedule.take()),
            Self::Resume => Answer::HadAny(schedule.resume(|_| true)),
            Self::Retry(goal, retry) => Answer::Cancelled(schedule.retry(*goal, &retry.0, retry.1)),
            Self::Finish(goal, outcome) => Answer::Cancelled(schedule.finish(*goal, *outcome)),
            Self::Cancel(goal) => Answer::Cancelled(schedule.cancel(*goal)),
            _ => {
                self.tell(schedule);
                Answer::Nothing
            }
        }
    }

    /// Tells a schedule what it has no answer to.
    fn tell(&self, schedule: &mut Schedule) {
        match self {
            Self::Want(goal) => schedule.want(*goal),
            Self::FreeSlot(goal) => schedule.free_slot(*goal),
            Self::GiveBack(goal) => schedule.give_back(*goal),
            Self::PutOff(goal) => schedule.put_off(*goal),
            _ => unreachable!("the others are questions"),
        }
    }
}

/// All that has happened to a schedule, and what it answered.
#[derive(Default)]
pub(super) struct Record {
    events: Vec<Event>,
    answers: DefaultHasher,
}

impl Record {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Has something happen.
    pub(super) fn happen(&mut self, event: Event, schedule: &mut Schedule) -> Answer {
        let answer = event.happen(schedule);
        answer.hash(&mut self.answers);
        self.events.push(event);
        answer
    }

    /// Has the same happen to another schedule, and returns whether that gives the same answers.
    pub(super) fn repeat(&self, schedule: &mut Schedule) -> bool {
        let mut answers = DefaultHasher::new();
        self.events.iter().for_each(|event| event.happen(schedule).hash(&mut answers));
        answers.finish() == self.answers.finish()
    }
}
