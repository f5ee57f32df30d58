//! The archive format of Nix: one tree of files, directories and symlinks as one sequence of bytes.
//!
//! Floor 0. It touches only the tree it is given, and does not know what a store path is. Of each file it keeps
//! the contents and whether the owner may execute it: no times, owners, other modes, attributes or hard links.
//! So two trees have the same archive just when a build cannot tell them apart.
//!
//! [`dump`] and [`restore`] are for trees on disk, [`dump_part`] for one of which not all is wanted. [`Reader`] and [`Writer`] are the events under them, for
//! archives that never become a tree:
//!
//! ```
//! use nar::{Event, Reader, Writer};
//!
//! let mut archive = Vec::new();
//! let mut writer = Writer::new(&mut archive);
//! writer.directory()?;
//! writer.entry(b"hello")?;
//! writer.regular(false, 6, &mut &b"world\n"[..])?;
//! writer.end()?;
//! assert_eq!(writer.finish()?, 288);
//!
//! let mut reader = Reader::new(&archive[..]);
//! assert_eq!(reader.next()?, Some(Event::Directory));
//! assert_eq!(reader.next()?, Some(Event::Entry(b"hello".to_vec())));
//! assert_eq!(reader.next()?, Some(Event::Regular { executable: false, size: 6 }));
//! assert_eq!(std::io::read_to_string(reader.contents())?, "world\n");
//! assert_eq!(reader.next()?, Some(Event::End));
//! assert_eq!(reader.next()?, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dump;
mod read_error;
mod reader;
mod restore;
#[cfg(test)]
mod tests;
mod tokens;
mod writer;

pub use dump::{DumpError, Keeps, dump, dump_part};
pub use read_error::{Problem, ReadError};
pub use reader::{Contents, Event, Reader};
pub use restore::{RestoreError, restore};
pub use writer::{WriteError, Writer};
