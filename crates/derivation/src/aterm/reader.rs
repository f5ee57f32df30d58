//! A position in the text, and the few shapes that everything consists of.

use std::borrow::Cow;
use std::collections::BTreeMap;

use litemap::LiteMap;
use memchr::{memchr2, memchr3};

use super::Problem;

/// Moves over the text; every method leaves it behind what it has read, or in front of what is wrong.
pub(super) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// What is wrong with strings that were well-formed all the same, so that reading could go on.
    problems: Vec<(usize, Problem)>,
    /// Whether what was read so far may be taken for what would be printed.
    is_as_printed: bool,
}

/// Members of a list. They come in order, as Nix writes them, and stay as they come then; or else a tree puts them in
/// order.
enum Members<K, V> {
    None,
    /// Most lists of outputs have no more.
    One((K, V)),
    Ordered(Vec<(K, V)>),
    Mixed(BTreeMap<K, V>),
}

/// So many members of a list are expected to follow each other.
const MEMBERS: usize = 8;

impl<K: Ord, V> Members<K, V> {
    /// Takes one, and returns whether it was there already.
    fn is_twice(&mut self, key: K, value: V) -> bool {
        let new = (key, value);
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(new),
            Self::One(first) if first.0 < new.0 => {
                let mut ordered = Vec::with_capacity(MEMBERS);
                ordered.extend([first, new]);
                Self::Ordered(ordered)
            }
            Self::Ordered(mut ordered) if ordered.last().is_none_or(|last| last.0 < new.0) => {
                ordered.push(new);
                Self::Ordered(ordered)
            }
            other => {
                let mut all = other.into_tree();
                let is_twice = all.insert(new.0, new.1).is_some();
                *self = Self::Mixed(all);
                return is_twice;
            }
        };
        false
    }

    fn are_ordered(&self) -> bool {
        !matches!(self, Self::Mixed(_))
    }

    fn into_map(self) -> LiteMap<K, V> {
        LiteMap::from_sorted_store_unchecked(match self {
            Self::None => Vec::new(),
            Self::One(one) => vec![one],
            Self::Ordered(ordered) => ordered,
            Self::Mixed(all) => all.into_iter().collect(),
        })
    }

    fn into_tree(self) -> BTreeMap<K, V> {
        match self {
            Self::None => BTreeMap::new(),
            Self::One(one) => BTreeMap::from([one]),
            Self::Ordered(ordered) => ordered.into_iter().collect(),
            Self::Mixed(all) => all,
        }
    }
}

impl<T: Ord> Members<T, ()> {
    fn into_set<S: FromIterator<T>>(self) -> S {
        match self {
            Self::None => S::from_iter([]),
            Self::One((one, ())) => S::from_iter([one]),
            Self::Ordered(ordered) => ordered.into_iter().map(|(one, ())| one).collect(),
            Self::Mixed(all) => all.into_keys().collect(),
        }
    }
}

