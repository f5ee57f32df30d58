//! Finding the store paths that some bytes refer to.
//!
//! An object refers to a path when the 32 characters of its digest occur anywhere in the object.

use std::collections::BTreeSet;
use std::io;

use crate::matcher::{Matcher, STRIDE};
use crate::{Digest, StorePath};

/// The most bytes before a gram that may belong to the digest around it.
const BEFORE: usize = STRIDE - 1;

/// The most bytes that are kept from one write to the next: a gram waits for a whole digest behind it.
const MAX_TAIL: usize = BEFORE + Digest::TEXT_LEN - 1;

/// Collects which of some store paths occur in the bytes written to it; writing never fails.
///
/// Memory is about a kilobyte for each candidate, and none for the bytes.
#[derive(Clone, Debug)]
pub struct RefScanner {
    candidates: Vec<Candidate>,
    matcher: Matcher,
    /// The end of what was written, from [`BEFORE`] bytes before the next gram to look at.
    tail: Vec<u8>,
    /// Where in `tail` the next gram begins.
    next: usize,
}

impl RefScanner {
    /// Starts to look for `candidates`.
    pub fn new(candidates: impl IntoIterator<Item = StorePath>) -> Self {
        let candidates: Vec<_> =
            candidates.into_iter().map(|path| Candidate { path, found: false }).collect();
        let matcher =
            Matcher::new(candidates.iter().map(|candidate| candidate.path.digest().text()).collect());
        Self { candidates, matcher, tail: Vec::with_capacity(4 * MAX_TAIL), next: 0 }
    }

    /// Returns the candidates that occurred.
    pub fn finish(mut self) -> BTreeSet<StorePath> {
        // The last grams may lie in the middle of a digest. No digest has a zero in it, so room is all this adds.
        self.scan_with_tail(&[0; STRIDE]);
        self.candidates.into_iter().filter(|one| one.found).map(|one| one.path).collect()
    }

    /// Scans what crosses from the last write into this one, by making one piece of them.
    fn scan_with_tail(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        let candidates = &mut self.candidates;
        self.next = self.matcher.scan(&self.tail, self.next, |found, _| candidates[found].found = true);
    }

    fn forget_scanned(&mut self) {
        let scanned = self.next.saturating_sub(BEFORE);
        self.tail.drain(..scanned);
        self.next -= scanned;
    }
}

impl io::Write for RefScanner {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() <= MAX_TAIL {
            self.scan_with_tail(bytes);
        } else {
            self.scan_with_tail(&bytes[..MAX_TAIL]);
            // Whatever the next gram needs is in `bytes` now, so the rest is scanned where it is.
            let next = self.next + MAX_TAIL - self.tail.len();
            let candidates = &mut self.candidates;
            let next = self.matcher.scan(bytes, next, |found, _| candidates[found].found = true);
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[next - BEFORE..]);
            self.next = BEFORE;
        }
        self.forget_scanned();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A path to look for.
#[derive(Clone, Debug)]
struct Candidate {
    path: StorePath,
    found: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const HELLO: &str = "q790zdjk75hm2cn42nh77pqw4gbv1b88-hello";
    const OTHER: &str = "i00sflxqsj37lfmf95m8mn0grv615hpj-other";

    fn paths(bases: &[&str]) -> BTreeSet<StorePath> {
        bases.iter().map(|base| base.parse().unwrap()).collect()
    }

    fn digest(path: &StorePath) -> [u8; Digest::TEXT_LEN] {
        path.digest().text()
    }

    /// What a scanner has to find, by looking everywhere.
    fn naive(candidates: &BTreeSet<StorePath>, bytes: &[u8]) -> BTreeSet<StorePath> {
        let occurs = |path: &&StorePath| bytes.windows(Digest::TEXT_LEN).any(|window| window == digest(path));
        candidates.iter().filter(occurs).cloned().collect()
    }

    fn scanned(candidates: &BTreeSet<StorePath>, writes: &[&[u8]]) -> BTreeSet<StorePath> {
        let mut scanner = RefScanner::new(candidates.clone());
        writes.iter().for_each(|bytes| scanner.write_all(bytes).unwrap());
        scanner.finish()
    }

    #[test]
    fn finds_a_digest_at_every_place_and_across_every_split() {
        let candidates = paths(&[HELLO, OTHER]);
        let expected = paths(&[HELLO]);
        for before in 0..2 * STRIDE {
            let bytes = [&vec![b'x'; before][..], &HELLO.as_bytes()[..32]].concat();
            for after in [0, 1, 7, 100] {
                let bytes = [&bytes[..], &vec![b'x'; after][..]].concat();
                for split in 0..=bytes.len() {
                    let (first, second) = bytes.split_at(split);
                    assert_eq!(scanned(&candidates, &[first, second]), expected, "{before} {after} {split}");
                }
            }
        }
    }

    #[test]
    fn finds_a_digest_byte_by_byte() {
        let candidates = paths(&[HELLO, OTHER]);
        let text = format!("/nix/store/{OTHER}/bin:/nix/store/{HELLO}");
        let writes: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(scanned(&candidates, &writes), candidates);
    }

    #[test]
    fn wants_the_whole_digest() {
        let candidates = paths(&[HELLO]);
        let digest = &HELLO.as_bytes()[..32];
        assert_eq!(scanned(&candidates, &[&digest[1..]]), paths(&[]));
        assert_eq!(scanned(&candidates, &[&digest[..31]]), paths(&[]));
        assert_eq!(scanned(&candidates, &[&digest[..16], b"-", &digest[16..]]), paths(&[]));
        assert_eq!(scanned(&candidates, &[]), paths(&[]));
    }

    #[test]
    fn finds_all_paths_of_one_digest() {
        let candidates = paths(&[HELLO, "q790zdjk75hm2cn42nh77pqw4gbv1b88-hello-doc"]);
        assert_eq!(scanned(&candidates, &[HELLO.as_bytes()]), candidates);
    }

    /// Bytes that look much like digests: whole ones, torn ones and hexadecimal noise.
    fn pieces(digests: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            proptest::sample::select(digests.clone()),
            (proptest::sample::select(digests), 0..32usize).prop_map(|(text, end)| text[..end].to_owned()),
            "[0-9a-f]{0,60}",
        ];
        proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat().into_bytes())
    }

    fn candidates_and_bytes() -> impl Strategy<Value = (BTreeSet<StorePath>, Vec<u8>)> {
        // Few characters, so that the digests share many grams.
        proptest::collection::btree_set("[01]{16}[0-9a-d]{16}-x", 1..6).prop_flat_map(|bases| {
            let digests = bases.iter().map(|base| base[..32].to_owned()).collect();
            let candidates: BTreeSet<_> = bases.iter().map(|base| base.parse().unwrap()).collect();
            (Just(candidates), pieces(digests))
        })
    }

    proptest! {
        #[test]
        fn finds_what_a_naive_search_finds(
            (candidates, bytes) in candidates_and_bytes(),
            lengths in proptest::collection::vec(0..150usize, 0..20),
        ) {
            let mut rest = &bytes[..];
            let mut writes = Vec::new();
            for length in lengths {
                let (write, after) = rest.split_at(length.min(rest.len()));
                writes.push(write);
                rest = after;
            }
            writes.push(rest);
            prop_assert_eq!(scanned(&candidates, &writes), naive(&candidates, &bytes));
        }
    }
}
