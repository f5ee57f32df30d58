//! Replacing digests by others in what passes by.

use std::io::{self, Write};

use crate::Digest;
use crate::matcher::{Matcher, STRIDE};

const LEN: usize = Digest::TEXT_LEN;

/// Replaces digests in the bytes written to it, and hands them on.
///
/// What is replaced is what a search from left to right would replace, however the bytes are cut into pieces: where
/// two digests overlap, the first one is.
#[derive(Debug)]
pub struct Rewriter<W> {
    sink: W,
    matcher: Matcher,
    /// What stands for each digest that the matcher knows.
    replacements: Vec<[u8; LEN]>,
    /// Which of them is blanked out.
    blank: Option<usize>,
    /// Bytes that may be the begin of a digest. Fewer than one has.
    tail: Vec<u8>,
    /// How much was handed on.
    handed: u64,
    replaced: Replaced,
}

/// What a [`Rewriter`] has replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replaced {
    /// Whether anything was, apart from what was blanked out.
    pub(crate) any: bool,
    /// Where digests were blanked out, in order.
    pub(crate) blanks: Vec<u64>,
}

impl<W: Write> Rewriter<W> {
    /// Replaces the first of each pair by the second.
    pub fn new(sink: W, rewrites: impl IntoIterator<Item = (Digest, Digest)>) -> Self {
        Self::with_blank(sink, rewrites, None)
    }

    /// Replaces `blank` by zeros, too, and notes where.
    pub(crate) fn with_blank(
        sink: W,
        rewrites: impl IntoIterator<Item = (Digest, Digest)>,
        blank: Option<Digest>,
    ) -> Self {
        let (mut digests, mut replacements): (Vec<_>, Vec<_>) = rewrites
            .into_iter()
            .filter(|(from, _)| Some(*from) != blank)
            .map(|(from, to)| (from.text(), to.text()))
            .unzip();
        digests.extend(blank.map(|digest| digest.text()));
        let number = replacements.len();
        replacements.extend(blank.map(|_| [0; LEN]));
        Self {
            sink,
            matcher: Matcher::new(digests),
            replacements,
            blank: blank.map(|_| number),
            tail: Vec::new(),
            handed: 0,
            replaced: Replaced::default(),
        }
    }

    /// Hands on what was held back, and gives back the sink.
    pub fn finish(self) -> io::Result<W> {
        Ok(self.end()?.0)
    }

    pub(crate) fn end(mut self) -> io::Result<(W, Replaced)> {
        // Shorter than any digest.
        self.sink.write_all(&self.tail)?;
        Ok((self.sink, self.replaced))
    }

    /// Replaces in `window` what is there in full, and returns how much of it will not change any more.
    fn replace(&mut self, window: &mut Vec<u8>) -> usize {
        let len = window.len();
        let mut found = Vec::new();
        // The last grams may lie in the middle of a digest. No digest has a zero in it, so room is all this adds.
        window.extend_from_slice(&[0; STRIDE]);
        self.matcher.scan(window, 0, |digest, start| found.push((start, digest)));
        window.truncate(len);
        found.sort_unstable();
        let mut end = 0;
        for (start, digest) in found {
            if start < end {
                continue;
            }
            end = start + LEN;
            window[start..end].copy_from_slice(&self.replacements[digest]);
            match self.blank == Some(digest) {
                true => self.replaced.blanks.push(self.handed + start as u64),
                false => self.replaced.any = true,
            }
        }
        // What begins later may go on in the next piece.
        end.max(len.saturating_sub(LEN - 1))
    }
}

