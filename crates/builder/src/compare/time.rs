//! Recognises times in text.

use super::Clues;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Whether two words both tell a time: seconds since 1970 or parts of them near when each was built, a date, a clock.
pub(super) fn are_times(before: &[u8], now: &[u8], clues: &Clues) -> bool {
    let moments = moment(before).zip(moment(now));
    moments.is_some_and(|(before, now)| clues.are_times(before, now))
        || (is_date(before) && is_date(now))
        || (has_clock(before) && has_clock(now))
}

/// Whether two lines both tell a date in words, as compilers put it in: `Nov 29 2026`, `Sun Nov 29 23:57:34`.
pub(super) fn are_dates_in_words(before: &[u8], now: &[u8]) -> bool {
    is_date_in_words(before) && is_date_in_words(now)
}

/// Reads a number of seconds since 1970, or of parts of a second, with or without a fraction; also in base 16.
fn moment(word: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(word).ok()?;
    let text = text.trim_matches(|char: char| !char.is_ascii_alphanumeric());
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => whole,
        Some(_) => return None,
        None => text,
    };
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok();
    }
    if whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let parts = match whole.len() {
        9..=11 => 1,
        12..=14 => 1_000,
        15..=17 => 1_000_000,
        18..=19 => 1_000_000_000,
        _ => return None,
    };
    whole.parse::<i64>().ok().map(|number| number / parts)
}

/// Whether there is a date in numbers: `2026-11-29`, `2026/11/29`, `20261129`, `29.11.2026`.
fn is_date(word: &[u8]) -> bool {
    let is_day = |year: u32, month: u32, day: u32| {
        (1970..2200).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)
    };
    let numbers = numbers(word);
    let in_a_row = |run: &[(u32, usize)]| {
        let [(first, length), (second, _), (third, last)] = *run else { return false };
        (length == 4 && is_day(first, second, third)) || (last == 4 && is_day(third, second, first))
    };
    let is_compact = |(number, length): &(u32, usize)| {
        matches!(length, 8 | 14) && is_day(number / 10_000, number / 100 % 100, number % 100)
    };
    numbers.windows(3).any(in_a_row) || numbers.iter().any(is_compact)
}

/// Whether there is a time of the day: `23:57`, `23:57:34`.
fn has_clock(word: &[u8]) -> bool {
    let digits = |part: &[u8]| part.len() == 2 && part.iter().all(u8::is_ascii_digit);
    word.windows(5).any(|five| digits(&five[..2]) && five[2] == b':' && digits(&five[3..]) && five[0] < b'3')
}

/// The numbers in a text with how many digits each has; of a longer one the first eight.
fn numbers(text: &[u8]) -> Vec<(u32, usize)> {
    let runs = text.split(|byte| !byte.is_ascii_digit()).filter(|run| !run.is_empty());
    let value =
        |run: &[u8]| run.iter().take(8).fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    runs.map(|run| (value(run), run.len())).collect()
}

fn is_date_in_words(line: &[u8]) -> bool {
    let words: Vec<&[u8]> =
        line.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let is_number = |word: Option<&&[u8]>, lengths: &[usize]| {
        word.is_some_and(|word| lengths.contains(&word.len()) && word.iter().all(u8::is_ascii_digit))
    };
    let is_month = |word: &[u8]| {
        let names = MONTHS.iter().flat_map(|month| [&month[..3], month]);
        names.into_iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    (0..words.len()).any(|at| {
        let before = at.checked_sub(1).and_then(|at| words.get(at));
        is_month(words[at]) && (is_number(words.get(at + 1), &[1, 2, 4]) || is_number(before, &[1, 2]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(before: &str, now: &str) -> bool {
        let clues = Clues { pairs: Vec::new(), times: [1_796_000_000, 1_796_086_400], old_kernel: false };
        are_times(before.as_bytes(), now.as_bytes(), &clues)
    }

    #[test]
    fn seconds_count_near_when_each_was_built() {
        assert!(near("1796000001", "1796086402"));
        assert!(near("1796000001.25", "1796086402.5") && near("1796000001123", "1796086402123"));
        assert!(near("1796000001123456789", "1796086402123456789") && near("0x6b0ca141", "0x6b0df2c2"));
        assert!(!near("1296000001", "1796086402"), "far from the first build");
        assert!(near("1796000001.25", "1796000001.5") && !near("12345", "12346"));
    }

    #[test]
    fn dates_and_clocks_are_times() {
        for (before, now) in [
            ("2026-11-29", "2026-11-30"),
            ("2026-11-29T23:57:34Z", "2026-11-30T00:00:01Z"),
            ("29.11.2026", "30.11.2026"),
            ("20261129", "20261130"),
            ("20261129235734", "20261130000001"),
            ("23:57", "00:01"),
            ("2026/11/29", "2026/11/30"),
        ] {
            assert!(near(before, now), "{before} {now}");
        }
        for (before, now) in [("1.2.3", "1.2.4"), ("99:99", "99:98"), ("2026-13-01", "2026-14-01"), ("", "x")]
        {
            assert!(!near(before, now), "{before} {now}");
        }
    }

    #[test]
    fn dates_in_words_are_dates() {
        for line in ["built Nov 29 2026", "Sun Nov  9 23:57:34 UTC 2026", "29 November 2026", "1 Dec"] {
            assert!(is_date_in_words(line.as_bytes()), "{line}");
        }
        for line in ["maybe 2", "novel", "2 marches", "version 1.2"] {
            assert!(!is_date_in_words(line.as_bytes()), "{line}");
        }
    }
}
