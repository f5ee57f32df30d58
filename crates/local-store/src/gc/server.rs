//! The socket at which others say what they are about to use while garbage is collected: Nix's protocol.
//!
//! ```text
//! client ── "/nix/store/…-x\n" ──► collector
//!        ◄── "1", once x will not be deleted any more, or has been ──
//! ```
//!
//! One thread hears them all. A client waits only for the very path that is being deleted; it finds that it is not
//! valid, and makes it anew.

use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use store_path::{Digest, StoreDir};

use super::newcomers::Newcomers;

/// A line is a path; whoever says longer ones speaks another protocol.
const LONGEST_LINE: usize = 8 << 10;

/// More are not heard at the same time; the others wait in the kernel.
const MOST_CLIENTS: usize = 512;

/// Where there is no room for another descriptor it is tried again after so long.
const A_WHILE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Somebody who says what is wanted.
struct Client {
    socket: OwnedFd,
    /// What was heard and not acted on yet.
    heard: Vec<u8>,
    /// What is being deleted that this one wants.
    waits_for: Option<Digest>,
}

/// Answers until the collection is over.
pub(super) fn serve(listener: &OwnedFd, mut bell: PipeReader, newcomers: &Newcomers, store_dir: &StoreDir) {
    let mut clients: Vec<Client> = Vec::new();
    let mut is_full = false;
    loop {
        let is_rung = await_any(listener, &bell, &mut clients, is_full);
        if is_rung {
            // One reading takes all that was rung.
            let _ = bell.read(&mut [0; 4096]);
        }
        if newcomers.is_over() {
            return;
        }
        is_full = accept_all(listener, &mut clients);
        clients.retain_mut(|client| client.go_on(newcomers, store_dir).is_ok());
    }
}

/// Waits until there is something to do, and forgets clients that have gone away. Returns whether the bell was rung.
fn await_any(listener: &OwnedFd, bell: &PipeReader, clients: &mut Vec<Client>, is_full: bool) -> bool {
    let mut polled = vec![watch(bell.as_fd(), true)];
    polled.extend(clients.iter().map(|client| watch(client.socket.as_fd(), client.waits_for.is_none())));
    polled.extend((!is_full).then(|| watch(listener.as_fd(), true)));
    let _ = poll(&mut polled, is_full.then_some(&A_WHILE));
    let seen: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
    let mut seen = seen.into_iter();
    let is_rung = seen.next().is_some_and(|bell| !bell.is_empty());
    // One that waits would be told of again at once, and again, as long as it is waited for.
    clients.retain(|client| {
        let has_gone = seen.next().is_some_and(|client| client.intersects(PollFlags::HUP | PollFlags::ERR));
        client.waits_for.is_none() || !has_gone
    });
    is_rung
}

/// One that is not listened to is heard of when it goes away.
fn watch(fd: BorrowedFd<'_>, is_heard: bool) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, if is_heard { PollFlags::IN } else { PollFlags::empty() })
}

/// Takes in whoever has come. Returns whether there is no room for another.
fn accept_all(listener: &OwnedFd, clients: &mut Vec<Client>) -> bool {
    loop {
        if clients.len() >= MOST_CLIENTS {
            return true;
        }
        match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => clients.push(Client { socket, heard: Vec::new(), waits_for: None }),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(error) => return error != Errno::WOULDBLOCK,
        }
    }
}

/// It is of no use to listen to a client any longer.
struct Gone;

impl Client {
    /// Hears what there is to hear and answers what can be answered, without waiting.
    fn go_on(&mut self, newcomers: &Newcomers, store_dir: &StoreDir) -> Result<(), Gone> {
        if let Some(digest) = self.waits_for {
            if newcomers.is_going(&digest) {
                return Ok(());
            }
            self.waits_for = None;
            self.answer()?;
        }
        loop {
            while let Some(line) = self.next_line() {
                // Whoever says something else is answered as well, as by Nix: it may not know better.
                if let Ok(path) = store_dir.parse(&line)
                    && !newcomers.want(*path.digest())
                {
                    self.waits_for = Some(*path.digest());
                    return Ok(());
                }
                self.answer()?;
            }
            if !self.hear()? {
                return Ok(());
            }
        }
    }