impl<W: Write> Write for Rewriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut window = std::mem::take(&mut self.tail);
        window.extend_from_slice(bytes);
        let settled = if window.len() < LEN { 0 } else { self.replace(&mut window) };
        self.sink.write_all(&window[..settled])?;
        self.handed += settled as u64;
        window.drain(..settled);
        self.tail = window;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(text: &str) -> Digest {
        text.parse().unwrap()
    }

    /// From left to right, byte by byte.
    fn naive(bytes: &[u8], pairs: &[(Digest, [u8; LEN])]) -> (Vec<u8>, Vec<(usize, u64)>) {
        let (mut out, mut places, mut at) = (Vec::new(), Vec::new(), 0);
        while at < bytes.len() {
            match pairs.iter().position(|(from, _)| bytes[at..].starts_with(&from.text())) {
                Some(number) => {
                    places.push((number, at as u64));
                    out.extend_from_slice(&pairs[number].1);
                    at += LEN;
                }
                None => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        (out, places)
    }

    fn rewritten(writes: &[&[u8]], pairs: &[(Digest, Digest)], blank: Option<Digest>) -> (Vec<u8>, Replaced) {
        let mut rewriter = Rewriter::with_blank(Vec::new(), pairs.iter().copied(), blank);
        writes.iter().for_each(|bytes| rewriter.write_all(bytes).unwrap());
        rewriter.end().unwrap()
    }

    #[test]
    fn replaces_across_every_split() {
        let (from, to) = (digest(&"a1".repeat(16)), digest(&"z".repeat(32)));
        for before in [0, 1, 23, 24, 31, 32, 100] {
            let bytes = [&vec![b'1'; before][..], &from.text(), b"-x", &from.text()].concat();
            let expected = [&vec![b'1'; before][..], &to.text(), b"-x", &to.text()].concat();
            for split in 0..=bytes.len() {
                let (first, second) = bytes.split_at(split);
                let (got, replaced) = rewritten(&[first, second], &[(from, to)], None);
                assert_eq!((got, replaced.any), (expected.clone(), true), "{before} {split}");
            }
        }
        assert_eq!(rewritten(&[b"none"], &[(from, to)], None), (b"none".to_vec(), Replaced::default()));
    }

    fn pieces(digests: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            proptest::sample::select(digests.clone()),
            (proptest::sample::select(digests), 0..32usize).prop_map(|(text, end)| text[..end].to_owned()),
            "[01]{0,60}",
        ];
        proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat().into_bytes())
    }

    fn digests_and_bytes() -> impl Strategy<Value = (Vec<String>, Vec<u8>)> {
        // Two characters only, and short repeats: they overlap themselves and each other.
        let digest = prop_oneof!["[01]{32}", "[01]{4}".prop_map(|text| text.repeat(8))];
        proptest::collection::btree_set(digest, 2..5).prop_flat_map(|digests| {
            let digests: Vec<String> = digests.into_iter().collect();
            (Just(digests.clone()), pieces(digests))
        })
    }

    proptest! {
        #[test]
        fn replaces_what_a_naive_search_replaces(
            (digests, bytes) in digests_and_bytes(),
            lengths in proptest::collection::vec(0..90usize, 0..20),
        ) {
            let digests: Vec<Digest> = digests.iter().map(|text| digest(text)).collect();
            let (blank, others) = digests.split_last().unwrap();
            // To what may be replaced itself: it must not be.
            let pairs: Vec<(Digest, Digest)> = others.iter().map(|from| (*from, digests[0])).collect();
            let mut all: Vec<(Digest, [u8; LEN])> = pairs.iter().map(|(from, to)| (*from, to.text())).collect();
            all.push((*blank, [0; LEN]));
            let (expected, places) = naive(&bytes, &all);
            let mut rest = &bytes[..];
            let mut writes = Vec::new();
            for length in lengths {
                let (write, after) = rest.split_at(length.min(rest.len()));
                writes.push(write);
                rest = after;
            }
            writes.push(rest);
            let (got, replaced) = rewritten(&writes, &pairs, Some(*blank));
            prop_assert_eq!(got, expected);
            let blanks: Vec<u64> =
                places.iter().filter(|(number, _)| *number == others.len()).map(|(_, at)| *at).collect();
            prop_assert_eq!(replaced.any, places.len() > blanks.len());
            prop_assert_eq!(replaced.blanks, blanks);
        }
    }
}
