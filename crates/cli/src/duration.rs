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
    }
}
