//! Base 32 as Nix has it: its own alphabet, and digits from the last byte to the first.

/// Without `e`, `o`, `u` and `t`, so that no digest spells a rude word. In the order of ASCII.
const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// The value of each character of the alphabet, and [`NO_DIGIT`] for all others.
const DIGITS: [u8; 256] = digits();

const NO_DIGIT: u8 = 0xff;

const fn digits() -> [u8; 256] {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        digits[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    digits
}

/// Returns how many characters `bytes` bytes take.
pub(crate) const fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// As many bytes are as many bits as a whole number of digits.
const BYTES: usize = 5;
const TEXT: usize = encoded_len(BYTES);

/// Fills `text`, which has to be [`encoded_len`] long, with the digits of `bytes`.
pub(crate) fn encode_into(bytes: &[u8], text: &mut [u8]) {
    debug_assert_eq!(text.len(), encoded_len(bytes.len()));
    for (bytes, text) in bytes.chunks(BYTES).zip(text.rchunks_mut(TEXT)) {
        let mut number = bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        for character in text.iter_mut().rev() {
            *character = ALPHABET[(number & 31) as usize];
            number >>= 5;
        }
    }
}

/// Returns the digits of `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = vec![0; encoded_len(bytes.len())];
    encode_into(bytes, &mut text);
    String::from_utf8(text).expect("the alphabet is ASCII")
}

/// Fills `bytes` from `text`; `None` for a wrong length, a wrong character, or set bits beyond the last byte.
pub(crate) fn decode_into(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    if text.len() != encoded_len(bytes.len()) {
        return None;
    }
    for (bytes, text) in bytes.chunks_mut(BYTES).zip(text.rchunks(TEXT)) {
        let mut number = 0_u64;
        for character in text {
            let digit = DIGITS[usize::from(*character)];
            if digit == NO_DIGIT {
                return None;
            }
            number = number << 5 | u64::from(digit);
        }
        let number = number.to_le_bytes();
        let (used, beyond) = number.split_at(bytes.len());
        if beyond.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.copy_from_slice(used);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn knows_the_lengths() {
        assert_eq!([20, 32, 16, 64].map(encoded_len), [32, 52, 26, 103]);
    }

    #[test]
    fn refuses_what_it_would_not_print() {
        let mut byte = [0];
        assert_eq!(decode_into(b"7z", &mut byte), Some(()));
        assert_eq!(byte, [0xff]);
        // Bits beyond the byte, a letter left out, capitals, and lengths.
        for text in ["8z", "0e", "0A", "0", "000", ""] {
            assert_eq!(decode_into(text.as_bytes(), &mut byte), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(bytes: Vec<u8>) {
            let text = encode(&bytes);
            let mut decoded = vec![0; bytes.len()];
            prop_assert_eq!(decode_into(text.as_bytes(), &mut decoded), Some(()));
            prop_assert_eq!(decoded, bytes);
        }

        #[test]
        fn encodes_what_it_decodes(text in "[0-9a-z]{8}") {
            let mut decoded = [0; 5];
            if decode_into(text.as_bytes(), &mut decoded).is_some() {
                prop_assert_eq!(encode(&decoded), text);
            }
        }
    }
}
