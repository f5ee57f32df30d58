//! One build in the launcher: what it says, how it ends, and what is done after that.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::say;
use crate::connection::Connection;
use crate::error::Step;
use crate::given::Given;
use crate::ids;
use crate::keeper;
use crate::leash::Leash;
use crate::left_over;
use crate::limits::Bounds;
use crate::observer::Observer;
use crate::ownership::{self, Taker};
use crate::packet::send;
use crate::plan::{Isolation, Plan};
use crate::sweep;
use crate::sys;
use crate::wire::{self, Exited, Failure, Lost, Reply, Said};

/// One forked child.
pub(super) struct Build {
    pub(super) reply: OwnedFd,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    /// Open until the program runs or setting up failed.
    pub(super) status: Option<OwnedFd>,
    /// A byte written here says that ids are mapped; closing it ends a keeper.
    pub(super) go_on: Option<OwnedFd>,
    /// Setting up failed and that was told.
    pub(super) failed: bool,
    /// Nobody wants it any more, and it was told to end.
    pub(super) abandoned: bool,
    /// What the child has, once it has said so.
    pub(super) given: Option<Box<Given>>,
    /// The program runs and that was told.
    pub(super) started: bool,
    pub(super) user: Option<User>,
    pub(super) bounds: Bounds,
    pub(super) plan: Plan,
    /// Whether the launcher is root on the host.
    pub(super) is_root: bool,
    /// How it ended, while another process does what comes after; that is the child now.
    pub(super) ended: Option<Exited>,
    /// What its builder was given is being taken back, or has been.
    pub(super) is_taking_back: bool,
    pub(super) observer: Option<Observer>,
    /// Why it failed, to be told once its observer has told what it saw.
    pub(super) untold: Option<Failure>,
    /// The helper of its network.
    pub(super) connection: Option<Connection>,
    /// That has connected it.
    pub(super) is_connected: bool,
    /// How that has failed it.
    pub(super) lost: Option<Lost>,
}

/// The user that a build has for itself, also when `store` dies before the build.
pub(super) struct User {
    /// Locked, as long as this is open anywhere.
    #[expect(dead_code, reason = "is there to be open")]
    pub(super) lock: OwnedFd,
    /// Whether what it runs before the build is to be killed.
    pub(super) sweeps: bool,
}

/// What [`Server::turn`] found ready for one build.
#[derive(Clone, Copy, Default)]
pub(super) struct Ready {
    pub(super) status: bool,
    pub(super) ended: bool,
    pub(super) abandoned: bool,
    pub(super) observer: bool,
    pub(super) connected: bool,
    pub(super) disconnected: bool,
}

