//! Where and why two files differ, read in pieces.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::io;

use super::formats::Hunk;
use super::{Cause, Clues, Spot, or_unclassified, text};

/// A file, or what stands for one.
pub(super) trait Source {
    /// How many bytes it has.
    fn size(&self) -> u64;

    /// Reads some bytes from a place on; none at its end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

const PIECE: usize = 64 << 10;
/// Lines are looked for so far from where files differ.
const MOST_LINE: u64 = 4 << 10;
/// Text is looked at line by line up to this size; of more, the beginning is.
const MOST_TEXT: u64 = 1 << 20;
/// As many places of a file are looked at.
const MOST_HUNKS: usize = 256;
/// Bytes that are the same between two that differ belong to both, if they are not more.
const GAP: u64 = 4;
/// How much of a place is looked at.
const MOST_HUNK: u64 = 512;

/// The part of two files that is between their common beginning and their common end.
#[derive(Clone, Copy, Debug)]
struct Region {
    start: u64,
    ends: [u64; 2],
}

/// Returns where two files differ first, and why they may; nothing if they do not.
pub(super) fn compare(
    before: &dyn Source,
    now: &dyn Source,
    clues: &Clues,
) -> io::Result<Option<(Spot, BTreeSet<Cause>)>> {
    let Some(region) = Region::of(before, now)? else { return Ok(None) };
    let spot = spot(before, now, region.start)?;
    let heads = [read(before, 0, MOST_LINE)?, read(now, 0, MOST_LINE)?];
    let is_text = [&spot.before, &spot.now, &heads[0], &heads[1]].iter().all(|bytes| !bytes.contains(&0));
    let causes = match is_text {
        true => of_text(before, now, region, clues)?,
        false => of_bytes(before, now, region, clues)?,
    };
    Ok(Some((spot, or_unclassified(causes))))
}

/// The bytes around the first ones that differ.
fn spot(before: &dyn Source, now: &dyn Source, offset: u64) -> io::Result<Spot> {
    let start = offset.saturating_sub(16) & !0xf;
    let piece = |source| read(source, start, start + 64);
    Ok(Spot { offset, start, before: piece(before)?, now: piece(now)? })
}

fn read(source: &dyn Source, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let end = end.min(source.size()).max(start);
    let mut bytes = vec![0; (end - start) as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match source.read_at(start + filled as u64, &mut bytes[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

impl Region {
    fn of(before: &dyn Source, now: &dyn Source) -> io::Result<Option<Self>> {
        let sizes = [before.size(), now.size()];
        let shorter = sizes[0].min(sizes[1]);
        let mut start = 0;
        while start < shorter {
            let end = (start + PIECE as u64).min(shorter);
            let (one, other) = (read(before, start, end)?, read(now, start, end)?);
            let same = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
            start += same as u64;
            if same < one.len().max(other.len()) {
                break;
            }
            if one.is_empty() {
                break;
            }
        }
        if start == shorter && sizes[0] == sizes[1] {
            return Ok(None);
        }
        let mut end = 0;
        let most = shorter - start;
        while end < most {
            let length = (PIECE as u64).min(most - end);
            let piece = |source: &dyn Source, size: u64| read(source, size - end - length, size - end);
            let (one, other) = (piece(before, sizes[0])?, piece(now, sizes[1])?);
            let pairs = one.iter().rev().zip(other.iter().rev());
            let same = pairs.take_while(|(one, other)| one == other).count() as u64;
            end += same;
            if same < length {
                break;
            }
        }
        Ok(Some(Self { start, ends: sizes.map(|size| size - end) }))
    }

    fn length(&self, side: usize) -> u64 {
        self.ends[side] - self.start
    }

    /// The same with the whole lines that it is part of.
    fn in_lines(self, before: &dyn Source) -> io::Result<Self> {
        let from = self.start.saturating_sub(MOST_LINE);
        let above = read(before, from, self.start)?;
        let line = above.iter().rposition(|byte| *byte == b'\n').map_or(from, |at| from + at as u64 + 1);
        // What follows is the same in both.
        let below = read(before, self.ends[0], self.ends[0] + MOST_LINE)?;
        let more = below.iter().position(|byte| *byte == b'\n').unwrap_or(below.len()) as u64;
        let ends = self.ends.map(|end| end + more);
        Ok(Self { start: line, ends })
    }
}

fn of_text(
    before: &dyn Source,
    now: &dyn Source,
    region: Region,
    clues: &Clues,
) -> io::Result<BTreeSet<Cause>> {
    let region = region.in_lines(before)?;
    if region.length(0).max(region.length(1)) > MOST_TEXT {
        let (one, other) = (Print::of(before, region, 0)?, Print::of(now, region, 1)?);
        if one == other {
            return Ok(BTreeSet::from([Cause::Order]));
        }
    }
    let piece =
        |source, side: usize| read(source, region.start, region.ends[side].min(region.start + MOST_TEXT));
    Ok(text::lines(&piece(before, 0)?, &piece(now, 1)?, clues))
}

/// What tells lines from others, whatever their order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Print {
    lines: u64,
    sum: u64,
    xor: u64,
}

impl Print {
    fn of(source: &dyn Source, region: Region, side: usize) -> io::Result<Self> {
        let mut print = Self::default();
        let (mut at, mut line) = (region.start, DefaultHasher::new());
        while at < region.ends[side] {
            let bytes = read(source, at, (at + PIECE as u64).min(region.ends[side]))?;
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                line.write(part.strip_suffix(b"\n").unwrap_or(part));
                if part.ends_with(b"\n") {
                    print.add(std::mem::take(&mut line));
                }
            }
        }
        print.add(line);
        Ok(print)
    }

    fn add(&mut self, line: DefaultHasher) {
        let line = line.finish();
        self.lines += 1;
        self.sum = self.sum.wrapping_add(line);
        self.xor ^= line.rotate_left(17);
    }
}

fn of_bytes(
    before: &dyn Source,
    now: &dyn Source,
    region: Region,
    clues: &Clues,
) -> io::Result<BTreeSet<Cause>> {
    let head = read(before, 0, 16)?;
    let mut causes = BTreeSet::new();
    let mut counts = [[0_u64; 256]; 2];
    for (start, ends) in places(before, now, region, &mut counts)? {
        let from = (start.saturating_sub(64)) & !0x1ff;
        let piece = |source, end: u64| read(source, from, end.min(start + MOST_HUNK) + 256);
        let (one, other) = (piece(before, ends[0])?, piece(now, ends[1])?);
        let lengths = ends.map(|end| (end - start) as usize);
        let at = (start - from) as usize;
        let hunk = Hunk { head: &head, start: from, at, lengths, before: &one, now: &other };
        causes.extend(hunk.causes(clues));
    }
    // The same bytes in another order. Of few, that happens by chance.
    if causes.contains(&Cause::Unclassified) && region.length(0) >= 32 && counts[0] == counts[1] {
        causes.remove(&Cause::Unclassified);
        causes.insert(Cause::Order);
    }
    Ok(causes)
}

/// The places at which files of the same size differ, and how often each byte is met in the region. Of others, where the
/// region begins: what follows has moved.
fn places(
    before: &dyn Source,
    now: &dyn Source,
    region: Region,
    counts: &mut [[u64; 256]; 2],
) -> io::Result<Vec<(u64, [u64; 2])>> {
    if region.ends[0] != region.ends[1] {
        return Ok(vec![(region.start, region.ends)]);
    }
    let mut places: Vec<(u64, [u64; 2])> = Vec::new();
    let mut at = region.start;
    while at < region.ends[0] {
        let end = (at + PIECE as u64).min(region.ends[0]);
        let (one, other) = (read(before, at, end)?, read(now, at, end)?);
        for (into, (one, other)) in one.iter().zip(&other).enumerate() {
            counts[0][usize::from(*one)] += 1;
            counts[1][usize::from(*other)] += 1;
            let here = at + into as u64;
            if one == other {
                continue;
            }
            let has_room = places.len() < MOST_HUNKS;
            match places.last_mut() {
                Some((_, ends)) if here <= ends[0] + GAP => *ends = [here + 1; 2],
                _ if has_room => places.push((here, [here + 1; 2])),
                _ => {}
            }
        }
        if one.is_empty() {
            break;
        }
        at = end;
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Source for Vec<u8> {
        fn size(&self) -> u64 {
            self.len() as u64
        }

        /// A few bytes at a time, as a file may give them.
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let rest = &self[(offset as usize).min(self.len())..];
            let count = rest.len().min(buffer.len()).min(4099);
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }
    }

    fn clues() -> Clues {
        Clues { pairs: Vec::new(), times: [1_796_000_000, 1_796_086_400], old_kernel: false }
    }

    fn causes(before: &[u8], now: &[u8]) -> Vec<Cause> {
        let compared = compare(&before.to_vec(), &now.to_vec(), &clues()).unwrap();
        compared.map_or(Vec::new(), |(_, causes)| causes.into_iter().collect())
    }

    #[test]
    fn the_first_bytes_that_differ_are_shown_with_some_around() {
        let before = vec![b'a'; 100_000];
        let mut now = before.clone();
        now[70_001] = b'b';
        let (spot, _) = compare(&before, &now, &clues()).unwrap().unwrap();
        assert_eq!((spot.offset, spot.start, spot.before.len(), spot.now[17]), (70_001, 69_984, 64, b'b'));
        let (spot, _) = compare(&before, &before[..50_000].to_vec(), &clues()).unwrap().unwrap();
        assert_eq!((spot.offset, spot.now.len()), (50_000, 16));
        assert!(compare(&before, &before.clone(), &clues()).unwrap().is_none());
    }

    #[test]
    fn the_whole_line_counts() {
        assert_eq!(causes(b"x\nbuilt 2026-11-29\ny\n", b"x\nbuilt 2026-11-30\ny\n"), [Cause::Time]);
        assert_eq!(causes(b"a\nb\n", b"b\na\n"), [Cause::Order]);
        assert_eq!(causes(b"a\nb", b"b\na"), [Cause::Order]);
        assert_eq!(causes(b"id 123456789a x", b"id fedcba9876 x"), [Cause::Chance]);
        assert_eq!(causes(b"", b"x"), [Cause::Unclassified]);
    }

    #[test]
    fn many_lines_in_another_order_are_that() {
        let lines: Vec<Vec<u8>> = (0..200_000).map(|number| format!("line {number}").into_bytes()).collect();
        let mut turned = lines.clone();
        turned.reverse();
        assert_eq!(causes(&lines.join(&b'\n'), &turned.join(&b'\n')), [Cause::Order]);
    }

    #[test]
    fn each_place_of_a_program_has_its_reason() {
        let mut before = vec![0_u8; 5_000];
        before[1_000..1_011].copy_from_slice(b"Nov 29 2026");
        before[3_000..3_004].copy_from_slice(&[0xfe, 0xdc, 0xba, 0x98]);
        let mut now = before.clone();
        now[1_004..1_006].copy_from_slice(b"30");
        assert_eq!(causes(&before, &now), [Cause::Time]);
        now[3_000..3_004].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(causes(&before, &now), [Cause::Time, Cause::Unclassified]);
        let table: Vec<u8> = (0..64).flat_map(|entry: u8| [entry, 0, 0, 0]).collect();
        let turned: Vec<u8> = (0..64).rev().flat_map(|entry: u8| [entry, 0, 0, 0]).collect();
        assert_eq!(causes(&table, &turned), [Cause::Order]);
    }

    proptest! {
        #[test]
        fn files_differ_if_their_bytes_do(common: Vec<u8>, before: Vec<u8>, now: Vec<u8>, end: Vec<u8>) {
            let file = |middle: &[u8]| [&common, middle, &end].concat();
            let (before, now) = (file(&before), file(&now));
            let compared = compare(&before, &now, &clues()).unwrap();
            prop_assert_eq!(compared.is_some(), before != now);
            if let Some((spot, causes)) = compared {
                let first = before.iter().zip(&now).take_while(|(one, other)| one == other).count();
                prop_assert_eq!(spot.offset, first as u64);
                prop_assert!(!causes.is_empty());
            }
        }
    }
}
