//! The lock of collectors, and who knocks meanwhile.
#![expect(clippy::disallowed_methods, reason = "a lock file and a socket in the state directory")]

use std::fs;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use crate::error::Error;
use crate::open_file::{open_lock_file, remove_file, try_lock};
use crate::short_name::by_short_name;
use crate::store::LocalStore;
use crate::until::Until;

/// So many may wait to be heard.
const BACKLOG: i32 = 256;

/// How often it is tried again to get the lock, in milliseconds: waiting for a lock itself cannot be given up.
const AGAIN_MILLIS: u32 = 50;

/// Keeps root writers out while it lives. Those who come say at the socket what they are about to use.
pub(crate) struct Collector {
    /// Unless somebody answers there, those who come wait for it to be closed.
    pub(super) socket: OwnedFd,
    _lock: File,
}

impl LocalStore {
    /// Waits for those who are writing roots, and keeps others from it. Drops what belongs to no link any more.
    pub(crate) fn lock_out_root_writers(&self) -> Result<Collector, Error> {
        Ok(self.lock_out_until(Until::DONE)?.expect("nobody gives up"))
    }

    /// Does the same, or returns nothing when `until` says so first.
    pub(super) fn lock_out_until(&self, until: Until<'_>) -> Result<Option<Collector>, Error> {
        let path = self.location().state_dir.join("gc.lock");
        let file = open_lock_file(&path)?;
        while !try_lock(&file, &path, FlockOperation::NonBlockingLockExclusive)? {
            if until.is_over_within(AGAIN_MILLIS) {
                return Ok(None);
            }
        }
        let socket = listen_at(&self.location().collector_socket())?;
        self.drop_stale_roots()?;
        Ok(Some(Collector { socket, _lock: file }))
    }
}

/// Replaces the socket in one step: at no moment is there none, which Nix takes for an error.
///
/// The caller has the lock, so nobody else does it.
fn listen_at(path: &Path) -> Result<OwnedFd, Error> {
    let aside = path.with_extension("tmp");
    // From one that was killed.
    remove_file(&aside)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let prepare = || -> rustix::io::Result<OwnedFd> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        by_short_name(&aside, |address| bind(&socket, address))?;
        // Whoever may use the store may say so, as in Nix.
        rustix::fs::chmod(&aside, Mode::from_raw_mode(0o666))?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    let socket = prepare().map_err(Error::file("listen at", &aside))?;
    fs::rename(&aside, path).map_err(Error::file("listen at", path))?;
    Ok(socket)
}
