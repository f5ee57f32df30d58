//! How long something took, for people.

use std::time::Duration;

/// Returns `0.4s`, `12.0s`, `2m 05s` or `1h 02m`.
pub(crate) fn show(took: Duration) -> String {
    let tenths = took.as_millis() / 100;
    let seconds = took.as_secs();
    match seconds {
        0..60 => format!("{}.{}s", tenths / 10, tenths % 10),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Returns the same, with milliseconds where they matter.
pub(crate) fn precise(took: Duration) -> String {
    if took.as_secs() < 10 { format!("{:.3}s", took.as_secs_f64()) } else { show(took) }
}

/// Returns a time in seconds, as settings have it; what is none stays as it is, for them to complain of.
pub(crate) fn in_seconds(text: &str) -> String {
    let units = [('s', 1), ('m', 60), ('h', 3600)];
    let seconds = units.into_iter().find_map(|(unit, seconds)| {
        let count: usize = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(seconds)
    });
    seconds.map_or(text.to_owned(), |seconds| seconds.to_string())
}

/// Returns what is put behind the number of builds that are to come.
pub(crate) fn about(estimate: Option<Duration>) -> String {
    let told = |takes| format!(" (about {}, going by earlier builds)", show(takes));
    estimate.map_or(String::new(), told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let read =
            ["90", "90s", "10m", "2h", "m", "-1s", "1d", "1.5h", "99999999999999999999h"].map(in_seconds);
        assert_eq!(read, ["90", "90", "600", "7200", "m", "-1s", "1d", "1.5h", "99999999999999999999h"]);
    }

    #[test]
    fn the_unit_grows_with_the_time() {
        let text = |millis| show(Duration::from_millis(millis));
        assert_eq!(text(449), "0.4s");
        assert_eq!(text(59_999), "59.9s");
        assert_eq!(text(125_000), "2m 05s");
        assert_eq!(text(3_725_000), "1h 02m");
        let exact = |millis| precise(Duration::from_millis(millis));
        assert_eq!((exact(9_001), exact(10_001)), ("9.001s".to_owned(), "10.0s".to_owned()));
    }
}
