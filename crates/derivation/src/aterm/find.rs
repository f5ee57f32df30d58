//! Searching texts.

/// As many bytes are looked at in a few instructions.
const BLOCK: usize = 16;

/// Returns where the first byte is that is `wanted`.
///
/// Almost all of a derivation is long strings without such bytes. So whole blocks are asked whether there is one, a
/// question without branches, which compilers turn into instructions for all bytes at once.
#[inline]
pub(super) fn find(text: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let has_none = |block: &&[u8; BLOCK]| !block.iter().fold(false, |found, byte| found | wanted(*byte));
    let start = blocks.iter().take_while(has_none).count() * BLOCK;
    text[start..].iter().position(|byte| wanted(*byte)).map(|at| start + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_is_found(text in "[ab]{0,40}") {
            prop_assert_eq!(find(text.as_bytes(), |byte| byte == b'b'), text.find('b'));
        }
    }
}
