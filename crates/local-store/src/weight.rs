//! How much a tree takes on disk.

use rustix::fs::{FileType, Mode, Stat};

use crate::error::Error;
use crate::tree::{Node, Visit, id};

/// What tells one file from all others on this machine.
pub(crate) type FileId = (u64, u64);

/// One name of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) id: FileId,
    /// How many names the file has, with this one.
    pub(crate) links: u64,
    pub(crate) bytes: u64,
}

impl Link {
    /// Reads it.
    #[allow(clippy::useless_conversion, reason = "the number of links is narrower on other processors")]
    pub(crate) fn of(stat: &Stat) -> Self {
        let kind = FileType::from_raw_mode(stat.st_mode);
        // The further links of a directory are its own.
        let links = if kind == FileType::Directory { 1 } else { u64::from(stat.st_nlink) };
        // Such a block has 512 bytes, whatever the file system's have.
        Self { id: id(stat), links, bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * 512 }
    }

    /// How much is free once this name is gone, if that is the only one.
    pub(crate) fn alone(&self) -> Option<u64> {
        (self.links <= 1).then_some(self.bytes)
    }
}

/// What a tree takes on disk; nothing is mounted in it that would count.
#[derive(Debug, Default)]
pub(crate) struct Weight {
    pub(crate) own_bytes: u64,
    /// Files that have other names as well, perhaps elsewhere.
    pub(crate) shared: Vec<Link>,
    /// Whether directories that cannot be read count as if they were empty. Else they are errors.
    pub(crate) passes_closed: bool,
}

impl Visit for Weight {
    fn enters(&mut self, directory: &Node<'_>) -> Result<bool, Error> {
        self.leaf(directory)?;
        let mode = Mode::from_raw_mode(directory.stat.st_mode);
        let is_open = mode.contains(Mode::RUSR | Mode::XUSR) || rustix::process::geteuid().is_root();
        Ok(is_open || !self.passes_closed)
    }

    fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
        let link = Link::of(node.stat);
        match link.alone() {
            Some(bytes) => self.own_bytes += bytes,
            None => self.shared.push(link),
        }
        Ok(())
    }
}
