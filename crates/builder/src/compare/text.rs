//! Why lines and words differ.

use std::collections::{BTreeSet, HashMap};

use super::{Cause, Clues, chance, or_unclassified, time};

/// As many pairs of lines are looked at.
const MOST_PAIRS: usize = 256;

/// Returns why some lines differ from others: the same in another order, or each for a reason of its own.
pub(super) fn lines(before: &[u8], now: &[u8], clues: &Clues) -> BTreeSet<Cause> {
    let split = |text: &'_ [u8]| text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (before, now) = (split(before), split(now));
    let (gone, new) = (without(&before, &now), without(&now, &before));
    if gone.is_empty() && new.is_empty() {
        return BTreeSet::from([Cause::Order]);
    }
    let mut causes: BTreeSet<Cause> =
        gone.iter().zip(&new).take(MOST_PAIRS).flat_map(|(gone, new)| line(gone, new, clues)).collect();
    if gone.len() != new.len() {
        causes.insert(Cause::Unclassified);
    }
    causes
}

/// The lines that are not among others, each as often as it is missing there.
fn without<'a>(lines: &'a [Vec<u8>], others: &[Vec<u8>]) -> Vec<&'a [u8]> {
    let mut left: HashMap<&[u8], usize> = HashMap::new();
    others.iter().for_each(|line| *left.entry(line).or_default() += 1);
    let mut missing = Vec::new();
    for line in lines {
        match left.get_mut(line.as_slice()) {
            Some(count) if *count > 0 => *count -= 1,
            _ => missing.push(line.as_slice()),
        }
    }
    missing
}

/// Returns why a line differs from another one.
pub(super) fn line(before: &[u8], now: &[u8], clues: &Clues) -> BTreeSet<Cause> {
    if let Some(cause) = clues.about(before, now) {
        return BTreeSet::from([cause]);
    }
    let split = |line: &'_ [u8]| words(line).into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (words_before, words_now) = (split(before), split(now));
    if words_before.len() != words_now.len() {
        let (before_part, now_part) = differing(before, now, |byte| !byte.is_ascii_whitespace());
        return or_unclassified(single(before_part, now_part, before, now, clues).into_iter().collect());
    }
    if is_reordered(&words_before, &words_now) {
        return BTreeSet::from([Cause::Order]);
    }
    let pairs = words_before.iter().zip(&words_now).filter(|(before, now)| before != now);
    or_unclassified(pairs.flat_map(|(one, other)| word(one, other, before, now, clues)).collect())
}

/// Words that are the same in another order: at least two of them.
fn is_reordered(before: &[Vec<u8>], now: &[Vec<u8>]) -> bool {
    let sorted = |words: &[Vec<u8>]| {
        let mut words = words.to_vec();
        words.sort_unstable();
        words
    };
    before != now && before.len() == now.len() && sorted(before) == sorted(now)
}

fn words(line: &[u8]) -> Vec<&[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect()
}

/// Why a word differs, as a whole or each of its parts.
fn word(before: &[u8], now: &[u8], line_before: &[u8], line_now: &[u8], clues: &Clues) -> BTreeSet<Cause> {
    let (before, now) = differing(before, now, is_of_name);
    if let Some(cause) = single(before, now, line_before, line_now, clues) {
        return BTreeSet::from([cause]);
    }
    let split =
        |word: &'_ [u8]| word.split(|byte| !is_of_name(*byte)).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (parts_before, parts_now) = (split(before), split(now));
    if is_reordered(&parts_before, &parts_now) {
        return BTreeSet::from([Cause::Order]);
    }
    if parts_before.len() != parts_now.len() || parts_before.len() < 2 {
        return BTreeSet::from([Cause::Unclassified]);
    }
    let pairs = parts_before.iter().zip(&parts_now).filter(|(before, now)| before != now);
    let cause = |(before, now): (&Vec<u8>, &Vec<u8>)| {
        single(before, now, line_before, line_now, clues).unwrap_or(Cause::Unclassified)
    };
    pairs.map(cause).collect()
}

/// Why two names, numbers or paths differ, if that can be told.
fn single(before: &[u8], now: &[u8], line_before: &[u8], line_now: &[u8], clues: &Clues) -> Option<Cause> {
    if let Some(cause) = clues.about(before, now) {
        return Some(cause);
    }
    if time::are_times(before, now, clues) {
        return Some(Cause::Time);
    }
    // Of a date in words, each is one of a few letters or digits.
    if before.len().max(now.len()) <= 16 && time::are_dates_in_words(line_before, line_now) {
        return Some(Cause::Time);
    }
    chance::are_by_chance(before, now).then_some(Cause::Chance)
}

