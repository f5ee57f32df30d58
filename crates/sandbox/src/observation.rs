//! What was seen of an observed build: what it looked for in vain, and whom it wanted to reach.
//!
//! `store` makes a file in memory, says in it what is of interest, and hands it to the launcher with the plan; the
//! build's observer writes what it saw into the same file before it ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::wire::{self, byte_path};

/// What of a build is of interest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// What is absent below these, as the build sees them, is told even if the host does not have it.
    pub always: Vec<ScopePath>,
    /// What is absent below these is never told, unless it is below one of `always`.
    pub never: Vec<ScopePath>,
    /// Directories are read to the build from the last entry to the first, as far as it reads them at once.
    pub backwards: bool,
}

/// An absolute path inside the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopePath(#[serde(with = "byte_path")] pub PathBuf);

/// What an observer saw until its build had ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// What was looked for in vain, and is on the host or always told; in the order in which it was asked for last.
    pub absent: Vec<Absent>,
    /// Addresses outside the sandbox that were wanted, in the order in which they were first.
    pub addresses: Vec<Address>,
    /// Calls that were heard of.
    pub heard: u64,
    /// Calls whose arguments the kernel did not show.
    pub unreadable: u64,
    /// Lookups that were not remembered since there were too many different ones.
    pub forgotten: u64,
    /// Calls that read a directory as it is, though it was to be read backwards.
    pub unturned: u64,
}

/// A path that a build looked for in vain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// Inside the sandbox, from the root on, symlinks that lead to it resolved.
    #[serde(with = "byte_path")]
    pub path: PathBuf,
    /// What it was wanted for.
    pub how: How,
    /// The name of the process that asked, as the kernel knows it; empty for the builder itself.
    pub by: String,
    /// The program or script that cannot run without it.
    #[serde(with = "optional_path")]
    pub needed_by: Option<PathBuf>,
    /// What the host has there.
    pub host: Option<Kind>,
}

/// What a path was wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum How {
    /// To be looked at: `stat`, `access`, `readlink`.
    Look,
    /// To be opened.
    Open,
    /// To be connected to.
    Connect,
    /// To be run.
    Run,
}

/// What there is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file that may be run.
    Program,
    /// Anything else.
    Other,
}

/// An address of a network that a build wanted to reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// As text: `192.0.2.1:443`, `[2001:db8::1]:443`.
    pub text: String,
    /// The name that was asked for, if that is a name server and the question could be read.
    pub name: Option<String>,
    /// The name of the process that asked.
    pub by: String,
}

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
enum Content {
    Wanted(Scope),
    Seen(Observed),
}

/// Asks for the observation of one build, and has what was seen once that has ended.
#[derive(Debug)]
pub struct Observation {
    file: OwnedFd,
}

impl Observation {
    /// Asks for what `scope` says.
    ///
    /// # Errors
    /// If no file can be had in memory.
    pub fn new(scope: Scope) -> Result<Self, Error> {
        let ask = || -> rustix::io::Result<OwnedFd> {
            let file = rustix::fs::memfd_create(c"observed", MemfdFlags::CLOEXEC)?;
            write(&file, &Content::Wanted(scope))?;
            Ok(file)
        };
        ask().map(|file| Self { file }).map_err(|errno| Error::Talk { source: errno.into() })
    }

    /// What was seen; `None` if the build was not observed, or its observer did not come to the end.
    pub fn seen(self) -> Option<Observed> {
        match read(&self.file) {
            Ok(Content::Seen(observed)) => Some(observed),
            _ => None,
        }
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What is of interest, for the observer.
pub(crate) fn scope(file: &OwnedFd) -> rustix::io::Result<Scope> {
    match read(file)? {
        Content::Wanted(scope) => Ok(scope),
        Content::Seen(_) => Err(Errno::BADMSG),
    }
}

/// Leaves what was seen where `store` reads it.
pub(crate) fn tell(file: &OwnedFd, observed: Observed) -> rustix::io::Result<()> {
    write(file, &Content::Seen(observed))
}

fn write(file: &OwnedFd, content: &Content) -> rustix::io::Result<()> {
    // An end that is missing later cannot be read as anything.
    rustix::fs::ftruncate(file, 0)?;
    let bytes = wire::encode(content);
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::pwrite(file, &bytes[written..], written as u64)?;
    }
    Ok(())
}

fn read(file: &OwnedFd) -> rustix::io::Result<Content> {
    let mut bytes = vec![0; rustix::fs::fstat(file)?.st_size as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::pread(file, &mut bytes[filled..], filled as u64)? {
            0 => return Err(Errno::BADMSG),
            length => filled += length,
        }
    }
    wire::decode(&bytes).map_err(|_| Errno::BADMSG)
}

mod optional_path {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ScopePath;

    #[expect(clippy::ref_option, reason = "what serde calls")]
    pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(Path::to_owned).map(ScopePath).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<ScopePath>::deserialize(deserializer)?.map(|path| path.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_there_only_when_all_of_it_is() {
        let scope =
            Scope { always: vec![ScopePath("/nix/store".into())], never: Vec::new(), backwards: true };
        let observation = Observation::new(scope.clone()).unwrap();
        assert_eq!(super::scope(&observation.file).unwrap(), scope);
        let file = observation.file.try_clone().unwrap();
        assert_eq!(observation.seen(), None, "nobody has written anything");
        let absent = Absent {
            path: "/usr/bin/env".into(),
            how: How::Run,
            by: "sh".to_owned(),
            needed_by: Some("/build/x".into()),
            host: Some(Kind::Program),
        };
        let observed = Observed { absent: vec![absent], heard: 3, ..Observed::default() };
        tell(&file, observed.clone()).unwrap();
        let again = || Observation { file: file.try_clone().unwrap() };
        assert_eq!(again().seen(), Some(observed));
        rustix::fs::ftruncate(&file, 4).unwrap();
        assert_eq!(again().seen(), None);
    }
}
