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

/// Returns what is put behind the number of builds that are to come.
pub(crate) fn about(estimate: Option<Duration>) -> String {
    let told = |takes| format!(" (about {}, going by earlier builds)", show(takes));
    estimate.map_or(String::new(), told)
}

#[cfg(test)]
mod tests {
    use super::*;

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