/// What is part of a name, a number, a date or a path.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':' | b'+' | b'@')
        || byte >= 0x80
}

/// Of two texts, what is between their common beginning and their common end, with the whole names that it is part of.
fn differing<'a>(before: &'a [u8], now: &'a [u8], is_of_name: impl Fn(u8) -> bool) -> (&'a [u8], &'a [u8]) {
    let most = before.len().min(now.len());
    let mut start = before.iter().zip(now).take_while(|(one, other)| one == other).count();
    let ends = before.iter().rev().zip(now.iter().rev());
    let mut end = ends.take(most - start).take_while(|(one, other)| one == other).count();
    while start > 0 && is_of_name(before[start - 1]) {
        start -= 1;
    }
    while end > 0 && is_of_name(before[before.len() - end]) {
        end -= 1;
    }
    (&before[start..before.len() - end], &now[start..now.len() - end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clues() -> Clues {
        let pair = |cause, before: &str, now: &str| (cause, before.into(), now.into());
        Clues {
            pairs: vec![
                pair(Cause::BuildPath, "/build", "/elsewhere"),
                pair(Cause::HostName, "localhost", "other-host"),
                pair(Cause::Cores, "2", "3"),
            ],
            times: [1_796_000_000, 1_796_086_400],
            old_kernel: false,
        }
    }

    fn causes(before: &str, now: &str) -> Vec<Cause> {
        lines(before.as_bytes(), now.as_bytes(), &clues()).into_iter().collect()
    }

    #[test]
    fn each_line_has_its_own_reason() {
        assert_eq!(causes("a\nb\nc", "c\na\nb"), [Cause::Order]);
        assert_eq!(causes("x a b c", "x c a b"), [Cause::Order]);
        assert_eq!(causes("x=[a,b,c]", "x=[c,b,a]"), [Cause::Order]);
        assert_eq!(causes("at 1796000001 on", "at 1796086402 on"), [Cause::Time]);
        assert_eq!(causes("built Nov 29 2026 23:57:34", "built Nov 30 2026 00:01:02"), [Cause::Time]);
        assert_eq!(causes("dir /build/src;", "dir /elsewhere/src;"), [Cause::BuildPath]);
        assert_eq!(causes("root@localhost", "root@other-host"), [Cause::HostName]);
        assert_eq!(causes("id=deadbeef01", "id=0123cafe99"), [Cause::Chance]);
        assert_eq!(causes("make -j2", "make -j3"), [Cause::Unclassified]);
        assert_eq!(causes("jobs: 2", "jobs: 3"), [Cause::Cores]);
        assert_eq!(
            causes("host=localhost,cores=2", "host=other-host,cores=3"),
            [Cause::HostName, Cause::Cores]
        );
        assert_eq!(
            causes("localhost\n/build/x", "other-host\n/elsewhere/x"),
            [Cause::BuildPath, Cause::HostName]
        );
        assert_eq!(causes("apple", "pear"), [Cause::Unclassified]);
        assert_eq!(causes("a\n", "a\nb\n"), [Cause::Unclassified]);
        // What is the same in both is no reason.
        assert_eq!(causes("deadbeef01 apple", "deadbeef01 pear"), [Cause::Unclassified]);
    }

    proptest! {
        #[test]
        fn whatever_differs_has_a_reason(before: Vec<u8>, now: Vec<u8>) {
            prop_assume!(before != now);
            prop_assert!(!lines(&before, &now, &clues()).is_empty());
            prop_assert!(!line(&before, &now, &clues()).is_empty());
        }

        #[test]
        fn lines_in_another_order_are_that(mut lines: Vec<[u8; 3]>, seed: usize) {
            lines.iter_mut().flatten().for_each(|byte| *byte |= 0x20);
            let before = lines.join(&b'\n');
            let middle = seed % lines.len().max(1);
            lines.rotate_left(middle);
            let now = lines.join(&b'\n');
            prop_assume!(before != now);
            prop_assert_eq!(super::lines(&before, &now, &clues()), BTreeSet::from([Cause::Order]));
        }
    }
}
