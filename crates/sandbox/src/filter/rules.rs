//! Reads the two data files: which calls are answered how, and what their numbers are.

use std::collections::HashMap;

use crate::plan::Filter;

const RULES: &str = include_str!("rules.txt");
const OBSERVED: &str = include_str!("observed.txt");
const SYSCALLS: &str = include_str!("syscalls.txt");

/// Columns of `syscalls.txt`, which are architectures.
pub(super) const COLUMNS: usize = 4;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The kernel decides.
    Allow,
    /// It fails with this error.
    Error(u16),
    /// It waits until an observer has heard of it.
    Notify,
}

/// What a call gets that no rule lets through.
pub(super) const UNKNOWN: Answer = Answer::Error(libc::ENOSYS as u16);

/// Holds when the low 32 bits of an argument, and those of `mask` only, are (or are not) `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) mask: u32,
    pub(super) equal: bool,
    pub(super) value: u32,
}

/// An answer for calls whose arguments meet every condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) answer: Answer,
}

/// A line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine(pub(super) String);

/// The rules of each call by its name: the first that holds is its answer.
pub(super) type Rules<'a> = HashMap<&'a str, Vec<Rule>>;

/// The rules that `filter` asks for.
pub(super) fn rules(filter: Filter) -> Result<Rules<'static>, BadLine> {
    read_rules(RULES, filter)
}

/// Which calls an observer hears of.
pub(super) fn observed() -> Result<Rules<'static>, BadLine> {
    read_rules(OBSERVED, Filter { nested_user_namespaces: false, socketcall: false })
}

pub(super) fn read_rules(text: &str, filter: Filter) -> Result<Rules<'_>, BadLine> {
    let mut rules = Rules::new();
    let mut values = HashMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let bad = || BadLine(line.to_owned());
        if let Some(definition) = line.strip_prefix("let ") {
            let (name, value) = definition.split_once(" = ").ok_or_else(bad)?;
            values.insert(name, number(value).ok_or_else(bad)?);
            continue;
        }
        let (calls, conditions) = line.split_once(" if ").unwrap_or((line, ""));
        let mut words = calls.split_whitespace();
        let answer = words.next().and_then(answer).ok_or_else(bad)?;
        let Some(conditions) = read_conditions(conditions, filter, &values).ok_or_else(bad)? else {
            continue;
        };
        for call in words {
            rules.entry(call).or_default().push(Rule { conditions: conditions.clone(), answer });
        }
    }
    Ok(rules)
}

fn answer(word: &str) -> Option<Answer> {
    let errno = match word {
        "allow" => return Some(Answer::Allow),
        "notify" => return Some(Answer::Notify),
        "EPERM" => libc::EPERM,
        "EINVAL" => libc::EINVAL,
        "ENOSYS" => libc::ENOSYS,
        "EOPNOTSUPP" => libc::EOPNOTSUPP,
        "EPROTONOSUPPORT" => libc::EPROTONOSUPPORT,
        "EAFNOSUPPORT" => libc::EAFNOSUPPORT,
        _ => return None,
    };
    Some(Answer::Error(errno as u16))
}

/// The conditions about arguments; within, `None` if the plan does not meet one of the others.
#[expect(clippy::option_option, reason = "unreadable and not met are different things")]
fn read_conditions(
    text: &str,
    filter: Filter,
    values: &HashMap<&str, u32>,
) -> Option<Option<Vec<Condition>>> {
    let mut conditions = Vec::new();
    for condition in text.split(", ").map(str::trim).filter(|condition| !condition.is_empty()) {
        match condition {
            "nested" if filter.nested_user_namespaces => {}
            "32-bit" if filter.socketcall => {}
            "nested" | "32-bit" => return Some(None),
            _ => conditions.push(read_condition(condition, values)?),
        }
    }
    Some(Some(conditions))
}

fn read_condition(text: &str, values: &HashMap<&str, u32>) -> Option<Condition> {
    let value = |word: &str| values.get(word).copied().or_else(|| number(word));
    let (left, wanted) = match text.split_once(" = ") {
        Some((left, right)) => (left, Some(value(right)?)),
        None => (text, None),
    };
    let (argument, mask) = match left.split_once(" & ") {
        Some((argument, mask)) => (argument, value(mask)?),
        None => (left, u32::MAX),
    };
    let argument = argument.strip_prefix("arg")?.parse().ok().filter(|argument| *argument < 6)?;
    Some(Condition { argument, mask, equal: wanted.is_some(), value: wanted.unwrap_or(0) })
}

fn number(text: &str) -> Option<u32> {
    let digits = |prefix, radix| Some(u32::from_str_radix(text.strip_prefix(prefix)?, radix).ok());
    digits("0o", 8).or_else(|| digits("0x", 16)).unwrap_or_else(|| text.parse().ok())
}

/// The numbers of one call.
type Numbers = [Option<u32>; COLUMNS];

/// Every known call, with its number on each architecture that has it.
pub(super) fn syscalls() -> Result<Vec<(&'static str, Numbers)>, BadLine> {
    let lines = SYSCALLS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| read_syscall(line).ok_or_else(|| BadLine(line.to_owned()))).collect()
}

fn read_syscall(line: &str) -> Option<(&str, Numbers)> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let mut numbers = [None; COLUMNS];
    for number in &mut numbers {
        *number = match words.next()? {
            "-" => None,
            digits => Some(digits.parse().ok()?),
        };
    }
    words.next().is_none().then_some((name, numbers))
}
