//! The observer's loop: hears of a call, looks at what it asks for, lets it go on or answers it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::book::{Book, Entry, Known};
use super::call::{self, Asked, AskedPath};
use super::directory::{self, Done};
use super::headers;
use super::inside::{self, Inside};
use crate::filter;
use crate::observation::{Absent, Address, How, Kind, Observed, Scope};
use crate::sys::{self, Heard};

/// Different addresses that are remembered.
const MOST_ADDRESSES: usize = 1000;

/// Hears of every call until no process is left to make one.
pub(super) fn watch(listener: &OwnedFd, scope: Scope) -> rustix::io::Result<Observed> {
    // Without it, calls take longer.
    let _ = sys::wake_in_step(listener);
    let mut watch = Watch {
        listener,
        names: filter::observed_calls(),
        scope,
        inside: None,
        book: Book::default(),
        seen: Observed::default(),
    };
    while let Some(call) = watch.next()? {
        let done = watch.judge(&call);
        let answered = match &done {
            Some(done) => sys::answer(listener, call.id, done.length),
            None => sys::let_go_on(listener, call.id),
        };
        match answered {
            Ok(()) => {}
            // It was killed meanwhile.
            Err(Errno::NOENT) => done.iter().for_each(Done::undo),
            Err(errno) => return Err(errno),
        }
    }
    Ok(watch.into_observed())
}

struct Watch<'a> {
    listener: &'a OwnedFd,
    names: HashMap<(u32, u32), &'static str>,
    scope: Scope,
    /// The build's files, once a process of it has called.
    inside: Option<Inside>,
    book: Book,
    seen: Observed,
}

