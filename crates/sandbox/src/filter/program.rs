//! Makes a classic BPF program of rules: what the kernel runs before each system call.
//!
//! The number is found by halving the range that is left, so a call costs some ten instructions; where no argument
//! is looked at, the kernel works out once that the answer is always the same, and does not ask again.

use libc::sock_filter;

use super::rules::{Answer, Rule, UNKNOWN};

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

/// The program that answers the calls of these architectures and kills whatever makes any other.
pub(super) fn program(architectures: &[Calls<'_>]) -> Vec<sock_filter> {
    let mut program = vec![load(ARCHITECTURE)];
    for calls in architectures {
        let mut block = vec![load(NUMBER)];
        block.extend(search(&intervals(&calls.rules)));
        program.extend(unless(libc::BPF_JEQ, calls.audit, block.len()));
        program.append(&mut block);
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS));
    program
}

/// Cuts the numbers from 0 on into ranges with one answer each: where it begins, and the code for it.
fn intervals(rules: &[(u32, &[Rule])]) -> Vec<(u32, Vec<sock_filter>)> {
    let mut intervals: Vec<(u32, Vec<sock_filter>)> = Vec::new();
    let mut add = |start, code: Vec<sock_filter>| {
        if !intervals.last().is_some_and(|(_, last)| same(last, &code)) {
            intervals.push((start, code));
        }
    };
    let mut next = 0;
    for (number, rules) in rules {
        if *number > next {
            add(next, vec![give(UNKNOWN)]);
        }
        add(*number, decide(rules));
        next = number + 1;
    }
    add(next, vec![give(UNKNOWN)]);
    intervals
}

fn same(one: &[sock_filter], other: &[sock_filter]) -> bool {
    let fields = |code: &sock_filter| (code.code, code.jt, code.jf, code.k);
    one.iter().map(fields).eq(other.iter().map(fields))
}

/// The code that finds the range of the loaded number.
fn search(intervals: &[(u32, Vec<sock_filter>)]) -> Vec<sock_filter> {
    if let [(_, code)] = intervals {
        return code.clone();
    }
    let (low, high) = intervals.split_at(intervals.len() / 2);
    let low = search(low);
    let mut code = if_below(high[0].0, low.len());
    code.extend(low);
    code.extend(search(high));
    code
}

/// The code that answers by the arguments. Rules after one without conditions are never reached.
fn decide(rules: &[Rule]) -> Vec<sock_filter> {
    let mut code = Vec::new();
    for rule in rules {
        let mut tests: Vec<sock_filter> = Vec::new();
        for condition in rule.conditions.iter().rev() {
            let length = tests.len() as u8 + 1;
            // What is left of this rule after the test: the other tests and the answer.
            let (jt, jf) = if condition.equal { (0, length) } else { (length, 0) };
            tests.insert(0, sock_filter { code: jump(libc::BPF_JEQ), jt, jf, k: condition.value });
            if condition.mask != u32::MAX {
                tests.insert(0, statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, condition.mask));
            }
            tests.insert(0, load(ARGUMENTS + 8 * u32::from(condition.argument)));
        }
        code.extend(tests);
        code.push(give(rule.answer));
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.push(give(UNKNOWN));
    code
}

fn give(answer: Answer) -> sock_filter {
    let value = match answer {
        Answer::Allow => libc::SECCOMP_RET_ALLOW,
        Answer::Error(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
    };
    statement(libc::BPF_RET | libc::BPF_K, value)
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

/// Goes on with the next `length` instructions if the loaded value meets the test, else jumps over them.
fn unless(test: u32, value: u32, length: usize) -> Vec<sock_filter> {
    match u8::try_from(length) {
        Ok(jf) => vec![sock_filter { code: jump(test), jt: 0, jf, k: value }],
        // Only the unconditional jump reaches that far.
        Err(_) => vec![sock_filter { code: jump(test), jt: 1, jf: 0, k: value }, far(length)],
    }
}

/// Goes on with the next `length` instructions if the loaded value is below `value`, else jumps over them.
fn if_below(value: u32, length: usize) -> Vec<sock_filter> {
    match u8::try_from(length) {
        Ok(jt) => vec![sock_filter { code: jump(libc::BPF_JGE), jt, jf: 0, k: value }],
        Err(_) => vec![sock_filter { code: jump(libc::BPF_JGE), jt: 0, jf: 1, k: value }, far(length)],
    }
}

fn far(length: usize) -> sock_filter {
    statement(libc::BPF_JMP | libc::BPF_JA, length as u32)
}

fn jump(test: u32) -> u16 {
    (libc::BPF_JMP | test | libc::BPF_K) as u16
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}