/// As many problems of one file are worth telling.
const MOST: usize = 100;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, problems: Vec::new(), is_as_printed: true }
    }

    /// Says that something is written otherwise than it would be printed, or may be.
    pub(super) fn differs(&mut self) {
        self.is_as_printed = false;
    }

    /// Whether all of the text is what would be printed, for sure.
    pub(super) fn is_as_printed(&self) -> bool {
        // Where one of these is not escaped, it depends on the string whether it should be.
        self.is_as_printed && memchr3(b'\n', b'\r', b'\t', self.text).is_none()
    }

    /// Notes what is wrong with the string that begins at `start`, and goes on.
    pub(super) fn note(&mut self, start: usize, problem: Problem) {
        if self.problems.len() < MOST {
            self.problems.push((start, problem));
        }
    }

    /// Returns what was noted, and what ended the reading.
    pub(super) fn into_problems(mut self, end: Option<Problem>) -> Vec<(usize, Problem)> {
        self.problems.extend(end.map(|problem| (self.at, problem)));
        self.problems
    }

    /// Reads what is printed bare, and makes something of it; if that fails, it is noted, and there is nothing.
    pub(super) fn make<T>(
        &mut self,
        make: impl FnOnce(Cow<'a, [u8]>) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        let start = self.at;
        let string = self.bare()?;
        Ok(make(string).map_err(|problem| self.note(start, problem)).ok())
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Goes over `literal`, if that is next.
    #[inline]
    pub(super) fn take(&mut self, literal: &str) -> bool {
        let is_next = self.rest().starts_with(literal.as_bytes());
        if is_next {
            self.at += literal.len();
        }
        is_next
    }

    #[inline]
    pub(super) fn expect(&mut self, expected: &'static str) -> Result<(), Problem> {
        if self.take(expected) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    #[cold]
    fn unexpected(&self, expected: &'static str) -> Problem {
        let found = match self.rest() {
            [] => "the end of the file".to_owned(),
            rest => format!("`{}`", String::from_utf8_lossy(&rest[..rest.len().min(16)])),
        };
        Problem::Expected { expected, found }
    }

    pub(super) fn end(&self) -> Result<(), Problem> {
        if self.rest().is_empty() { Ok(()) } else { Err(Problem::Trailing) }
    }

    /// Reads a quoted string; it is copied only if something in it is escaped.
    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, Problem> {
        self.expect("\"")?;
        let run = self.run()?;
        if self.take("\"") {
            return Ok(Cow::Borrowed(run));
        }
        let mut unescaped = run.to_vec();
        while !self.take("\"") {
            unescaped.push(self.escaped()?);
            unescaped.extend_from_slice(self.run()?);
        }
        Ok(Cow::Owned(unescaped))
    }

    /// Goes over a quoted string, and looks only whether it is written as it would be printed.
    pub(super) fn skip(&mut self) -> Result<(), Problem> {
        self.expect("\"")?;
        self.run()?;
        while !self.take("\"") {
            self.escaped()?;
            self.run()?;
        }
        Ok(())
    }

    /// Reads a string that is printed without escapes: a name, a path or a hash.
    pub(super) fn bare(&mut self) -> Result<Cow<'a, [u8]>, Problem> {
        let string = self.string()?;
        // A store directory may have characters that are escaped elsewhere.
        if matches!(string, Cow::Owned(_)) {
            self.differs();
        }
        Ok(string)
    }

    /// Reads a list.
    pub(super) fn list(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.expect("[")?;
        if self.take("]") {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.take("]") {
                return Ok(());
            }
            self.expect(",")?;
        }
    }

    /// Reads a list whose members all differ.
    pub(super) fn set<T: Ord, S: FromIterator<T>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<Option<T>, Problem>,
    ) -> Result<S, Problem> {
        let mut members = Members::None;
        self.list(|reader| {
            let start = reader.at;
            if let Some(item) = item(reader)?
                && members.is_twice(item, ())
            {
                reader.note(start, reader.twice(start, reader.at));
            }
            Ok(())
        })?;
        self.is_as_printed &= members.are_ordered();
        Ok(members.into_set())
    }

    /// Reads a list of tuples whose first members all differ.
    pub(super) fn map<K: Ord, V>(
        &mut self,
        mut key: impl FnMut(&mut Self) -> Result<Option<K>, Problem>,
        mut value: impl FnMut(&mut Self, Option<&K>) -> Result<Option<V>, Problem>,
    ) -> Result<LiteMap<K, V>, Problem> {
        let mut members = Members::None;
        self.list(|reader| {
            reader.expect("(")?;
            let start = reader.at;
            let name = key(reader)?;
            let end = reader.at;
            reader.expect(",")?;
            let value = value(reader, name.as_ref())?;
            reader.expect(")")?;
            if let (Some(name), Some(value)) = (name, value)
                && members.is_twice(name, value)
            {
                reader.note(start, reader.twice(start, end));
            }
            Ok(())
        })?;
        self.is_as_printed &= members.are_ordered();
        Ok(members.into_map())
    }

    /// Names what was read, quotes left out.
    fn twice(&self, start: usize, end: usize) -> Problem {
        let name = self.text[start..end].trim_ascii();
        let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
        Problem::Twice { name: String::from_utf8_lossy(name).into_owned() }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// Reads up to the next quote or backslash.
    fn run(&mut self) -> Result<&'a [u8], Problem> {
        let rest = self.rest();
        let Some(length) = memchr2(b'"', b'\\', rest) else { return Err(Problem::OpenString) };
        self.at += length;
        Ok(&rest[..length])
    }

    /// Reads a backslash and what it escapes.
    fn escaped(&mut self) -> Result<u8, Problem> {
        let [_, byte, ..] = self.rest() else { return Err(Problem::OpenString) };
        self.at += 2;
        Ok(match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'"' | b'\\' => *byte,
            other => {
                self.is_as_printed = false;
                *other
            }
        })
    }
}
