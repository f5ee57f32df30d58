//! An archive as a sequence of events.

use std::io::{self, Read};

use crate::read_error::{Problem, ReadError};
use crate::tokens::{MAGIC, padding};

/// Names on Linux are no longer.
const MAX_NAME: u64 = 255;

/// Symlinks on Linux are no longer.
const MAX_TARGET: u64 = 4095;

/// No token is longer; that bounds what a wrong one can make us hold.
const MAX_TOKEN: u64 = 32;

/// How many nodes lie within each other at most, the root and the innermost file among them: as many as Nix
/// reads since 2.36.
const MAX_DEPTH: usize = 64;

/// One step through a tree. Its nodes come in depth-first order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A directory begins. Its entries follow, then [`Event::End`].
    Directory,
    /// The next entry of the innermost directory; its node follows.
    Entry(Vec<u8>),
    /// The innermost directory ends.
    End,
    /// A file, whose contents are there to be read until the next event.
    Regular {
        /// Whether its owner may execute it.
        executable: bool,
        /// The length of its contents.
        size: u64,
    },
    /// A symlink, with its target.
    Symlink(Vec<u8>),
}

/// Reads an archive, and refuses every one that [`crate::Writer`] would have written in another way.
///
/// It reads not a byte beyond the end of the archive, and a few bytes at a time; hand it a
/// [`std::io::BufReader`] if reading is expensive. Memory is bounded, whatever the archive says.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    offset: u64,
    expect: Expect,
    /// The latest name in each open directory, the innermost last; empty before its first.
    names: Vec<Vec<u8>>,
}

/// What comes next in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Magic,
    Node,
    /// So many bytes of a file, then as much padding.
    Contents {
        left: u64,
        padding: usize,
    },
    EntryOrEnd,
    Nothing,
}

impl<R: Read> Reader<R> {
    /// Starts at the beginning of an archive.
    pub fn new(source: R) -> Self {
        Self { source, offset: 0, expect: Expect::Magic, names: Vec::new() }
    }

    /// Returns the next event, or `None` behind the end of the archive.
    ///
    /// Contents that were not read are skipped.
    #[expect(clippy::should_implement_trait, reason = "after an error there is nothing left to iterate over")]
    pub fn next(&mut self) -> Result<Option<Event>, ReadError> {
        self.advance().map_err(|problem| self.error(problem))
    }

