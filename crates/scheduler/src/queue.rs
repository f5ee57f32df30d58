//! The goals that are ready, in the order in which they go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::goal::GoalId;

/// Where a goal stands in the queue: greater goes first.
///
/// The longest path through users decides when everything is done, so it goes first. Among equals, it is the one added
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    pub(crate) priority: i32,
    /// How long the goal takes together with the longest chain of users above it, in milliseconds.
    pub(crate) path: u64,
    pub(crate) goal: Reverse<GoalId>,
}

/// The goals that are ready.
///
/// An entry is not taken out when its goal changes; it is out of date then, and dropped when its turn comes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    /// By the memory that they take. It is rounded, so there are few of these heaps, however many goals there are.
    by_memory: BTreeMap<u64, BinaryHeap<Turn>>,
}

/// Who is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// Whose turn it is.
    pub(crate) first: Turn,
    /// The first one of those that fit.
    pub(crate) fitting: Option<Turn>,
}

impl Queue {
    pub(crate) fn push(&mut self, memory: u64, turn: Turn) {
        self.by_memory.entry(memory).or_default().push(turn);
    }

    /// Returns who is next, and who is if nobody may take more memory than `room`.
    pub(crate) fn next(&mut self, room: u64, is_current: impl Fn(&Turn) -> bool) -> Option<Next> {
        let (mut first, mut fitting) = (None, None);
        self.by_memory.retain(|&memory, heap| {
            while heap.peek().is_some_and(|turn| !is_current(turn)) {
                heap.pop();
            }
            let head = heap.peek().copied();
            first = first.max(head);
            if memory <= room {
                fitting = fitting.max(head);
            }
            head.is_some()
        });
        first.map(|first| Next { first, fitting })
    }
}
