//! Recognises what was made by chance, in text.

/// Whether two words both look like random identifiers, or like hashes.
pub(super) fn are_by_chance(before: &[u8], now: &[u8]) -> bool {
    is_by_chance(before) && is_by_chance(now)
}

/// In a word of several parts, such as a path or `key=value`, one part is enough.
fn is_by_chance(word: &[u8]) -> bool {
    if word.windows(36).any(is_uuid) {
        return true;
    }
    let has_hint = contains(word, b"tmp") || contains(word, b"temp");
    let mut parts = word.split(|byte| !byte.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.any(|part| {
        let has_digit = part.iter().any(u8::is_ascii_digit);
        is_hex(part) || has_hint && is_mixed(part, 6) || has_digit && is_mixed(part, 10)
    })
}

/// `8-4-4-4-12` digits of base 16.
fn is_uuid(word: &[u8]) -> bool {
    word.len() == 36
        && word.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Eight digits of base 16 or more; a decimal number is one only if no counter has as many digits.
fn is_hex(part: &[u8]) -> bool {
    let part = part.strip_prefix(b"0x").unwrap_or(part);
    let digits = part.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_one_case = !(part.iter().any(u8::is_ascii_lowercase) && part.iter().any(u8::is_ascii_uppercase));
    part.len() >= 8
        && is_one_case
        && part.iter().all(u8::is_ascii_hexdigit)
        && digits > 0
        && (digits < part.len() || digits >= 20)
}

/// Letters and digits as in base 32 or 64, or as `mktemp` makes them: they change between kinds often, as words do not.
fn is_mixed(part: &[u8], least: usize) -> bool {
    let kind = |byte: &u8| match byte {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        _ => 2,
    };
    let changes = part.windows(2).filter(|pair| kind(&pair[0]) != kind(&pair[1])).count();
    part.len() >= least && part.iter().all(u8::is_ascii_alphanumeric) && changes * 4 >= part.len()
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_by_chance() {
        for word in [
            "123e4567-e89b-12d3-a456-426614174000",
            "id=123E4567-E89B-12D3-A456-426614174000;",
            "deadbeef01",
            "0x7f3a21c09d40",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "/tmp/tmp.aB3xY9kQ2z",
            "tmpa8x3k2",
            "Zm9v3BhclF1eA12x",
            "12345678901234567890",
        ] {
            assert!(is_by_chance(word.as_bytes()), "{word}");
        }
    }

    #[test]
    fn words_and_counters_are_not() {
        for word in
            ["hello", "12345678", "libfoo-1.2.3.so", "CamelCaseName", "facade", "x86_64", "", "deadbeef"]
        {
            assert!(!is_by_chance(word.as_bytes()), "{word}");
        }
    }
}
