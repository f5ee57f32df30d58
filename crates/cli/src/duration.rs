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

/// Reads a time as `--timeout` has it; returns it in seconds, as settings have it.
///
/// # Errors
/// What is no such time, with what would be one.
pub(crate) fn in_seconds(text: &str) -> Result<String, String> {
    let (count, seconds) = match text.find(|c: char| !c.is_ascii_digit()).map(|end| text.split_at(end)) {
        None => (text, 1),
        Some((count, "s")) => (count, 1),
        Some((count, "m")) => (count, 60),
        Some((count, "h")) => (count, 3600),
        Some(_) => ("", 1),
    };
    if count.is_empty() {
        let wanted =
            "say a number of seconds, or one with a unit: `90`, `90s`, `10m` or `2h`; 0 for no limit";
        return Err(wanted.to_owned());
    }
    let total = count.parse::<usize>().ok().and_then(|count| count.checked_mul(seconds));
    total.map(|total| total.to_string()).ok_or_else(|| "that is too long; 0 is for no limit".to_owned())
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
        let read = ["0", "90", "90s", "10m", "2h"].map(in_seconds);
        assert_eq!(read, ["0", "90", "90", "600", "7200"].map(|text| Ok(text.to_owned())));
        // `M` is a million of bytes elsewhere, and no month here.
        for wrong in ["", "m", "-1s", "1d", "1.5h", "10M", "5x", "99999999999999999999h", "5 m"] {
            assert!(in_seconds(wrong).is_err(), "{wrong}");
        }
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
