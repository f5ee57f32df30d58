//! Telling another process to give up a build of its own.
//!
//! ```text
//! running-builds/<process>-<its start>.socket     mode 0600, there as long as its owner can be told
//!
//!   caller ── id ──► owner
//!          ◄── one letter, once that build has ended ──
//! ```
//!
//! The mode keeps strangers away, and the owner asks the kernel who has called, besides. Nobody is believed
//! by what is in a file: whoever listens there is whom the caller may talk to.
#![expect(clippy::disallowed_methods, reason = "running builds are files in the state directory")]

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, connect, listen, recv,
    send, socket_with, sockopt,
};

use super::{BuildId, Owner, RunningBuild};
use crate::error::Error;
use crate::location::Location;
use crate::short_name::by_short_name;
use crate::store::LocalStore;

/// So many may wait to be heard.
const BACKLOG: i32 = 64;

/// Where the owner of builds hears which of them to give up. Dropping it, nobody is heard any more.
#[derive(Debug)]
#[must_use = "dropping a CancelSocket closes it"]
pub struct CancelSocket {
    listener: OwnedFd,
    path: PathBuf,
}

/// Somebody who wants a build given up, and may.
#[derive(Debug)]
pub struct CancelCaller(OwnedFd);

/// What became of a build that was to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelAnswer {
    /// It was given up, and nothing of it is left.
    Cancelled,
    /// It had ended well before it could be.
    Built,
    /// It had failed before it could be.
    Failed,
    /// There is no such build any more.
    Gone,
}

impl CancelAnswer {
    const ALL: [Self; 4] = [Self::Cancelled, Self::Built, Self::Failed, Self::Gone];

    fn letter(self) -> u8 {
        match self {
            Self::Cancelled => b'c',
            Self::Built => b'b',
            Self::Failed => b'f',
            Self::Gone => b'g',
        }
    }
}

/// A word that is on its way to the owner of a build.
#[derive(Debug)]
pub struct CancelRequest {
    socket: OwnedFd,
    path: PathBuf,
}

impl LocalStore {
    /// Begins to hear which builds of this process are to be given up.
    ///
    /// # Errors
    /// If that cannot be, as when this process hears it already.
    pub fn hear_cancels(&self) -> Result<CancelSocket, Error> {
        let owner = self.owner.get_or_init(Owner::this_process);
        let path = socket_of(self.location(), owner);
        let listener = bound(&path).map_err(Error::file("listen at", &path))?;
        Ok(CancelSocket { listener, path })
    }
}

impl CancelSocket {
    /// Returns whoever calls next, without waiting. Whoever may not is sent away.
    pub fn accept(&self) -> Option<CancelCaller> {
        let caller = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()?;
        let user = sockopt::socket_peercred(&caller).ok()?.uid;
        (user.is_root() || user == rustix::process::geteuid()).then_some(CancelCaller(caller))
    }
}

/// Readable when somebody calls.
impl AsFd for CancelSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for CancelSocket {
    fn drop(&mut self) {
        // What cannot be removed answers nobody, which the next sweep finds.
        let _ = fs::remove_file(&self.path);
    }
}

impl CancelCaller {
    /// Returns which build is meant, once this is readable.
    pub fn hear(&self) -> Option<BuildId> {
        let mut text = [0; 64];
        let (length, _) = recv(&self.0, &mut text, RecvFlags::empty()).ok()?;
        BuildId::parse(std::str::from_utf8(text.get(..length)?).ok()?)
    }

    /// Says what became of it.
    pub fn answer(self, answer: CancelAnswer) {
        // It need not be there any more.
        let _ = send(&self.0, &[answer.letter()], SendFlags::NOSIGNAL);
    }
}

/// Readable when it has said which build it means, or has gone.
impl AsFd for CancelCaller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Tells the owner of a build to give it up, and does not wait for that.
///
/// # Errors
/// [`Error::File`] if the owner cannot be told: it runs as another user, or has ended.
pub fn cancel(location: &Location, build: &RunningBuild) -> Result<CancelRequest, Error> {
    let path = socket_of(location, &build.owner);
    let failed = |errno: Errno| Error::file("talk to the owner of the build at", &path)(errno);
    let socket = connected(&path).map_err(failed)?;
    send(&socket, build.id.to_string().as_bytes(), SendFlags::NOSIGNAL).map_err(failed)?;
    Ok(CancelRequest { socket, path })
}

impl CancelRequest {
    /// Waits until the build has ended, and returns how; if its owner has ended as well, it is gone.
    ///
    /// # Errors
    /// [`Error::File`] if the answer cannot be read.
    pub fn wait(self) -> Result<CancelAnswer, Error> {
        let mut letter = [0];
        let length = loop {
            match recv(&self.socket, &mut letter, RecvFlags::empty()) {
                Ok((length, _)) => break length,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => break 0,
                Err(errno) => return Err(Error::file("hear the answer at", &self.path)(errno)),
            }
        };
        let answer = CancelAnswer::ALL.into_iter().find(|answer| length == 1 && answer.letter() == letter[0]);
        Ok(answer.unwrap_or(CancelAnswer::Gone))
    }
}

/// Whether nobody listens any more at a socket that is there.
pub(super) fn is_deaf(path: &Path) -> bool {
    connected(path).is_err_and(|errno| errno == Errno::CONNREFUSED)
}

/// As the name tells when its owner was started, one that uses its number again has another one.
fn socket_of(location: &Location, owner: &Owner) -> PathBuf {
    location.running_builds().join(format!("{}-{}.socket", owner.process, owner.started))
}

fn bound(path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    // Before it has a name, so that nobody else can be faster.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    by_short_name(path, |address| bind(&socket, address))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn connected(path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = socket(SocketFlags::CLOEXEC)?;
    by_short_name(path, |address| connect(&socket, address))?;
    Ok(socket)
}

/// Messages keep their bounds.
fn socket(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use super::super::{Stage, running_builds};
    use super::*;
    use crate::store::tests::{scratch_store, some_path};

    #[test]
    fn an_owner_hears_and_answers() {
        let (_scratch, store) = scratch_store();
        let socket = store.hear_cancels().unwrap();
        let mode = fs::metadata(&socket.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert!(store.hear_cancels().is_err() && socket.accept().is_none());
        let drv = some_path("x.drv");
        let mut build = store.announce(BuildId::new(), &drv, &drv, BTreeMap::new(), None, 1);
        build.tell(Stage::Keeping);
        let running = running_builds(store.location()).unwrap();
        let request = cancel(store.location(), &running[0]).unwrap();
        let caller = socket.accept().unwrap();
        assert_eq!(caller.hear().as_ref(), Some(build.id()));
        caller.answer(CancelAnswer::Built);
        assert_eq!(request.wait().unwrap(), CancelAnswer::Built);
        let request = cancel(store.location(), &running[0]).unwrap();
        assert!(!is_deaf(&socket.path));
        let path = socket.path.clone();
        drop(socket);
        assert_eq!(request.wait().unwrap(), CancelAnswer::Gone);
        assert!(!path.exists() && cancel(store.location(), &running[0]).is_err());
    }

    #[test]
    fn a_socket_of_a_dead_process_is_deaf() {
        let (scratch, _store) = scratch_store();
        let path = scratch.join("x.socket");
        drop(bound(&path).unwrap());
        assert!(is_deaf(&path));
    }
}
