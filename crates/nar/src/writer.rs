//! An archive from a sequence of events.

use std::io::{self, Read, Write};

use crate::tokens::{BUFFER_LEN, MAGIC, padding, read_some};

/// Writes an archive, one call for each of [`crate::Event`].
///
/// It collects what it writes into large pieces, and reads the contents of files right into them. The caller
/// answers for the tree: one root node, a node for each entry, names in order. Only [`crate::Reader`] judges.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    /// What was not handed to the sink yet is at its beginning.
    buffer: Box<[u8]>,
    filled: usize,
    /// How much was handed to the sink.
    flushed: u64,
    /// How many directories are open.
    depth: usize,
}

/// Why a file or a whole archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The sink refused more bytes.
    #[error("cannot write the archive")]
    Sink {
        /// Why.
        source: io::Error,
    },
    /// The contents of a file could not be read.
    #[error("cannot read the contents")]
    Contents {
        /// Why not.
        source: io::Error,
    },
    /// A file has more or fewer bytes than it had before; the archive already holds the number.
    #[error("the contents are not {expected} bytes long any more")]
    Size {
        /// How long they were.
        expected: u64,
    },
}

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(sink: W) -> Self {
        let mut writer = Self { sink, buffer: vec![0; BUFFER_LEN].into(), filled: 0, flushed: 0, depth: 0 };
        writer.string(MAGIC).expect("the buffer is empty, so nothing goes to the sink");
        writer
    }

    /// Begins a directory.
    pub fn directory(&mut self) -> Result<(), WriteError> {
        self.depth += 1;
        self.strings(&[b"(", b"type", b"directory"])
    }

    /// Begins an entry of the innermost directory; its node has to follow.
    pub fn entry(&mut self, name: &[u8]) -> Result<(), WriteError> {
        self.strings(&[b"entry", b"(", b"name", name, b"node"])
    }

    /// Ends the innermost directory.
    pub fn end(&mut self) -> Result<(), WriteError> {
        self.depth -= 1;
        self.end_node()
    }

    /// Writes a symlink.
    pub fn symlink(&mut self, target: &[u8]) -> Result<(), WriteError> {
        self.strings(&[b"(", b"type", b"symlink", b"target", target])?;
        self.end_node()
    }

    /// Writes a file of exactly `size` bytes.
    ///
    /// One byte more is asked for than there should be, so that `contents` that have grown are noticed without
    /// another read.
    pub fn regular(
        &mut self,
        executable: bool,
        size: u64,
        contents: &mut impl Read,
    ) -> Result<(), WriteError> {
        self.strings(&[b"(", b"type", b"regular"])?;
        if executable {
            self.strings(&[b"executable", b""])?;
        }
        self.string(b"contents")?;
        self.bytes(&size.to_le_bytes())?;
        self.contents(size, contents)?;
        self.bytes(&[0; 8][..padding(size)])?;
        self.end_node()
    }

    /// Hands over what is left, and returns how long the archive is.
    pub fn finish(mut self) -> Result<u64, WriteError> {
        self.flush()?;
        Ok(self.flushed)
    }

    fn contents(&mut self, size: u64, contents: &mut impl Read) -> Result<(), WriteError> {
        let mut left = size;
        while left > 0 {
            let wanted = read_len(left);
            if wanted > BUFFER_LEN - self.filled {
                self.flush()?;
            }
            let room = &mut self.buffer[self.filled..self.filled + wanted];
            let count = read_some(contents, room).map_err(|source| WriteError::Contents { source })?;
            left = match left.checked_sub(count as u64) {
                Some(left) if count > 0 => left,
                _ => return Err(WriteError::Size { expected: size }),
            };
            self.filled += count;
        }
        Ok(())
    }

    /// A node within a directory ends its entry as well.
    fn end_node(&mut self) -> Result<(), WriteError> {
        self.string(b")")?;
        if self.depth > 0 { self.string(b")") } else { Ok(()) }
    }

    fn strings(&mut self, strings: &[&[u8]]) -> Result<(), WriteError> {
        strings.iter().try_for_each(|bytes| self.string(bytes))
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let length = bytes.len() as u64;
        self.bytes(&length.to_le_bytes())?;
        self.bytes(bytes)?;
        self.bytes(&[0; 8][..padding(length)])
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while bytes.len() > BUFFER_LEN - self.filled {
            let (now, later) = bytes.split_at(BUFFER_LEN - self.filled);
            self.append(now);
            self.flush()?;
            bytes = later;
        }
        self.append(bytes);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) {
        self.buffer[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        let full = &self.buffer[..self.filled];
        self.sink.write_all(full).map_err(|source| WriteError::Sink { source })?;
        self.flushed += full.len() as u64;
        self.filled = 0;
        Ok(())
    }
}

/// How much to ask for at once: all and one byte more, or at least not all without that byte.
fn read_len(left: u64) -> usize {
    match usize::try_from(left) {
        Ok(left) if left < BUFFER_LEN => left + 1,
        Ok(left) => BUFFER_LEN.min(left - 1),
        Err(_) => BUFFER_LEN,
    }
}
