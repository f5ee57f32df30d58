//! Why bytes differ that are no text: numbers, and fields of known formats.

use super::{Cause, Clues, text};

/// Bytes that differ, in a piece of the file around them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hunk<'a> {
    /// The first bytes of the earlier file.
    pub(super) head: &'a [u8],
    /// Where in the file the pieces begin.
    pub(super) start: u64,
    /// Where in the pieces the bytes begin that differ.
    pub(super) at: usize,
    /// How many differ in the earlier piece, and in the later one.
    pub(super) lengths: [usize; 2],
    /// A piece of the earlier file.
    pub(super) before: &'a [u8],
    /// A piece of the later one.
    pub(super) now: &'a [u8],
}

/// What is known of bytes that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Why they do.
    Because(Cause),
    /// They follow from others, as a checksum does.
    Follows,
    Unknown,
}

const TAR_BLOCK: u64 = 512;

impl Hunk<'_> {
    /// Returns why the bytes differ.
    pub(super) fn causes(&self, clues: &Clues) -> Vec<Cause> {
        match self.field() {
            Verdict::Because(cause) => return vec![cause],
            Verdict::Follows => return Vec::new(),
            Verdict::Unknown => {}
        }
        if self.is_time(clues) {
            return vec![Cause::Time];
        }
        match (self.words(self.before), self.words(self.now)) {
            (Some(before), Some(now)) => text::line(before, now, clues).into_iter().collect(),
            _ => vec![Cause::Unclassified],
        }
    }

    /// Which field of a known format it is.
    fn field(&self) -> Verdict {
        let offset = self.start + self.at as u64;
        if self.head.starts_with(b"\x1f\x8b") && (4..8).contains(&offset) {
            return Verdict::Because(Cause::Time);
        }
        // A compiled file of Python: magic number, flags that say that the source is known by its time, that time.
        let is_python = self.head.get(2..8) == Some(b"\r\n\0\0\0\0");
        if is_python && (8..12).contains(&offset) {
            return Verdict::Because(Cause::Time);
        }
        if self.is_build_id() {
            return Verdict::Because(Cause::Chance);
        }
        let fields = [self.tar(), self.ar(), self.zip()];
        fields.into_iter().find(|verdict| *verdict != Verdict::Unknown).unwrap_or(Verdict::Unknown)
    }

    /// The header of an entry of `tar`.
    fn tar(&self) -> Verdict {
        let offset = self.start + self.at as u64;
        let Some(block) = (offset - offset % TAR_BLOCK).checked_sub(self.start) else {
            return Verdict::Unknown;
        };
        if self.before.get(block as usize + 257..block as usize + 262) != Some(b"ustar") {
            return Verdict::Unknown;
        }
        match offset % TAR_BLOCK {
            136..148 => Verdict::Because(Cause::Time),
            108..124 | 265..329 => Verdict::Because(Cause::User),
            148..156 => Verdict::Follows,
            _ => Verdict::Unknown,
        }
    }

    /// The header of a member of `ar`, as static libraries have them: sixty bytes with a mark at their end.
    fn ar(&self) -> Verdict {
        let headers = (0..60).filter_map(|into| Some((into, self.at.checked_sub(into)?)));
        let is_header = |at: usize| self.before.get(at + 58..at + 60) == Some(b"`\n");
        let found = headers.filter(|_| self.head.starts_with(b"!<arch>\n")).find(|(_, at)| is_header(*at));
        match found {
            Some((16..28, _)) => Verdict::Because(Cause::Time),
            Some((28..40, _)) => Verdict::Because(Cause::User),
            _ => Verdict::Unknown,
        }
    }

    /// The header of an entry of a zip archive, or its copy in the directory.
    fn zip(&self) -> Verdict {
        let has = |mark: &[u8], into: usize| {
            self.at.checked_sub(into).is_some_and(|at| self.before[at..].starts_with(mark))
        };
        let local = (10..14).any(|into| has(b"PK\x03\x04", into));
        let central = (12..16).any(|into| has(b"PK\x01\x02", into));
        match local || central {
            true => Verdict::Because(Cause::Time),
            false => Verdict::Unknown,
        }
    }

    /// The note of a linker: made of what is linked, or by chance.
    fn is_build_id(&self) -> bool {
        const NOTE: &[u8] = b"\x03\0\0\0GNU\0";
        let from = self.at.saturating_sub(32);
        self.before[from..self.at.max(from)].windows(NOTE.len()).any(|window| window == NOTE)
    }

    /// Whether it is a number of seconds near when each was built, in four or eight bytes, in either order.
    fn is_time(&self, clues: &Clues) -> bool {
        let [length, other] = self.lengths;
        if length != other || length > 8 {
            return false;
        }
        let starts = (self.at + length).saturating_sub(4)..=self.at;
        starts.into_iter().any(|start| {
            let number = |piece: &[u8], read: fn([u8; 4]) -> u32| {
                let bytes = piece.get(start..start + 4)?;
                Some(i64::from(read(bytes.try_into().ok()?)))
            };
            [u32::from_le_bytes, u32::from_be_bytes].into_iter().any(|read| {
                match (number(self.before, read), number(self.now, read)) {
                    (Some(before), Some(now)) => before != now && clues.are_times(before, now),
                    _ => false,
                }
            })
        })
    }

    /// The text that the bytes are part of, if they are.
    fn words<'a>(&self, piece: &'a [u8]) -> Option<&'a [u8]> {
        let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
        let before = piece.get(..self.at)?.iter().rev().take_while(|byte| is_text(byte)).count();
        let after = piece[self.at..].iter().take_while(|byte| is_text(byte)).count();
        (before + after >= 4).then(|| &piece[self.at - before..self.at + after])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clues() -> Clues {
        Clues { pairs: Vec::new(), times: [1_796_000_000, 1_796_086_400], old_kernel: false }
    }

    /// The causes of one run of bytes in two files of the same length.
    fn causes(before: &[u8], now: &[u8]) -> Vec<Cause> {
        let at = before.iter().zip(now).position(|(one, other)| one != other).unwrap();
        let end = before.iter().zip(now).rposition(|(one, other)| one != other).unwrap() + 1;
        let lengths = [end - at; 2];
        Hunk { head: before, start: 0, at, lengths, before, now }.causes(&clues())
    }

    fn with(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut file = file.to_vec();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    }

    #[test]
    fn fields_of_formats_are_known() {
        let gzip = [b"\x1f\x8b\x08\0".as_slice(), &[0; 60]].concat();
        assert_eq!(causes(&gzip, &with(&gzip, 4, b"\x01\x02\x03\x04")), [Cause::Time]);
        let python = [b"\xa7\x0d\x0d\x0a\0\0\0\0".as_slice(), &[0; 60]].concat();
        assert_eq!(causes(&python, &with(&python, 8, b"\x01\x02")), [Cause::Time]);
        let mut tar = vec![0; 1024];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(causes(&tar, &with(&tar, 136, b"15260")), [Cause::Time]);
        assert_eq!(causes(&tar, &with(&tar, 108, b"1750")), [Cause::User]);
        assert_eq!(causes(&tar, &with(&tar, 148, b"1234")), []);
        let ar = [b"!<arch>\nx.o/            0           0     0     100644  4         `\nabcd".as_slice()]
            .concat();
        assert_eq!(causes(&ar, &with(&ar, 24, b"1796000001")), [Cause::Time]);
        assert_eq!(causes(&ar, &with(&ar, 36, b"1000")), [Cause::User]);
        let zip = [b"PK\x03\x04".as_slice(), &[0; 60]].concat();
        assert_eq!(causes(&zip, &with(&zip, 10, b"\x11\x22\x33\x44")), [Cause::Time]);
        let note = [b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0".as_slice(), &[0; 20]].concat();
        assert_eq!(causes(&note, &with(&note, 16, &[7; 20])), [Cause::Chance]);
    }

    #[test]
    fn numbers_and_texts_in_a_program_are_known() {
        let of = |number: u32| [[0xff; 6].as_slice(), &number.to_le_bytes(), &[0xff; 6]].concat();
        assert_eq!(causes(&of(1_796_000_123), &of(1_796_086_999)), [Cause::Time]);
        assert_eq!(causes(&of(1_000), &of(2_000)), [Cause::Unclassified]);
        assert_eq!(causes(b"\0\0\0Nov 29 2026\0\0", b"\0\0\0Nov 30 2026\0\0"), [Cause::Time]);
        assert_eq!(causes(b"\0\x01\0", b"\0\x02\0"), [Cause::Unclassified]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(before: Vec<u8>, now: Vec<u8>, head: Vec<u8>, start: u32, at: usize, length: u8) {
            let most = before.len().min(now.len());
            let at = at % (most + 1);
            let length = usize::from(length).min(most - at);
            let hunk = Hunk { head: &head, start: start.into(), at, lengths: [length; 2], before: &before, now: &now };
            hunk.causes(&clues());
        }
    }
}
