//! The entries of a tarball: names put together, and everything refused that is no file, directory or link.

use std::io::{self, Read};

use tar::{Archive, EntryType, PaxExtensions};

/// Names and other extensions are told in entries of their own, which are kept in memory.
const MOST_EXTENSION_BYTES: u64 = 1 << 20;

/// What there is to make at a path.
pub(crate) enum Node<'a> {
    Directory,
    File {
        is_executable: bool,
        contents: &'a mut dyn Read,
    },
    Symlink {
        to: Vec<u8>,
    },
    /// One more name of what is at another path of the archive.
    HardLink {
        to: Vec<u8>,
    },
}

/// Why a tarball cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("it cannot be read as a tarball, plain or compressed by gzip, bzip2, xz or zstd")]
    Read {
        #[from]
        source: io::Error,
    },
    #[error("its entry `{}` is {what}, which no store path can hold", String::from_utf8_lossy(path))]
    Kind { path: Vec<u8>, what: &'static str },
    #[error("its entry `{}` {problem}", String::from_utf8_lossy(path))]
    Entry { path: Vec<u8>, problem: &'static str },
}

/// What entries before it say of the next one.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

/// Calls `make` for each entry, in order.
pub(crate) fn read<E: From<ArchiveError>>(
    source: impl Read,
    mut make: impl FnMut(&[u8], Node<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = Archive::new(source);
    let mut extensions = Extensions::default();
    for entry in archive.entries().map_err(ArchiveError::from)?.raw(true) {
        let mut entry = entry.map_err(ArchiveError::from)?;
        let header = entry.header().clone();
        if extensions.read(header.entry_type(), &mut entry)? {
            continue;
        }
        let Extensions { path, link, size, is_sparse } = std::mem::take(&mut extensions);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let refuse = |problem| ArchiveError::Entry { path: path.clone(), problem };
        if size.is_some_and(|size| header.entry_size().ok() != Some(size)) {
            return Err(refuse("is larger than such tarballs can say, and so cannot be read").into());
        }
        let link = link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let link = || link.ok_or_else(|| refuse("is a link to nowhere"));
        let node = match header.entry_type() {
            _ if is_sparse => return Err(refuse("is a file with holes, which cannot be read").into()),
            EntryType::Directory => Node::Directory,
            // Tarballs of old tell a directory by its name only.
            EntryType::Regular if path.ends_with(b"/") => Node::Directory,
            EntryType::Regular | EntryType::Continuous => {
                let is_executable = header.mode().map_err(ArchiveError::from)? & 0o100 != 0;
                Node::File { is_executable, contents: &mut entry }
            }
            EntryType::Symlink => Node::Symlink { to: link()? },
            EntryType::Link => Node::HardLink { to: link()? },
            other => return Err(ArchiveError::Kind { what: name(other), path }.into()),
        };
        make(&path, node)?;
    }
    Ok(())
}

fn name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::GNUSparse => "a file with holes",
        _ => "of an unknown kind",
    }
}

impl Extensions {
    /// Takes an entry that says something of the next one; returns whether it did.
    fn read(&mut self, kind: EntryType, entry: &mut impl Read) -> Result<bool, ArchiveError> {
        match kind {
            EntryType::GNULongName => self.path = Some(string(entry)?),
            EntryType::GNULongLink => self.link = Some(string(entry)?),
            EntryType::XHeader => self.pax(&bytes(entry)?)?,
            // Comments, such as the commit that an archive was made of.
            EntryType::XGlobalHeader => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn pax(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        for extension in PaxExtensions::new(bytes) {
            let extension = extension?;
            match extension.key_bytes() {
                b"path" => self.path = Some(extension.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(extension.value_bytes().to_vec()),
                b"size" => {
                    let size = extension.value().ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.ok_or_else(|| damaged("a size that is no number"))?);
                }
                key if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// A name that ends with a zero byte.
fn string(entry: &mut impl Read) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = bytes(entry)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    Ok(bytes)
}

fn bytes(entry: &mut impl Read) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    let length = entry.take(MOST_EXTENSION_BYTES + 1).read_to_end(&mut bytes)?;
    if length as u64 > MOST_EXTENSION_BYTES {
        return Err(damaged("a name of more than a mebibyte").into());
    }
    Ok(bytes)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
