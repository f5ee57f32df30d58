//! Finding digests in bytes, fast.
//!
//! Looking at every byte would cost as much as hashing them; a scan that skips by the characters it sees crawls on
//! hexadecimal text, where every character could be part of a digest. So this one looks at eight bytes in
//! every 24, whatever they are: any 32 bytes in a row contain eight that begin at a multiple of [`STRIDE`]. All
//! the eights that a digest can show there are known beforehand, and a bit set tells nearly always that the
//! ones seen are not among them.

use crate::Digest;

/// How many bytes are looked at in one go.
const GRAM: usize = 8;

/// From one look to the next: any digest covers one gram in full.
pub(crate) const STRIDE: usize = Digest::TEXT_LEN - GRAM;

/// Some digests, and how to recognise them by a gram.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    digests: Vec<[u8; Digest::TEXT_LEN]>,
    filter: Filter,
    /// In the order of their text.
    grams: Vec<Gram>,
}

/// Eight bytes that may stand at a multiple of [`STRIDE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gram {
    text: u64,
    digest: usize,
    /// Where in that digest they begin.
    offset: usize,
}

impl Matcher {
    /// Knows `digests`, which it tells by their numbers.
    pub(crate) fn new(digests: Vec<[u8; Digest::TEXT_LEN]>) -> Self {
        let mut grams = Vec::with_capacity(digests.len() * STRIDE);
        for (digest, text) in digests.iter().enumerate() {
            let windows = text.windows(GRAM).take(STRIDE).enumerate();
            grams.extend(windows.map(|(offset, text)| Gram { text: gram_at(text), digest, offset }));
        }
        grams.sort_unstable();
        Self { digests, filter: Filter::new(&grams), grams }
    }

    /// Looks at each gram of `window`, from the one at `at` on, that has room for a digest behind its begin, and tells
    /// of the digests around them: which, and where in `window`. One that covers several grams is told of again.
    ///
    /// Returns where the first gram begins that has not. Nearly all the time of a scan is spent in this loop.
    pub(crate) fn scan(&self, window: &[u8], at: usize, mut found: impl FnMut(usize, usize)) -> usize {
        let Some(rest) = window.get(at..window.len().saturating_sub(GRAM)) else { return at };
        let mut strides = rest.chunks_exact(STRIDE).map(gram_at).enumerate();
        while let Some((index, gram)) = strides.find(|(_, gram)| self.filter.may_contain(*gram)) {
            self.look_closer(window, at + index * STRIDE, gram, &mut found);
        }
        at + rest.len() / STRIDE * STRIDE
    }

    fn look_closer(&self, window: &[u8], at: usize, gram: u64, found: &mut impl FnMut(usize, usize)) {
        let first = self.grams.partition_point(|known| known.text < gram);
        for known in self.grams[first..].iter().take_while(|known| known.text == gram) {
            let Some(start) = at.checked_sub(known.offset) else { continue };
            if window.get(start..start + Digest::TEXT_LEN) == Some(&self.digests[known.digest]) {
                found(known.digest, start);
            }
        }
    }
}

/// The number that stands for the first [`GRAM`] bytes of `text`.
fn gram_at(text: &[u8]) -> u64 {
    u64::from_le_bytes(*text.first_chunk().expect("the caller left room for a gram"))
}

/// A set of bits, of which two in one word are set for every known gram, and for few others.
#[derive(Clone, Debug)]
struct Filter {
    /// As many as a power of two.
    words: Vec<u64>,
}

impl Filter {
    /// Few enough to stay in the processor's caches for thousands of candidates, and enough to look up only one
    /// in some hundred unknown grams in vain.
    const BITS_PER_GRAM: usize = 32;

    fn new(grams: &[Gram]) -> Self {
        // At least a page of memory: a few candidates should be looked up almost never.
        let bits = (grams.len() * Self::BITS_PER_GRAM).next_power_of_two().max(1 << 15);
        let mut filter = Self { words: vec![0; bits / 64] };
        for gram in grams {
            let (word, [first, second]) = filter.place(gram.text);
            filter.words[word] |= 1 << first | 1 << second;
        }
        filter
    }

    /// Which bits of which word stand for `gram`.
    fn place(&self, gram: u64) -> (usize, [u64; 2]) {
        // The golden ratio spreads even texts that differ in one bit, and best into the upper bits. The shifts
        // are constant, since the processor is slower at others.
        let hash = gram.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = (hash >> 32) as usize & (self.words.len() - 1);
        (word, [hash >> 58, hash >> 52 & 63])
    }

    fn may_contain(&self, gram: u64) -> bool {
        let (word, [first, second]) = self.place(gram);
        let word = self.words[word];
        word >> first & word >> second & 1 != 0
    }
}