    /// Returns false if there is nothing to hear now.
    fn hear(&mut self) -> Result<bool, Gone> {
        if self.heard.len() > LONGEST_LINE {
            return Err(Gone);
        }
        let mut piece = [0; 4096];
        match recv(&self.socket, &mut piece, RecvFlags::empty()) {
            Ok((0, _)) => Err(Gone),
            Ok((length, _)) => {
                self.heard.extend(&piece[..length]);
                Ok(true)
            }
            Err(Errno::INTR) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(_) => Err(Gone),
        }
    }

    fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.heard.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.heard.drain(..=end).collect();
        line.pop();
        Some(line)
    }

    fn answer(&self) -> Result<(), Gone> {
        send(&self.socket, b"1", SendFlags::NOSIGNAL).map(|_| ()).map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::super::newcomers::Over;
    use super::*;
    use crate::store::tests::{scratch_store, some_path};
    use crate::threads;

    fn say(client: &UnixStream, text: &str) {
        let mut client = client;
        client.write_all(text.as_bytes()).unwrap();
    }

    fn is_answered(client: &UnixStream, within: Duration) -> bool {
        client.set_read_timeout(Some(within)).unwrap();
        let mut client = client;
        client.read_exact(&mut [0]).is_ok()
    }

    #[test]
    fn what_is_wanted_is_heard_and_what_is_going_is_waited_for() {
        let (_scratch, store) = scratch_store();
        let collector = store.lock_out_root_writers().unwrap();
        let (newcomers, bell) = Newcomers::new().unwrap();
        let (going, other) = (some_path("going"), some_path("other"));
        newcomers.doom(|_| vec![going.clone()], |path| Some(*path.digest()));
        let long = Duration::from_secs(20);
        let conversation = || {
            let _over = Over(&newcomers);
            let connect = || UnixStream::connect(store.location().collector_socket()).unwrap();
            let [waits, idle, busy] = [connect(), connect(), connect()];
            say(&waits, &format!("/nix/store/{going}\n/nix/store/{other}\n"));
            say(&idle, "/nix/st");
            say(&busy, &format!("/nix/store/{other}\nnonsense\n"));
            assert!(is_answered(&busy, long) && is_answered(&busy, long), "nobody waits for others");
            assert!(!is_answered(&waits, Duration::from_millis(50)));
            newcomers.is_gone(going.digest());
            assert!(is_answered(&waits, long) && is_answered(&waits, long));
            let fresh = newcomers.doom(<[Digest]>::to_vec, |_| None);
            assert!(fresh.contains(other.digest()) && fresh.contains(going.digest()), "{fresh:?}");
            idle
        };
        let serve = || serve(&collector.socket, bell, &newcomers, store.store_dir());
        let idle = threads::beside(serve, conversation).unwrap();
        assert!(!is_answered(&idle, long), "it is told by the end of the connection");
    }

    #[test]
    fn whoever_goes_away_while_it_waits_is_forgotten() {
        let (_scratch, store) = scratch_store();
        let collector = store.lock_out_root_writers().unwrap();
        let (_newcomers, bell) = Newcomers::new().unwrap();
        let (gone, there) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let waiting = |socket: UnixStream| Client {
            socket: socket.into(),
            heard: Vec::new(),
            waits_for: Some(*some_path("going").digest()),
        };
        let mut clients = vec![waiting(gone.0), waiting(there.0)];
        drop(gone.1);
        assert!(!await_any(&collector.socket, &bell, &mut clients, false));
        assert_eq!(clients.len(), 1);
        drop(there.1);
        await_any(&collector.socket, &bell, &mut clients, false);
        assert!(clients.is_empty());
    }
}