    /// Returns the contents of the file that [`Event::Regular`] has just announced, or what is left of them.
    pub fn contents(&mut self) -> Contents<'_, R> {
        Contents(self)
    }

    /// Says where `problem` was met.
    pub(crate) fn error(&self, problem: Problem) -> ReadError {
        ReadError { offset: self.offset, problem }
    }

    fn advance(&mut self) -> Result<Option<Event>, Problem> {
        match self.expect {
            Expect::Magic => {
                self.token(MAGIC, "the archive to begin with `nix-archive-1`")?;
                self.node().map(Some)
            }
            Expect::Node => self.node().map(Some),
            Expect::Contents { .. } => {
                self.skip_contents()?;
                self.after_contents()
            }
            Expect::EntryOrEnd => self.entry_or_end().map(Some),
            Expect::Nothing => Ok(None),
        }
    }

    fn node(&mut self) -> Result<Event, Problem> {
        if self.names.len() >= MAX_DEPTH {
            return Err(Problem::Depth { limit: MAX_DEPTH });
        }
        self.token(b"(", "`(`")?;
        self.token(b"type", "`type`")?;
        let kind = self.string("type", MAX_TOKEN)?;
        match &kind[..] {
            b"regular" => self.regular(),
            b"symlink" => self.symlink(),
            b"directory" => {
                self.names.push(Vec::new());
                self.expect = Expect::EntryOrEnd;
                Ok(Event::Directory)
            }
            _ => Err(Problem::Token { expected: "`regular`, `symlink` or `directory`", found: kind }),
        }
    }

    fn regular(&mut self) -> Result<Event, Problem> {
        let tag = self.string("tag", MAX_TOKEN)?;
        let executable = match &tag[..] {
            b"contents" => false,
            b"executable" => {
                self.token(b"", "nothing as the value of `executable`")?;
                self.token(b"contents", "`contents`")?;
                true
            }
            _ => return Err(Problem::Token { expected: "`executable` or `contents`", found: tag }),
        };
        let size = self.number()?;
        self.expect = Expect::Contents { left: size, padding: padding(size) };
        Ok(Event::Regular { executable, size })
    }

    fn symlink(&mut self) -> Result<Event, Problem> {
        self.token(b"target", "`target`")?;
        let target = self.string("symlink's target", MAX_TARGET)?;
        if target.is_empty() || target.contains(&0) {
            return Err(Problem::Target { target });
        }
        self.end_node()?;
        Ok(Event::Symlink(target))
    }

    fn entry_or_end(&mut self) -> Result<Event, Problem> {
        let tag = self.string("tag", MAX_TOKEN)?;
        match &tag[..] {
            b"entry" => self.entry(),
            b")" => {
                self.names.pop();
                self.end_entry()?;
                Ok(Event::End)
            }
            _ => Err(Problem::Token { expected: "`entry` or `)`", found: tag }),
        }
    }

    fn entry(&mut self) -> Result<Event, Problem> {
        self.token(b"(", "`(`")?;
        self.token(b"name", "`name`")?;
        let name = self.string("name", MAX_NAME)?;
        if matches!(&name[..], b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(Problem::Name { name });
        }
        let previous = self.names.last_mut().expect("entries are expected in directories only");
        if name <= *previous {
            return Err(Problem::Order { name, previous: previous.clone() });
        }
        previous.clone_from(&name);
        self.token(b"node", "`node`")?;
        self.expect = Expect::Node;
        Ok(Event::Entry(name))
    }

    fn skip_contents(&mut self) -> Result<(), Problem> {
        let copied = io::copy(&mut self.contents(), &mut io::sink());
        copied.map(drop).map_err(Problem::from_io)
    }

    fn after_contents(&mut self) -> Result<Option<Event>, Problem> {
        if let Expect::Contents { padding, .. } = self.expect {
            self.padding(padding)?;
        }
        self.end_node()?;
        self.advance()
    }

    fn end_node(&mut self) -> Result<(), Problem> {
        self.token(b")", "`)`")?;
        self.end_entry()
    }

    /// Closes the entry that the node before was in.
    fn end_entry(&mut self) -> Result<(), Problem> {
        if self.names.is_empty() {
            self.expect = Expect::Nothing;
            return Ok(());
        }
        self.expect = Expect::EntryOrEnd;
        self.token(b")", "`)`")
    }

    fn token(&mut self, wanted: &[u8], expected: &'static str) -> Result<(), Problem> {
        let found = self.string("tag", MAX_TOKEN)?;
        if found == wanted { Ok(()) } else { Err(Problem::Token { expected, found }) }
    }

    fn string(&mut self, what: &'static str, limit: u64) -> Result<Vec<u8>, Problem> {
        let length = self.number()?;
        if length > limit {
            return Err(Problem::Length { what, length });
        }
        let mut bytes = vec![0; length as usize];
        self.exact(&mut bytes)?;
        self.padding(padding(length))?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, Problem> {
        let mut bytes = [0; 8];
        self.exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn padding(&mut self, length: usize) -> Result<(), Problem> {
        let mut zeros = [0; 8];
        self.exact(&mut zeros[..length])?;
        if zeros == [0; 8] { Ok(()) } else { Err(Problem::Padding) }
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), Problem> {
        self.source.read_exact(bytes).map_err(Problem::from_io)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

impl Problem {
    pub(crate) fn from_io(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Source { source },
        }
    }
}

/// The contents of one file in an archive; the end of the archive before theirs is an error.
#[derive(Debug)]
pub struct Contents<'reader, R>(&'reader mut Reader<R>);

impl<R: Read> Read for Contents<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Expect::Contents { left, .. } = &mut self.0.expect else { return Ok(0) };
        let wanted = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.0.source.read(&mut bytes[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= count as u64;
        self.0.offset += count as u64;
        Ok(count)
    }
}
