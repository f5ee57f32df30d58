//! Makes a classic BPF program of rules: what the kernel runs before each system call.
//!
//! The number is found by halving the range that is left, so a call costs some ten instructions; where no argument
//! is looked at, the kernel works out once that the answer is always the same, and does not ask again. Installing
//! a program costs by its length, in every build: jumps share the instructions that they lead to.

use std::collections::HashMap;

use libc::sock_filter;

use super::rules::{Answer, Condition, Rule};

/// One architecture's calls, in the order of their numbers.
pub(super) struct Calls<'a> {
    /// What the kernel calls the architecture (`AUDIT_ARCH_*`).
    pub(super) audit: u32,
    pub(super) rules: Vec<(u32, &'a [Rule])>,
}

/// Where the kernel puts what a filter looks at (`struct seccomp_data`).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// Both supported kernels are little-endian: the low half of an argument comes first.
const ARGUMENTS: u32 = 16;

/// What happens to calls that no rule is about.
#[derive(Clone, Copy)]
pub(super) struct Otherwise {
    /// Those of a known architecture.
    pub(super) unknown: Answer,
    /// Those of any other one, as the kernel takes it.
    pub(super) strange: u32,
}

/// The program that answers the calls of these architectures.
pub(super) fn program(architectures: &[Calls<'_>], otherwise: Otherwise) -> Vec<sock_filter> {
    let mut code = Backwards { instructions: Vec::new(), ends: HashMap::new(), unknown: otherwise.unknown };
    let mut other = code.give(otherwise.strange);
    for calls in architectures.iter().rev() {
        code.search(&intervals(&calls.rules));
        let known = code.statement(load(NUMBER));
        other = code.branch(libc::BPF_JEQ, calls.audit, known, other);
    }
    code.statement(load(ARCHITECTURE));
    code.instructions.reverse();
    code.instructions
}

/// Cuts the numbers from 0 on into ranges with the same rules: where each begins, and what they are.
fn intervals<'a>(rules: &[(u32, &'a [Rule])]) -> Vec<(u32, &'a [Rule])> {
    let mut intervals: Vec<(u32, &[Rule])> = Vec::new();
    let mut add = |start, rules: &'a [Rule]| {
        if intervals.last().is_none_or(|(_, last)| *last != rules) {
            intervals.push((start, rules));
        }
    };
    let mut next = 0;
    for (number, rules) in rules {
        if *number > next {
            add(next, &[]);
        }
        add(*number, rules);
        next = number + 1;
    }
    add(next, &[]);
    intervals
}

/// A program from its end on: jumps lead forwards only, so what they lead to is made first.
struct Backwards {
    instructions: Vec<sock_filter>,
    /// The foremost instruction that ends the program with a value.
    ends: HashMap<u32, Place>,
    /// What a call gets that no rule is about.
    unknown: Answer,
}

/// An instruction, by how many stand behind it.
type Place = usize;

/// How far a branch leads.
const REACH: usize = u8::MAX as usize;

impl Backwards {
    fn statement(&mut self, statement: sock_filter) -> Place {
        self.instructions.push(statement);
        self.instructions.len() - 1
    }

    /// The instruction that ends the program with `value`, which may stand there already.
    fn give(&mut self, value: u32) -> Place {
        match self.ends.get(&value) {
            Some(place) if self.reaches(*place) => *place,
            _ => {
                let place = self.statement(plain(libc::BPF_RET | libc::BPF_K, value));
                self.ends.insert(value, place);
                place
            }
        }
    }

    fn answer(&mut self, answer: Answer) -> Place {
        self.give(match answer {
            Answer::Allow => libc::SECCOMP_RET_ALLOW,
            Answer::Error(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
            Answer::Notify => libc::SECCOMP_RET_USER_NOTIF,
        })
    }

    /// Whether a branch leads there, also when its other way needs a stepping stone.
    fn reaches(&self, place: Place) -> bool {
        self.instructions.len() + 1 - place <= REACH
    }

    /// `place`, or a stepping stone to it where a branch would not reach it.
    fn near(&mut self, place: Place) -> Place {
        if self.reaches(place) {
            return place;
        }
        let target = self.instructions[place];
        if target.code == (libc::BPF_RET | libc::BPF_K) as u16 {
            return self.give(target.k);
        }
        let distance = self.instructions.len() - place - 1;
        self.statement(plain(libc::BPF_JMP | libc::BPF_JA, distance as u32))
    }

    /// Compares what is loaded with `value`.
    fn branch(&mut self, test: u32, value: u32, yes: Place, no: Place) -> Place {
        let (yes, no) = (self.near(yes), self.near(no));
        let distance = |place: Place| (self.instructions.len() - place - 1) as u8;
        let code = (libc::BPF_JMP | test | libc::BPF_K) as u16;
        let branch = sock_filter { code, jt: distance(yes), jf: distance(no), k: value };
        self.statement(branch)
    }

    /// The code that finds the range of the loaded number.
    fn search(&mut self, intervals: &[(u32, &[Rule])]) -> Place {
        if let [(_, rules)] = intervals {
            return self.decide(rules);
        }
        let (low, high) = intervals.split_at(intervals.len() / 2);
        let above = self.search(high);
        let below = self.search(low);
        self.branch(libc::BPF_JGE, high[0].0, above, below)
    }

    /// The code that answers by the arguments.
    fn decide(&mut self, rules: &[Rule]) -> Place {
        let mut otherwise = self.answer(self.unknown);
        for rule in rules.iter().rev() {
            let mut met = self.answer(rule.answer);
            for condition in rule.conditions.iter().rev() {
                met = self.test(condition, met, otherwise);
            }
            otherwise = met;
        }
        otherwise
    }

    fn test(&mut self, condition: &Condition, met: Place, otherwise: Place) -> Place {
        let (yes, no) = if condition.equal { (met, otherwise) } else { (otherwise, met) };
        self.branch(libc::BPF_JEQ, condition.value, yes, no);
        if condition.mask != u32::MAX {
            self.statement(plain(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, condition.mask));
        }
        self.statement(load(ARGUMENTS + 8 * u32::from(condition.argument)))
    }
}

fn load(offset: u32) -> sock_filter {
    plain(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn plain(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}
