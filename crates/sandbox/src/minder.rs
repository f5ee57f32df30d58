//! The process that minds one program of the host: starts it, waits for it, ends it.

#![expect(clippy::disallowed_methods, reason = "what is to end is given its time")]

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

use crate::child::{die_with_parent, execute};
use crate::error::Step;
use crate::host_program::{HostProgram, Order, Word, timespec};
use crate::packet::{receive_packet, send};
use crate::sys::{self, Cloned};
use crate::wire::{self, Failure};

/// Above all numbers that a program is given descriptors under.
const ASIDE: i32 = 64;

/// Serves the one order that there is.
pub(crate) fn serve() {
    // What the caller's own parent left open without closing on exec is none of the program's business.
    let _ = sys::close_on_exec_from(3);
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), ASIDE) else { return };
    let word = match start(&control) {
        Ok(Some(mut program)) => {
            say(&control, &Word::Started);
            program.see_to_its_end(&control)
        }
        Ok(None) => return,
        Err(failure) => Word::Failed(failure),
    };
    say(&control, &word);
}

fn say(control: &OwnedFd, word: &Word) {
    // Whoever is gone need not be told.
    let _ = send(control.as_fd(), &wire::encode(word), &[]);
}

struct Minded {
    pid: i32,
    pidfd: OwnedFd,
    patience: Duration,
    takes_all_along: bool,
}

/// None if the caller is gone before it has said what to start.
fn start(control: &OwnedFd) -> Result<Option<Minded>, Failure> {
    let fail = |errno| Failure::new(Step::Descriptors, "/", errno);
    let mut buffer = [0; 4096];
    let (length, mut fds) = receive_packet(control.as_fd(), &mut buffer).map_err(fail)?;
    if length == 0 || fds.is_empty() {
        return Ok(None);
    }
    let order: Order = wire::decode(&buffer[..length]).map_err(|_| fail(Errno::BADMSG))?;
    let program = read(&fds.remove(0)).map_err(fail)?;
    let (status, their_status) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
    match sys::clone3(0).map_err(|error| fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)))? {
        Cloned::Child => {
            // Out of the way of what the program is given.
            let Ok(status) = rustix::io::fcntl_dupfd_cloexec(&their_status, ASIDE) else {
                sys::exit_now(127)
            };
            let Err(failure) = become_program(&program, &order, &fds, &status);
            // Should nobody be left to read it, this process is about to die with its parent.
            let _ = rustix::io::write(&status, &wire::encode(&failure));
            sys::exit_now(127)
        }
        Cloned::Parent { pid, pidfd } => {
            drop((fds, their_status));
            let mut said = [0; 4096];
            match rustix::io::read(&status, &mut said).map_err(fail)? {
                0 => {
                    let HostProgram { patience, takes_all_along, .. } = program;
                    Ok(Some(Minded { pid, pidfd, patience, takes_all_along }))
                }
                length => {
                    let _ = sys::wait4(pid);
                    Err(wire::decode(&said[..length]).unwrap_or_else(|_| fail(Errno::BADMSG)))
                }
            }
        }
    }
}

fn read(file: &OwnedFd) -> rustix::io::Result<HostProgram> {
    let mut bytes = Vec::new();
    let mut piece = [0; 65536];
    loop {
        match rustix::io::pread(file, &mut piece, bytes.len() as u64)? {
            0 => return wire::decode(&bytes).map_err(|_| Errno::BADMSG),
            length => bytes.extend_from_slice(&piece[..length]),
        }
    }
}

fn become_program(
    program: &HostProgram,
    order: &Order,
    fds: &[OwnedFd],
    status: &OwnedFd,
) -> Result<Infallible, Failure> {
    let fail = |errno| Failure::new(Step::Descriptors, "/", errno);
    die_with_parent(Signal::KILL, status)?;
    rustix::process::setsid().map_err(fail)?;
    // Aside first, so that none is overwritten before it has its own number.
    let aside: Vec<OwnedFd> = fds
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, ASIDE).map_err(fail))
        .collect::<Result<_, _>>()?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
    for number in 0..3 {
        sys::dup_to(&null, number).map_err(fail)?;
    }
    sys::close_on_exec_from(3).map_err(fail)?;
    for (number, fd) in order.numbers.iter().zip(&aside) {
        sys::dup_to(fd, *number).map_err(fail)?;
    }
    rustix::process::chdir(&program.exec.directory)
        .map_err(|errno| Failure::new(Step::ChangeDirectory, &program.exec.directory, errno))?;
    if let Some(user) = &program.user {
        let fail = |errno| Failure::new(Step::BecomeUser, "/", errno);
        sys::set_groups(&user.groups).map_err(fail)?;
        sys::become_ids(user.uid, user.gid).map_err(fail)?;
        // The change of ids has cleared it.
        die_with_parent(Signal::KILL, status)?;
    }
    sys::reset_signals();
    execute(&program.exec)
}

impl Minded {
    /// Waits until it has ended, and ends it once the caller wants that or is gone.
    fn see_to_its_end(&mut self, control: &OwnedFd) -> Word {
        let mut deadline = None;
        let mut is_wanted = true;
        loop {
            let mut polled = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
            if is_wanted {
                polled.push(PollFd::new(control, PollFlags::RDHUP));
            }
            let left = deadline
                .map(|deadline: Instant| timespec(deadline.saturating_duration_since(Instant::now())));
            match poll(&mut polled, left.as_ref()) {
                Err(Errno::INTR) => continue,
                Err(_) => self.signal(Signal::KILL),
                Ok(0) => {
                    self.signal(Signal::KILL);
                    deadline = None;
                }
                Ok(_) => {}
            }
            if !polled[0].revents().is_empty() {
                break;
            }
            if polled.get(1).is_some_and(|control| !control.revents().is_empty()) {
                is_wanted = false;
                self.signal(Signal::TERM);
                deadline = Some(Instant::now() + self.patience);
            }
        }
        if self.takes_all_along || !is_wanted {
            self.signal(Signal::KILL);
        }
        sys::wait4(self.pid).map_or(Word::Ended(libc::SIGKILL), |(_, exited)| Word::Ended(exited.status))
    }

    /// To all of its group, which is its own: it is not reaped yet, so the number is nobody else's.
    fn signal(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}
