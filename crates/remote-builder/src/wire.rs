//! How values are written to a hook: as Nix's programs write them to each other.

/// Appends a number: 64 bits, the lowest byte first.
pub(crate) fn number(to: &mut Vec<u8>, value: u64) {
    to.extend_from_slice(&value.to_le_bytes());
}

/// Appends a string: its length, its bytes, and zeros up to a multiple of eight bytes.
pub(crate) fn string(to: &mut Vec<u8>, value: &[u8]) {
    number(to, value.len() as u64);
    to.extend_from_slice(value);
    to.resize(to.len() + value.len().next_multiple_of(8) - value.len(), 0);
}

/// Appends a set of strings, which the caller has in order: how many there are, then each.
pub(crate) fn strings<T: AsRef<[u8]>>(to: &mut Vec<u8>, values: &[T]) {
    number(to, values.len() as u64);
    values.iter().for_each(|value| string(to, value.as_ref()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_padded_to_eight_bytes() {
        let mut to = Vec::new();
        strings(&mut to, &["", "try", "12345678"]);
        let expected: &[&[u8]] = &[
            b"\x03\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\0\0\0",
            b"\x03\0\0\0\0\0\0\0try\0\0\0\0\0",
            b"\x08\0\0\0\0\0\0\x0012345678",
        ];
        assert_eq!(to, expected.concat());
    }
}
