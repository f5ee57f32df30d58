//! The goals that are ready, in the order in which they go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

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
    /// The head of each heap, with the memory that it takes.
    heads: BTreeSet<(Turn, u64)>,
}

/// Who is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// Whose turn it is.
    pub(crate) first: Turn,
    /// The first one of those that fit, which is in the queue no more.
    pub(crate) fitting: Option<Turn>,
}

impl Queue {
    pub(crate) fn push(&mut self, memory: u64, turn: Turn) {
        let heap = self.by_memory.entry(memory).or_default();
        let head = heap.peek().copied();
        heap.push(turn);
        if head.is_none_or(|head| head < turn) {
            if let Some(head) = head {
                self.heads.remove(&(head, memory));
            }
            self.heads.insert((turn, memory));
        }
    }

    /// Returns who is next, and takes out who is if nobody may take more memory than `room`.
    pub(crate) fn next(&mut self, room: u64, is_current: impl Fn(&Turn) -> bool) -> Option<Next> {
        let mut first = None;
        loop {
            let mut heads = self.heads.iter().rev().copied();
            let Some((turn, memory)) = heads.find(|(_, memory)| first.is_none() || *memory <= room) else {
                return first.map(|first| Next { first, fitting: None });
            };
            if memory > room && is_current(&turn) {
                first = Some(turn);
                continue;
            }
            self.pop(memory);
            if is_current(&turn) {
                return Some(Next { first: first.unwrap_or(turn), fitting: Some(turn) });
            }
        }
    }

    /// Takes out the head of a heap.
    fn pop(&mut self, memory: u64) {
        let Some(heap) = self.by_memory.get_mut(&memory) else { return };
        if let Some(head) = heap.pop() {
            self.heads.remove(&(head, memory));
        }
        if let Some(&next) = heap.peek() {
            self.heads.insert((next, memory));
        } else {
            self.by_memory.remove(&memory);
        }
    }
}
