//! The hash half of a store path.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::base32;

/// The first half of a store path: 20 bytes, printed as 32 characters of Nix's base 32.
///
/// The order is that of the printed text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; Digest::LEN]);

/// A text is not a [`Digest`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest of 32 characters in base 32")]
pub struct DigestError {
    /// What should have been a digest.
    pub text: String,
}

impl Digest {
    const LEN: usize = 20;

    /// How many characters a printed digest has.
    pub(crate) const TEXT_LEN: usize = base32::encoded_len(Self::LEN);

    /// Shortens a longer hash by exclusive or, as every store path does.
    pub(crate) fn fold(hash: &[u8]) -> Self {
        let mut folded = [0; Self::LEN];
        for (index, byte) in hash.iter().enumerate() {
            folded[index % Self::LEN] ^= byte;
        }
        Self(folded)
    }

    /// Returns what `Display` prints, without an allocation.
    pub fn text(&self) -> [u8; Self::TEXT_LEN] {
        let mut text = [0; Self::TEXT_LEN];
        base32::encode_into(&self.0, &mut text);
        text
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Self, DigestError> {
        let mut bytes = [0; Self::LEN];
        base32::decode_into(text, &mut bytes)
            .map(|()| Self(bytes))
            .ok_or_else(|| DigestError { text: String::from_utf8_lossy(text).into_owned() })
    }

    /// The digest as a number: the text is written from the last byte to the first, so the numbers' order
    /// is the texts' order.
    fn number(&self) -> (u32, u128) {
        let (low, high) = self.0.split_first_chunk::<16>().expect("20 bytes are more than 16");
        let high = high.try_into().expect("20 bytes are 16 and 4");
        (u32::from_le_bytes(high), u128::from_le_bytes(*low))
    }
}

impl Ord for Digest {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(std::str::from_utf8(&self.text()).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_is_that_of_the_text(left: [u8; 20], right: [u8; 20]) {
            let (left, right) = (Digest(left), Digest(right));
            prop_assert_eq!(left.cmp(&right), left.to_string().cmp(&right.to_string()));
        }

        #[test]
        fn parses_what_it_prints(bytes: [u8; 20]) {
            prop_assert_eq!(Digest(bytes).to_string().parse(), Ok(Digest(bytes)));
        }
    }
}
