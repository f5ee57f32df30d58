//! A moment, for people.

/// Returns `2023-11-14 22:13:20 UTC` for milliseconds since 1970.
pub(crate) fn show(millis: i64) -> String {
    let seconds = millis.div_euclid(1000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The date of a day since 1970. Years begin in March here, so that the odd day comes last.
fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    let since_year_0 = days + 719_468;
    let era = since_year_0.div_euclid(DAYS_IN_400_YEARS);
    let day_of_era = since_year_0.rem_euclid(DAYS_IN_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        assert_eq!(show(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(show(1_700_000_000_123), "2023-11-14 22:13:20 UTC");
        assert_eq!(show(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(show(4_107_542_399_000), "2100-02-28 23:59:59 UTC");
        assert_eq!(show(4_107_542_400_000), "2100-03-01 00:00:00 UTC");
        assert_eq!(show(-1), "1969-12-31 23:59:59 UTC");
    }
}