impl Watch<'_> {
    /// Waits for the next call; `None` once the last process has ended.
    fn next(&self) -> rustix::io::Result<Option<Heard>> {
        loop {
            let mut polled = [PollFd::new(self.listener, PollFlags::IN)];
            match poll(&mut polled, None) {
                Ok(_) if polled[0].revents().contains(PollFlags::IN) => {}
                Err(Errno::INTR) => continue,
                Ok(_) => return Ok(None),
                Err(errno) => return Err(errno),
            }
            match sys::hear(self.listener) {
                Ok(call) => return Ok(Some(call)),
                // Its process was killed meanwhile.
                Err(Errno::NOENT | Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Nothing here may fail the call: what cannot be read is counted. Returns what was done in its place, if that was.
    fn judge(&mut self, call: &Heard) -> Option<Done> {
        self.book.turn += 1;
        self.seen.heard += 1;
        let name = *self.names.get(&(call.audit, call.number))?;
        if name == directory::READ {
            return if self.scope.backwards { self.read_backwards(call) } else { None };
        }
        if self.inside.is_none() {
            self.inside = Inside::of(call.pid).ok();
        }
        match call::asked(call, name) {
            Ok(Asked::Path(asked)) => self.path(call, asked),
            Ok(Asked::Address(address, packet)) => self.address(call, address, &packet),
            Ok(Asked::Message(packet)) => {
                if let Some(name) = call::host_name(&packet) {
                    self.wants(call, "a name server".to_owned(), Some(name));
                }
            }
            // The kernel fails these, too: a bad address, a path that is too long.
            Ok(Asked::Nothing) | Err(Errno::FAULT | Errno::NAMETOOLONG | Errno::SRCH) => {}
            Err(_) => self.seen.unreadable += 1,
        }
        None
    }

    fn read_backwards(&mut self, call: &Heard) -> Option<Done> {
        directory::read_backwards(self.listener, call).unwrap_or_else(|_| {
            self.seen.unturned += u64::from(sys::still_waits(self.listener, call.id).is_ok());
            None
        })
    }

    fn path(&mut self, call: &Heard, asked: AskedPath) {
        let Some(inside) = &self.inside else {
            self.seen.unreadable += 1;
            return;
        };
        let path = match asked.path.is_absolute() {
            true => asked.path,
            false => match inside.base(call.pid, asked.at) {
                Some(base) => base.join(asked.path),
                None => return,
            },
        };
        let quiet = self.is_quiet(&path);
        if quiet && asked.how != How::Run && !self.book.searches(call.pid) {
            return;
        }
        match self.book.known(&path) {
            Some(Known::There) => self.found(call, &path, asked.how),
            Some(Known::Absent(place)) if inside.has(&path, asked.follow) == Some(true) => {
                self.book.appeared(place);
                self.found(call, &path, asked.how);
            }
            Some(Known::Absent(place)) => {
                self.book.again(place, asked.how, || process_name(call.pid));
                self.wait(call.pid, &path, place);
            }
            None => match inside.has(&path, asked.follow) {
                Some(true) => {
                    self.found(call, &path, asked.how);
                    // What a build makes itself may go again.
                    if asked.follow && !quiet {
                        self.book.is_there(path);
                    }
                }
                Some(false) if !quiet => self.missed(call, path, asked.how),
                Some(false) | None => {}
            },
        }
    }

    fn found(&mut self, call: &Heard, path: &Path, how: How) {
        self.book.found(call.pid, path);
        if how == How::Run
            && let Some(inside) = &self.inside
            && let Some(interpreter) = inside.interpreter(path)
            && inside.has(&interpreter, true) == Some(false)
        {
            self.note(call, interpreter, How::Run, Some(inside::plain(path)));
        }
    }

    /// Lets it wait whether the same process finds something of that name, unless that would say nothing.
    fn wait(&mut self, pid: u32, path: &Path, place: usize) {
        if !headers::is_place(path) {
            self.book.wait(pid, path, place);
        }
    }

    fn missed(&mut self, call: &Heard, path: PathBuf, how: How) {
        if let Some(place) = self.note(call, path.clone(), how, None) {
            self.wait(call.pid, &path, place);
        }
    }

    /// Enters a path that was not looked for before, or an interpreter; returns its place.
    fn note(&mut self, call: &Heard, asked: PathBuf, how: How, needed_by: Option<PathBuf>) -> Option<usize> {
        let inside = self.inside.as_ref()?;
        let by = if self.book.turn == 1 { String::new() } else { process_name(call.pid) };
        let path = inside.resolved(&asked);
        // After the last look at the process: what was read is of the one that calls.
        sys::still_waits(self.listener, call.id).ok()?;
        match self.book.known(&asked) {
            Some(Known::Absent(place)) => {
                self.book.again(place, how, || by);
                Some(place)
            }
            _ if inside.has(&path, true) == Some(true) => None,
            _ => self.book.add(asked, Entry { path, how, by, needed_by, misses: 1, last: 0 }),
        }
    }

    fn address(&mut self, call: &Heard, address: std::net::SocketAddr, packet: &[u8]) {
        let is_name_service = address.port() == call::NAME_SERVICE;
        let own = address.ip().is_loopback() || address.ip().is_unspecified();
        // On its own loopback, a build talks to itself; but nobody of it is asked for names.
        if own && !is_name_service || address.port() == 0 {
            return;
        }
        let name = if is_name_service { call::host_name(packet) } else { None };
        self.wants(call, address.to_string(), name);
    }

    fn wants(&mut self, call: &Heard, text: String, name: Option<String>) {
        let known = |one: &Address| one.text == text && one.name == name;
        if self.seen.addresses.len() >= MOST_ADDRESSES || self.seen.addresses.iter().any(known) {
            return;
        }
        let by = process_name(call.pid);
        if sys::still_waits(self.listener, call.id).is_ok() {
            self.seen.addresses.push(Address { text, name, by });
        }
    }

    fn is_quiet(&self, path: &Path) -> bool {
        let below = |path: &Path, all: &[crate::observation::ScopePath]| {
            all.iter().any(|one| path.starts_with(&one.0))
        };
        let path = inside::plain(path);
        below(&path, &self.scope.never) && !below(&path, &self.scope.always)
    }

    /// Looks at the host, now that nobody is left who could tell from it how long that takes.
    fn into_observed(self) -> Observed {
        let is_told = |path: &Path| self.scope.always.iter().any(|one| path.starts_with(&one.0));
        let forgotten = self.book.forgotten;
        let missed = self.book.missed();
        let headers = headers::missed(&missed);
        let mut absent: Vec<(u64, Absent)> = Vec::new();
        for entry in missed.into_iter().chain(headers) {
            let host = kind(&entry.path);
            let Entry { path, how, by, needed_by, last, .. } = entry;
            if host.is_some() || is_told(&path) {
                absent.push((last, Absent { path, how, by, needed_by, host }));
            }
        }
        absent.sort_by_key(|(last, _)| *last);
        let absent = absent.into_iter().map(|(_, absent)| absent).collect();
        Observed { absent, forgotten, ..self.seen }
    }
}

/// What the host has at `path`. Nothing is mounted or opened for it.
fn kind(path: &Path) -> Option<Kind> {
    let stat =
        rustix::fs::statx(CWD, path, AtFlags::NO_AUTOMOUNT, StatxFlags::MODE | StatxFlags::TYPE).ok()?;
    let mode = u32::from(stat.stx_mode);
    Some(match FileType::from_raw_mode(mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile if mode & 0o111 != 0 => Kind::Program,
        _ => Kind::Other,
    })
}

/// What the kernel calls a process: the beginning of its program's name, unless it chose another.
fn process_name(pid: u32) -> String {
    let mut name = [0; 64];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let length = rustix::fs::open(format!("/proc/{pid}/comm"), flags, Mode::empty())
        .and_then(|file| rustix::io::read(&file, &mut name));
    String::from_utf8_lossy(&name[..length.unwrap_or(0)]).trim_end().to_owned()
}
