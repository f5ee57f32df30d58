//! Who has a file locked that somebody waits for: the database, or the lock that is held while it is brought up to date.
//!
//! The kernel is asked by the inode. To open the files of a database is no way: whoever closes a descriptor of one gives up
//! all locks that SQLite has on it in the same process.
#![expect(clippy::disallowed_methods, reason = "looks at locks and processes")]

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::running::command;

/// The byte of the index of the write-ahead log that a writer locks.
const LOG_WRITER: u64 = 120;

/// The byte of a database without such a log that a writer locks.
const WRITER: u64 = 0x4000_0001;

/// A process that has something locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locker {
    /// Its number.
    process: u32,
    /// Its command line, as far as it may be looked at.
    command: Option<String>,
}

impl fmt::Display for Locker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "process {}", self.process)?;
        self.command.as_ref().map_or(Ok(()), |command| write!(formatter, " (`{command}`)"))
    }
}

/// Returns who has `file` locked for writing, a database or a file of a lock, as far as that can be found out.
pub fn locker(file: &Path) -> Option<Locker> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let mut index = file.as_os_str().to_owned();
    index.push("-shm");
    let wanted = [
        (PathBuf::from(index), "POSIX", Some(LOG_WRITER)),
        (file.to_owned(), "POSIX", Some(WRITER)),
        (file.to_owned(), "FLOCK", None),
    ];
    let found = wanted.iter().find_map(|(file, kind, byte)| {
        let inode = fs::metadata(file).ok()?.ino();
        locks.lines().find_map(|line| process_in(line, kind, inode, *byte))
    });
    found.map(|process| Locker { process, command: command(process) })
}

/// Returns the process in a line as `1: POSIX  ADVISORY  WRITE 4242 08:01:131 120 120`, if it is about that.
///
/// Of the device nothing is said, as some file systems name another one here than to whoever looks at the file.
fn process_in(line: &str, kind: &str, inode: u64, byte: Option<u64>) -> Option<u32> {
    let fields: Vec<&str> = line.split_ascii_whitespace().skip(1).collect();
    let [found, _, access, process, file, start, end] = fields[..] else { return None };
    let covers = |byte: u64| {
        let within = |end: u64| start.parse().is_ok_and(|start: u64| (start..=end).contains(&byte));
        access == "WRITE" && within(if end == "EOF" { u64::MAX } else { end.parse().unwrap_or(0) })
    };
    let is_it = found == kind && file.rsplit(':').next()?.parse() == Ok(inode) && byte.is_none_or(covers);
    // Those in other containers have no number here.
    process.parse().ok().filter(|process| is_it && *process > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_names_the_process() {
        let line = "1: POSIX  ADVISORY  WRITE 4242 08:01:131 120 121";
        assert_eq!(process_in(line, "POSIX", 131, Some(120)), Some(4242));
        assert_eq!(process_in(line, "POSIX", 131, Some(122)), None);
        assert_eq!(process_in(line, "POSIX", 13, Some(120)), None);
        assert_eq!(process_in(line, "FLOCK", 131, None), None);
        assert_eq!(process_in(&line.replace("WRITE", "READ"), "POSIX", 131, Some(120)), None);
        assert_eq!(process_in(&line.replace("121", "EOF"), "POSIX", 131, Some(1 << 40)), Some(4242));
        assert_eq!(
            process_in("1: -> POSIX  ADVISORY  WRITE 7 08:01:131 120 120", "POSIX", 131, Some(120)),
            None
        );
        assert_eq!(process_in("1: FLOCK  ADVISORY  READ 7 08:01:131 0 EOF", "FLOCK", 131, None), Some(7));
    }
}
