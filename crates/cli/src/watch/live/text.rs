//! Times in few columns.

use std::time::Duration;

/// Returns `0:07`, `12:34` or `1:02:03`.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Returns how long something may still take, no more exactly than anybody can know.
pub(super) fn about(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        0..10 => "a few seconds".to_owned(),
        10..50 => format!("about {} s", seconds.next_multiple_of(10)),
        50..3570 => format!("about {} min", (seconds + 30) / 60),
        _ => {
            let half_hours = (seconds + 900) / 1800;
            let half = if half_hours % 2 == 1 { "½" } else { "" };
            format!("about {}{half} h", half_hours / 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let show = |seconds| clock(Duration::from_secs(seconds));
        assert_eq!([show(7), show(754), show(3723)], ["0:07", "12:34", "1:02:03"]);
    }

    #[test]
    fn what_is_left_is_rounded() {
        let show = |seconds| about(Duration::from_secs(seconds));
        assert_eq!([show(3), show(41), show(59)], ["a few seconds", "about 50 s", "about 1 min"]);
        assert_eq!([show(200), show(3569)], ["about 3 min", "about 59 min"]);
        assert_eq!([show(3600), show(5400), show(7200)], ["about 1 h", "about 1½ h", "about 2 h"]);
    }
}
