//! Ages and dates, as people write them.
#![expect(clippy::disallowed_methods, reason = "an age is counted from now")]

use std::time::{SystemTime, UNIX_EPOCH};

/// Reads how long ago (`30d`, `12h`, `2w`, `90m`) or a date (`2026-03-01`, in UTC), as a time in seconds since 1970.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    since(text, now())
        .ok_or_else(|| format!("`{text}` is neither an age (`30d`, `12h`, `2w`) nor a date (`2026-03-01`)"))
}

fn since(text: &str, now: i64) -> Option<i64> {
    if let Some(date) = date(text) {
        return Some(date);
    }
    let units = [('m', 60), ('h', 3600), ('d', 86_400), ('w', 7 * 86_400)];
    let seconds = units.into_iter().find_map(|(unit, seconds)| {
        let count = text.strip_suffix(unit)?;
        let plain = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        // However long ago, it is a time, and nothing is older.
        plain.then(|| count.parse().unwrap_or(i64::MAX).saturating_mul(seconds))
    });
    seconds.map(|seconds| now.saturating_sub(seconds))
}

/// The beginning of a day.
fn date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let mut part = |digits: usize| {
        let text = parts.next()?;
        let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<i64>().ok()).flatten()
    };
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(month - 1).ok().filter(|before| *before < 12)?;
    if year < 1970 || !(1..=lengths[before]).contains(&day) {
        return None;
    }
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    let days = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    Some((days + lengths[..before].iter().sum::<i64>() + day - 1) * 86_400)
}

fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_dates_are_read() {
        let now = 1_800_000_000;
        let read = |text: &str| since(text, now);
        assert_eq!(
            ["90m", "12h", "30d", "2w"].map(read),
            [5400, 43_200, 2_592_000, 1_209_600].map(|ago| Some(now - ago))
        );
        assert_eq!(read("99999999999999999999w"), Some(now - i64::MAX));
        let dates = ["1970-01-01", "1972-03-01", "2000-02-29", "2026-11-30", "2100-03-01"].map(read);
        assert_eq!(dates, [0, 68_256_000, 951_782_400, 1_795_996_800, 4_107_542_400].map(Some));
        for text in [
            "",
            "d",
            "-1d",
            "1.5d",
            "30",
            "1y",
            "2026-13-01",
            "2026-02-29",
            "26-01-01",
            "2026-1-1",
            "1969-12-31",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
