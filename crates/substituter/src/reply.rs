//! What a substituter answers, read: bytes in, values out.

use std::collections::{BTreeMap, BTreeSet};

use store_path::{StoreDir, StorePath};

use crate::error::ReplyError;

/// A line that is longer is cut where it is told: nothing that is meant is as long.
const LONGEST_TOLD: usize = 300;

/// No path refers to as many others.
const MOST_REFERENCES: u64 = 100_000;

/// What a substituter says of a path that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What made it.
    pub deriver: Option<StorePath>,
    /// What it refers to, itself perhaps among it.
    pub references: BTreeSet<StorePath>,
    /// How many bytes it takes to fetch it; zero where that is not known.
    pub download_size: u64,
    /// The size of its archive; zero where that is not known.
    pub nar_size: u64,
    /// Who has it: the place of a program in the settings.
    pub(crate) program: usize,
}

/// The lines of an answer, after the first.
struct Lines<'a> {
    rest: &'a [u8],
    store_dir: &'a StoreDir,
}

/// Reads the answer to `have`: which of `asked` it has.
pub(crate) fn have(
    answer: &[u8],
    store_dir: &StoreDir,
    asked: &BTreeSet<StorePath>,
) -> Result<BTreeSet<StorePath>, ReplyError> {
    let mut lines = Lines::of(answer, store_dir)?;
    let mut had = BTreeSet::new();
    while let Some(path) = lines.asked(asked)? {
        had.insert(path);
    }
    Ok(had)
}

/// Reads the answer to `info` of the program at that place: what it says of those of `asked` that it has.
pub(crate) fn info(
    answer: &[u8],
    store_dir: &StoreDir,
    asked: &BTreeSet<StorePath>,
    program: usize,
) -> Result<BTreeMap<StorePath, Offer>, ReplyError> {
    let mut lines = Lines::of(answer, store_dir)?;
    let mut offers = BTreeMap::new();
    while let Some(path) = lines.asked(asked)? {
        let deriver = lines.path_or_nothing()?;
        let references = (0..lines.number(MOST_REFERENCES)?).map(|_| lines.path());
        let references = references.collect::<Result<_, _>>()?;
        let (download_size, nar_size) = (lines.number(u64::MAX)?, lines.number(u64::MAX)?);
        let offer = Offer { deriver, references, download_size, nar_size, program };
        if offers.insert(path.clone(), offer).is_some() {
            return Err(ReplyError::Twice { path });
        }
    }
    Ok(offers)
}

impl<'a> Lines<'a> {
    /// The first line says that the program is there, in whatever words.
    fn of(answer: &'a [u8], store_dir: &'a StoreDir) -> Result<Self, ReplyError> {
        let mut lines = Self { rest: answer, store_dir };
        lines.next()?;
        Ok(lines)
    }

    fn next(&mut self) -> Result<&'a [u8], ReplyError> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or(ReplyError::Unfinished)?;
        let (line, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(line)
    }

    /// Returns the next path that was asked for; none at the end of the answer.
    fn asked(&mut self, asked: &BTreeSet<StorePath>) -> Result<Option<StorePath>, ReplyError> {
        let line = self.next()?;
        if line.is_empty() {
            return Ok(None);
        }
        let path = self.store_dir.parse(line).ok().filter(|path| asked.contains(path));
        path.map(Some).ok_or_else(|| ReplyError::Unasked { line: told(line) })
    }

    fn path(&mut self) -> Result<StorePath, ReplyError> {
        let line = self.next()?;
        self.store_dir.parse(line).map_err(|_| ReplyError::NoPath { line: told(line) })
    }

    fn path_or_nothing(&mut self) -> Result<Option<StorePath>, ReplyError> {
        if self.rest.starts_with(b"\n") {
            self.next()?;
            return Ok(None);
        }
        self.path().map(Some)
    }

    fn number(&mut self, most: u64) -> Result<u64, ReplyError> {
        let line = self.next()?;
        let number = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
        number.filter(|number| *number <= most).ok_or_else(|| ReplyError::NoNumber { line: told(line) })
    }
}

fn told(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(LONGEST_TOLD)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "/nix/store/q790zdjk75hm2cn42nh77pqw4gbv1b88-a";
    const B: &str = "/nix/store/xfp2hphvk98rkk9ywlqpp587rjdcgnc2-b";

    fn path(full: &str) -> StorePath {
        StoreDir::default().parse(full).unwrap()
    }

    fn asked() -> BTreeSet<StorePath> {
        BTreeSet::from([path(A)])
    }

    fn had(answer: &str) -> Result<BTreeSet<StorePath>, ReplyError> {
        have(answer.as_bytes(), &StoreDir::default(), &asked())
    }

    fn told_of(answer: &str) -> Result<BTreeMap<StorePath, Offer>, ReplyError> {
        info(answer.as_bytes(), &StoreDir::default(), &asked(), 0)
    }

    #[test]
    fn an_answer_has_a_first_line_and_an_empty_one_at_its_end() {
        assert_eq!(had(&format!("\n{A}\n\n")), Ok(asked()));
        assert_eq!(had("hello\n\nwhatever"), Ok(BTreeSet::new()));
        for answer in ["", "\n", &format!("\n{A}"), &format!("\n{A}\n")] {
            assert_eq!(had(answer), Err(ReplyError::Unfinished), "{answer:?}");
        }
        assert_eq!(had(&format!("\n{B}\n\n")), Err(ReplyError::Unasked { line: B.to_owned() }));
    }

    #[test]
    fn of_each_path_five_things_are_told() {
        let offer = &told_of(&format!("\n{A}\n\n2\n{A}\n{B}\n10\n120\n\n")).unwrap()[&path(A)];
        assert_eq!(offer.references, BTreeSet::from([path(A), path(B)]));
        assert_eq!((offer.deriver.clone(), offer.download_size, offer.nar_size), (None, 10, 120));
        let made = told_of(&format!("\n{A}\n{B}.drv\n0\n0\n0\n\n")).unwrap();
        assert_eq!(made[&path(A)].deriver, Some(path(&format!("{B}.drv"))));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let once = format!("{A}\n\n0\n0\n0\n");
        assert_eq!(told_of(&format!("\n{once}{once}\n")), Err(ReplyError::Twice { path: path(A) }));
        for (answer, line) in [
            ("-1\n", "-1"),
            ("many\n", "many"),
            ("100001\n", "100001"),
            ("0\n99999999999999999999\n", "99999999999999999999"),
        ] {
            let error = told_of(&format!("\n{A}\n\n{answer}")).unwrap_err();
            assert_eq!(error, ReplyError::NoNumber { line: line.to_owned() });
        }
        let error = told_of(&format!("\n{A}\n\n1\n/etc/passwd\n")).unwrap_err();
        assert_eq!(error, ReplyError::NoPath { line: "/etc/passwd".to_owned() });
        let long = had(&format!("\n{}\n", "\x1b".repeat(1 << 20))).unwrap_err();
        assert!(long.to_string().len() < 2000 && !long.to_string().contains('\x1b'));
    }
}
