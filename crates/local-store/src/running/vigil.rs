//! Waiting for the end of a build that somebody else runs, without looking again and again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Owner, RunningBuild, path};
use crate::location::Location;

/// Watches over a build of another process.
#[derive(Debug)]
pub struct Vigil {
    file: PathBuf,
    owner: Owner,
    /// Has news of the directory with the files of all builds.
    news: OwnedFd,
    /// Readable once the owner is dead; none if it lives in another container, or is dead already.
    life: Option<OwnedFd>,
}

/// How a build has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Whoever ran it has ended it, well or not.
    Orderly,
    /// Whoever ran it has died.
    OwnerDied,
}

impl Vigil {
    /// Begins to watch over a build.
    ///
    /// # Errors
    /// If the kernel gives out no more of what that takes, or the state directory cannot be read.
    pub fn keep(location: &Location, build: &RunningBuild) -> io::Result<Self> {
        let directory = location.running_builds();
        let news = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&news, &directory, WatchFlags::DELETE)?;
        let owner = build.owner.clone();
        let process = i32::try_from(owner.process).ok().and_then(Pid::from_raw);
        let process = process.filter(|_| !owner.is_elsewhere());
        let life = process.and_then(|process| pidfd_open(process, PidfdFlags::empty()).ok());
        Ok(Self { file: path(&directory, build), owner, news, life })
    }

    /// Returns what may be readable when something has changed.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        std::iter::once(self.news.as_fd()).chain(self.life.as_ref().map(AsFd::as_fd)).collect()
    }

    /// Returns how the build has ended, if it has.
    pub fn end(&self) -> Option<End> {
        // What is in there does not matter: it may have been about any build.
        let mut buffer = [0; 4096];
        while rustix::io::read(&self.news, &mut buffer).is_ok_and(|length| length > 0) {}
        // In this order: an owner that ends in good order removes the file while it lives.
        let lives = self.owner.may_live() && !self.has_ended();
        match self.file.exists() {
            false => Some(End::Orderly),
            true if !lives => Some(End::OwnerDied),
            true => None,
        }
    }

    /// Whether the owner has ended, which it has before its parent takes notice, while its number is still taken.
    fn has_ended(&self) -> bool {
        let Some(life) = &self.life else { return false };
        let mut polled = [PollFd::new(life, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::running::tests::announce;
    use crate::store::tests::scratch_store;
    use crate::{Stage, running_builds};

    #[test]
    fn a_build_ends_when_its_file_goes_or_its_owner_dies() {
        let (_scratch, store) = scratch_store();
        let mut build = announce(&store);
        build.tell(Stage::Keeping);
        let told = running_builds(store.location()).unwrap().remove(0);
        let vigil = Vigil::keep(store.location(), &told).unwrap();
        let mut dead = told.clone();
        dead.owner.process = u32::MAX >> 1;
        std::fs::copy(vigil.file.clone(), path(&store.location().running_builds(), &dead)).unwrap();
        let other = Vigil::keep(store.location(), &dead).unwrap();
        assert_eq!((vigil.end(), other.end()), (None, Some(End::OwnerDied)));
        drop(build);
        assert_eq!(vigil.end(), Some(End::Orderly));
    }
}
