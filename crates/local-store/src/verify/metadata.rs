//! Whether files of the store have the metadata that files of a store have.
#![expect(clippy::disallowed_methods, reason = "waits for whoever links files just now, going by the clock")]

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat};

use super::Damage;
use crate::canonical::has_store_time;
use crate::error::Error;
use crate::store::LocalStore;
use crate::tree::{Node, Visit, walk};
use crate::until::Until;

/// What is wrong about a file, but for its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Irregularity {
    /// Its permissions.
    Mode {
        /// What they are.
        found: u32,
        /// What they should be.
        wanted: u32,
    },
    /// When it was modified, in seconds since 1970; in a store that is 1.
    Time(i64),
    /// Whose it is.
    Owner {
        /// Whose.
        found: u32,
        /// Whose the store is.
        wanted: u32,
    },
}

impl fmt::Display for Irregularity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode { found, wanted } => write!(formatter, "has the mode {found:04o}, not {wanted:04o}"),
            Self::Time(found) => write!(formatter, "was modified at second {found}, not at 1"),
            Self::Owner { found, wanted } => {
                write!(formatter, "belongs to user {found}, not to {wanted}")
            }
        }
    }
}

/// Says what is wrong with a path.
pub(super) fn tell(first: &Path, what: &Irregularity, others: usize) -> String {
    let subject = match first.as_os_str().is_empty() {
        true => "it".to_owned(),
        false => format!("`{}` in it", first.display()),
    };
    match others {
        0 => format!("{subject} {what}"),
        1 => format!("{subject} {what}, and another file is not as it should be"),
        others => format!("{subject} {what}, and {others} other files are not as they should be"),
    }
}

impl LocalStore {
    /// Looks at all files of the path at `place`.
    ///
    /// Whoever links equal files, Nix too, changes mode and time of a directory meanwhile. What lasts is damage.
    pub(super) fn check_metadata(&self, place: &Path, until: Until<'_>) -> Option<Damage> {
        let store = std::fs::symlink_metadata(&self.location().real_store);
        let own = rustix::process::geteuid().as_raw();
        let owners = [store.map_or(own, |metadata| metadata.uid()), own];
        loop {
            let mut look = Look { owners, first: None, others: 0, directory_changed: 0 };
            if let Err(source) = walk(place, &mut look) {
                return Some(Damage::Unreadable { source });
            }
            let (path, what) = look.first?;
            if is_recent(look.directory_changed) && !until.is_over() {
                sleep(STEP);
                continue;
            }
            let first = path.strip_prefix(place).map(Path::to_owned).unwrap_or(path);
            return Some(Damage::Metadata { first, what, others: look.others });
        }
    }
}

/// Whether less than [`LINKING`] has passed since that second.
fn is_recent(second: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Not one of the future either, which a clock that was set back may leave.
    now.as_secs().checked_sub(u64::try_from(second).unwrap_or(0)).is_some_and(|age| age < LINKING.as_secs())
}

/// Nobody takes that long for one file of a directory.
const LINKING: Duration = Duration::from_secs(3);

/// After so long a directory is looked at again.
const STEP: Duration = Duration::from_millis(20);

struct Look {
    /// The store's, and the caller's, which is whose a path becomes.
    owners: [u32; 2],
    first: Option<(PathBuf, Irregularity)>,
    others: usize,
    /// When the directories that are not as they should be were changed last, in seconds since 1970.
    directory_changed: i64,
}

impl Look {
    fn at(&mut self, node: &Node<'_>) {
        let Some(what) = self.irregularity(node.stat) else { return };
        if FileType::from_raw_mode(node.stat.st_mode) == FileType::Directory {
            self.directory_changed = self.directory_changed.max(node.stat.st_ctime);
        }
        match self.first {
            None => self.first = Some((node.path(), what)),
            Some(_) => self.others += 1,
        }
    }

    fn irregularity(&self, stat: &Stat) -> Option<Irregularity> {
        let found = stat.st_mode & 0o7777;
        let wanted = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => found,
            FileType::RegularFile if found & 0o100 == 0 => 0o444,
            _ => 0o555,
        };
        if !self.owners.contains(&stat.st_uid) {
            Some(Irregularity::Owner { found: stat.st_uid, wanted: self.owners[0] })
        } else if found != wanted {
            Some(Irregularity::Mode { found, wanted })
        } else {
            (!has_store_time(stat)).then_some(Irregularity::Time(stat.st_mtime))
        }
    }
}

impl Visit for Look {
    fn enters(&mut self, directory: &Node<'_>) -> Result<bool, Error> {
        self.at(directory);
        Ok(true)
    }

    fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
        self.at(node);
        Ok(())
    }
}
