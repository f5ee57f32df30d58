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

/// Fills `text`, which has to be [`encoded_len`] long, with the digits of `bytes`.
pub(crate) fn encode_into(bytes: &[u8], text: &mut [u8]) {
    debug_assert_eq!(text.len(), encoded_len(bytes.len()));
    for (index, character) in text.iter_mut().rev().enumerate() {
        let (byte, shift) = (index * 5 / 8, index * 5 % 8);
        let next = bytes.get(byte + 1).copied().unwrap_or(0);
        let pair = u16::from_le_bytes([bytes[byte], next]);
        *character = ALPHABET[usize::from((pair >> shift) & 31)];
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
    bytes.fill(0);
    for (index, character) in text.iter().rev().enumerate() {
        let digit = DIGITS[usize::from(*character)];
        if digit == NO_DIGIT {
            return None;
        }
        let (byte, shift) = (index * 5 / 8, index * 5 % 8);
        let [low, high] = (u16::from(digit) << shift).to_le_bytes();
        bytes[byte] |= low;
        match bytes.get_mut(byte + 1) {
            Some(next) => *next |= high,
            None if high != 0 => return None,
            None => {}
        }
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
