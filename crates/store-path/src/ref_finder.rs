//! Finding where some bytes refer to store paths.

use crate::matcher::{Matcher, STRIDE};
use crate::{Digest, StorePath};

const LEN: usize = Digest::TEXT_LEN;

/// Tells at which bytes the digests of some store paths stand in what is handed to it piece by piece.
///
/// A [`crate::RefScanner`] tells only whether they do, and is faster.
#[derive(Clone, Debug)]
pub struct RefFinder {
    matcher: Matcher,
    /// Bytes that may be the begin of a digest. Fewer than one has.
    tail: Vec<u8>,
    /// How many bytes came before those.
    before: u64,
}

impl RefFinder {
    /// Starts to look for `paths`, which are told of by their numbers; of several with one digest, any.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a StorePath>) -> Self {
        let digests = paths.into_iter().map(|path| path.digest().text()).collect();
        Self { matcher: Matcher::new(digests), tail: Vec::new(), before: 0 }
    }

    /// Looks at the next piece, and tells which digest begins at which byte of all pieces together, in order.
    pub fn look(&mut self, piece: &[u8], mut found: impl FnMut(usize, u64)) {
        self.tail.extend_from_slice(piece);
        let len = self.tail.len();
        // The last grams may lie in the middle of a digest. No digest has a zero in it, so room is all this adds.
        self.tail.extend_from_slice(&[0; STRIDE]);
        let mut all = Vec::new();
        self.matcher.scan(&self.tail, 0, |digest, start| all.push((start, digest)));
        self.tail.truncate(len);
        all.sort_unstable();
        // One that covers several grams is seen as often.
        all.dedup();
        all.iter().for_each(|(start, digest)| found(*digest, self.before + *start as u64));
        let done = len.saturating_sub(LEN - 1);
        self.tail.drain(..done);
        self.before += done as u64;
    }

    /// Begins anew with other bytes.
    pub fn restart(&mut self) {
        self.tail.clear();
        self.before = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(finder: &mut RefFinder, pieces: &[&[u8]]) -> Vec<(usize, u64)> {
        let mut all = Vec::new();
        pieces.iter().for_each(|piece| finder.look(piece, |digest, place| all.push((digest, place))));
        finder.restart();
        all
    }

    proptest! {
        #[test]
        fn finds_each_place_however_it_is_cut(
            parts in proptest::collection::vec((0..3_usize, "[0-9a-f/]{0,40}"), 0..12),
            cuts in proptest::collection::vec(0..60_usize, 0..20),
        ) {
            let paths: Vec<StorePath> = [
                "q790zdjk75hm2cn42nh77pqw4gbv1b88-hello",
                "00000000000000000000000000000000-zero",
            ].map(|base| base.parse().unwrap()).into();
            let digests: Vec<_> = paths.iter().map(|path| path.digest().text()).collect();
            let mut bytes = Vec::new();
            for (which, text) in &parts {
                bytes.extend_from_slice(digests.get(*which).map_or(&[][..], |digest| digest));
                bytes.extend_from_slice(text.as_bytes());
            }
            let at = |place: usize| digests.iter().position(|digest| bytes[place..].starts_with(digest));
            let expected: Vec<_> =
                (0..bytes.len()).filter_map(|place| Some((at(place)?, place as u64))).collect();
            let (mut pieces, mut rest) = (Vec::new(), &bytes[..]);
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let mut finder = RefFinder::new(&paths);
            for _ in 0..2 {
                prop_assert_eq!(&found(&mut finder, &pieces), &expected);
            }
        }
    }
}
