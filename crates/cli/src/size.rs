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

/// Reads a size as a person writes it: a number of bytes, or with `K`, `M`, `G` or `T` after it, powers of 1024.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let (digits, power) = match text.char_indices().last() {
        Some((end, 'k' | 'K')) => (&text[..end], 1),
        Some((end, 'm' | 'M')) => (&text[..end], 2),
        Some((end, 'g' | 'G')) => (&text[..end], 3),
        Some((end, 't' | 'T')) => (&text[..end], 4),
        _ => (text, 0),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|_| plain);
    let bytes = number.and_then(|number| number.checked_mul(1 << (10 * power)));
    bytes.ok_or_else(|| "a size is a number, with K, M, G or T after it if that is meant".to_owned())
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
    fn sizes_are_read_with_or_without_a_unit() {
        assert_eq!(parse("10"), Ok(10));
        assert_eq!([parse("2k"), parse("3M"), parse("4G")], [Ok(2 << 10), Ok(3 << 20), Ok(4 << 30)]);
        assert_eq!(parse("1T"), Ok(1 << 40));
        for text in ["", "K", "-1", "+1", "1.5G", "1 G", "20000000T"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