impl Build {
    /// Ends the build: its first process takes all others of the process namespace along, and a
    /// keeper kills what it keeps and undoes its mounts.
    pub(super) fn kill(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if self.plan.isolation == Isolation::Namespaces {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        self.go_on = None;
    }

    /// Reads what the child says while it sets up.
    pub(super) fn hear_child(&mut self) {
        let Some(status) = &self.status else { return };
        let mut buffer = [0; 8192];
        match rustix::io::read(status, &mut buffer) {
            Ok(0) => self.started(),
            Ok(length) => match Said::decode_all(&buffer[..length]) {
                Ok(all) => all.into_iter().for_each(|said| self.heard(said)),
                Err(_) => self.fail(Failure::new(Step::Namespaces, "/", Errno::BADMSG)),
            },
            Err(_) => {}
        }
    }

    fn heard(&mut self, said: Said) {
        match said {
            Said::WantsMaps => {
                if let Err(failure) = ids::map_child(self.pid, &self.plan.identity, self.is_root) {
                    self.fail(failure);
                } else if let Some(go_on) = &self.go_on {
                    // Should it have died meanwhile, that shows on its pidfd.
                    let _ = rustix::io::write(go_on, &[1]);
                }
            }
            Said::Failed(failure) => self.fail(failure),
            Said::Ready(given) => self.given = Some(given),
            Said::Runs => self.started(),
        }
    }

    /// Lets the child go on once its network is there, and ends the build without the helper of that.
    pub(super) fn see_to_network(&mut self, ready: &Ready) {
        let Some(connection) = &mut self.connection else { return };
        if ready.connected
            && connection.take_ready()
            && let Some(go_on) = &self.go_on
        {
            self.is_connected = true;
            let _ = rustix::io::write(go_on, &[1]);
        }
        // When both have ended, the helper has not ended first.
        if ready.disconnected && !ready.ended {
            self.lost = self.connection.take().map(|connection| connection.reap(self.is_connected));
            self.kill();
        }
    }

    fn started(&mut self) {
        self.status = None;
        // Without it, the child died while it was setting up, which its end will say.
        if let Some(given) = self.given.take().filter(|_| !self.failed) {
            self.started = true;
            // Should nobody be listening any more, the build is ended as abandoned.
            let started = wire::encode(&Reply::Started(given, self.pid));
            let _ = send(self.reply.as_fd(), &started, &[self.pidfd.as_fd()]);
        }
    }

    fn fail(&mut self, failure: Failure) {
        if !self.failed && (self.observer.is_some() || self.is_subordinate()) {
            self.untold = Some(failure);
        } else if !self.failed {
            say(self.reply.as_fd(), &Reply::Failed(failure));
        }
        self.failed = true;
        self.kill();
    }

    pub(super) fn hear_observer(&mut self) {
        match self.observer.as_mut().map_or(Ok(None), Observer::turn) {
            Ok(warning) => {
                warning.into_iter().for_each(|failure| say(self.reply.as_fd(), &Reply::Warning(failure)));
            }
            Err(failure) => self.fail(failure),
        }
    }

    pub(super) fn hold(&self, leash: &Leash) -> rustix::io::Result<()> {
        leash.hold(&self.pidfd, self.root())?;
        let observer = self.observer.as_ref().map(|observer| &observer.pidfd);
        let helper = self.connection.as_ref().map(Connection::process);
        observer.into_iter().chain(helper).try_for_each(|process| leash.hold(process, None))
    }

    /// Where its mounts are, if they are the host's.
    fn root(&self) -> Option<&Path> {
        match &self.plan.isolation {
            Isolation::Chroot { root } => Some(root),
            Isolation::Namespaces | Isolation::None => None,
        }
    }

    /// Does what its keeper has not, if that was killed. `ours` are children that are not of its making.
    fn clean_up(&self, ours: &[i32]) -> Result<(), Failure> {
        if self.plan.isolation == Isolation::Namespaces {
            return Ok(());
        }
        loop {
            let known = |child: &Pid| ours.contains(&child.as_raw_nonzero().get());
            let orphans: Vec<Pid> = keeper::children().into_iter().filter(|child| !known(child)).collect();
            if orphans.is_empty() {
                break;
            }
            for orphan in orphans {
                let _ = rustix::process::kill_process(orphan, Signal::KILL);
                let _ = sys::wait4(orphan.as_raw_nonzero().get());
            }
        }
        self.root().map_or(Ok(()), |root| left_over::release_within(root, Duration::from_secs(1)))
    }

    /// A process namespace takes everything along; without one, something may have left the keeper's care.
    fn sweep_after(&self) -> Result<(), Failure> {
        match (&self.user, &self.plan.isolation) {
            (None, _) | (_, Isolation::Namespaces) => Ok(()),
            _ => kill_user(&self.plan),
        }
    }

    /// Reaps the ended child, and then each process that does something after it. False if there is one more to come.
    pub(super) fn reap(&mut self, ours: &[i32]) -> bool {
        // What it said before it ended comes first.
        let mut unheard = 3;
        while self.status.is_some() && !self.failed && unheard > 0 {
            self.hear_child();
            unheard -= 1;
        }
        let Ok((_, mut exited)) = sys::wait4(self.pid) else { return false };
        let ended = self.ended.take();
        if ended.is_none() {
            self.put_away(&mut exited, ours);
        } else if self.is_taking_back && exited.status != 0 {
            say(self.reply.as_fd(), &Reply::Warning(Failure::new(Step::TakeBack, "/", Errno::PERM)));
        }
        let exited = ended.unwrap_or(exited);
        match self.after() {
            Some((pid, pidfd)) => {
                (self.pid, self.pidfd, self.ended) = (pid, pidfd, Some(exited));
                false
            }
            None => {
                self.told(exited);
                true
            }
        }
    }

    /// The next process that has to end before the end of the build is told: other builds are not to wait for it.
    fn after(&mut self) -> Option<(i32, OwnedFd)> {
        // The kernel takes its time over the interface that a helper has.
        if let Some(connection) = self.connection.take() {
            return Some(connection.kill());
        }
        if !self.is_subordinate() || self.is_taking_back {
            return None;
        }
        self.is_taking_back = true;
        if let Some(Taker { pid, pidfd }) = Taker::start(&self.plan) {
            return Some((pid, pidfd));
        }
        if let Err(failure) = ownership::hand_over(&self.plan, ownership::CALLER) {
            say(self.reply.as_fd(), &Reply::Warning(failure));
        }
        None
    }

    /// The caller is gone: waits until the build has ended, and does what is left to do after it.
    pub(super) fn finish(&mut self, ours: &[i32]) {
        let _ = sys::wait4(self.pid);
        if self.is_subordinate() && !self.is_taking_back {
            let _ = ownership::hand_over(&self.plan, ownership::CALLER);
        }
        self.connection.take().into_iter().for_each(Connection::end);
        let _ = self.clean_up(ours);
        self.observer.iter_mut().for_each(Observer::finish);
        let _ = self.bounds.remove();
    }

    /// Whether its builder is a subordinate id of the caller.
    fn is_subordinate(&self) -> bool {
        !self.is_root && self.plan.identity.outer.is_some()
    }

    /// Removes what it had beside its processes.
    fn put_away(&mut self, exited: &mut Exited, ours: &[i32]) {
        self.bounds.count(exited);
        if let Err(failure) = self.bounds.remove() {
            say(self.reply.as_fd(), &Reply::Warning(failure));
        }
        if let Err(failure) = self.clean_up(ours).and_then(|()| self.sweep_after()) {
            say(self.reply.as_fd(), &Reply::Warning(failure));
        }
        // Whoever hears of the end may take it for the next build at once.
        self.user = None;
        self.observer.iter_mut().for_each(Observer::finish);
    }

    /// Tells how it ended.
    fn told(&mut self, exited: Exited) {
        if let Some(failure) = self.untold.take() {
            say(self.reply.as_fd(), &Reply::Failed(failure));
        } else if !self.failed {
            let failure = || Failure::new(Step::SetUp, "/", Errno::CANCELED);
            let reply = match self.lost.take() {
                Some(lost) => Reply::Lost(lost),
                None if self.started => Reply::Exited(exited),
                None => Reply::Failed(failure()),
            };
            say(self.reply.as_fd(), &reply);
        }
    }
}

/// Kills what the user of a build runs, which was locked for it.
pub(super) fn kill_user(plan: &Plan) -> Result<(), Failure> {
    let Some((uid, gid)) = plan.identity.outer else { return Ok(()) };
    sweep::kill(uid, gid, plan.identity.count)
}
