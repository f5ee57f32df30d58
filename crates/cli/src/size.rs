//! Sizes for people.

/// Returns a size with its unit.
pub(crate) fn show(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 {
        tenths /= 1024;
        unit += 1;
    }
    match tenths {
        0..100 => format!("{}.{} {}", tenths / 10, tenths % 10, units[unit]),
        _ => format!("{} {}", tenths / 10, units[unit]),
    }
}

/// Reads a size as settings have it: a number of bytes, or with `K`, `M`, `G` or `T` after it.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    settings::number(text).map(|bytes| bytes as u64).map_err(|wrong| wrong.to_string())
}

/// Reads how many of something are meant.
pub(crate) fn count<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("expected a whole number".to_owned());
    }
    let number = text.parse::<u64>().ok().and_then(|number| number.try_into().ok());
    number.ok_or_else(|| "the number is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(show(1023), "1023 B");
        assert_eq!(show(1536), "1.5 KiB");
        assert_eq!(show(20 << 20), "20 MiB");
        assert_eq!(show(u64::MAX), "15 EiB");
    }

    #[test]
    fn what_is_no_size_and_what_is_too_large_are_told_apart() {
        assert_eq!([parse("10"), parse("2k"), parse("4GiB")], [Ok(10), Ok(2 << 10), Ok(4 << 30)]);
        assert!(parse("1.5G").is_err_and(|wrong| wrong.contains("K, M, G or T")));
        assert!(parse("20000000T").is_err_and(|wrong| wrong.contains("too large")));
        assert_eq!(count::<u16>("12"), Ok(12));
        for text in ["", "5x", "-1", "+1", "1K"] {
            assert_eq!(count::<u64>(text), Err("expected a whole number".to_owned()), "{text}");
        }
        assert_eq!(count::<u16>("65536"), Err("the number is too large".to_owned()));
        assert_eq!(count::<u64>("99999999999999999999"), Err("the number is too large".to_owned()));
    }
}
