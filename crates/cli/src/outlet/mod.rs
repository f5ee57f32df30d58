//! The one way to stderr, which several want at the same time.
//!
//! ```text
//! Messages::say, any thread ──► lines ──┬─► held back, while somebody else has the terminal (a shell after a failure)
//!                                       ├─► above what stands at the bottom, with its next change
//! watch::live ─► bottom lines ──────────┴─► stderr, each change in one write
//! ```
//!
//! Lines that are said stay. What stands at the bottom of a terminal is changed in place, and gone in the end.

mod line;
mod region;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{getpgrp, tcgetpgrp};

pub(crate) use line::{Line, Paint, fitting, width};
pub(crate) use region::{Reflow, Region};

/// As many bytes are held back; the logs of builds are kept elsewhere.
const MOST_HELD: usize = 1 << 20;

/// So much may wait for the next change of the bottom lines.
const MOST_WAITING: usize = 64 * 1024;

/// How long a terminal may take something else, in milliseconds.
const PATIENCE: u8 = 200;

/// There is one stderr, so there is one.
static OUTLET: Mutex<Outlet> = Mutex::new(Outlet { held: None, bottom: None });

struct Outlet {
    /// What is said while somebody else has the terminal.
    held: Option<Held>,
    bottom: Option<Standing>,
}

/// What stands at the bottom.
struct Standing {
    region: Region,
    /// Lines that belong above it and are not there yet.
    above: String,
}

#[derive(Default)]
struct Held {
    text: String,
    /// Lines for which there was no room.
    lost: usize,
}

impl Held {
    fn push(&mut self, line: &str) {
        match self.text.len() + line.len() <= MOST_HELD {
            true => self.text += line,
            false => self.lost += 1,
        }
    }
}

impl Outlet {
    fn say(&mut self, text: &str) {
        match self {
            Self { held: Some(held), .. } => held.push(text),
            Self { bottom: Some(standing), .. } => {
                standing.above += text;
                if standing.above.len() > MOST_WAITING {
                    write(&standing.region.lift(&std::mem::take(&mut standing.above)));
                }
            }
            _ => write(text),
        }
    }

    /// Leaves nothing at the bottom until it is set again.
    fn clear(&mut self) {
        if let Some(standing) = &mut self.bottom {
            write(&standing.region.clear(&std::mem::take(&mut standing.above)));
        }
    }
}

fn outlet() -> MutexGuard<'static, Outlet> {
    OUTLET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A closed stderr is no reason to stop working, so what cannot be said is left unsaid.
fn write(text: &str) {
    if !text.is_empty() {
        // In one piece, so that it does not mix with what other processes say on the same terminal.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// Says whole lines, with their ends.
pub(crate) fn say(text: &str) {
    outlet().say(text);
}

/// Holds back everything that is said, until it is dropped.
#[must_use = "dropping it says what was held back"]
pub(crate) struct Hold(());

/// Begins to hold back what is said; nothing stands at the bottom meanwhile.
pub(crate) fn hold() -> Hold {
    let mut outlet = outlet();
    outlet.clear();
    outlet.held = Some(Held::default());
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut outlet = outlet();
        let Some(Held { mut text, lost }) = outlet.held.take() else { return };
        if lost > 0 {
            text += &format!("({lost} more lines were printed meanwhile; `store log` has them)\n");
        }
        outlet.say(&text);
    }
}

/// The lines at the bottom of the terminal, for as long as it lives.
#[must_use = "dropping it clears the bottom lines"]
pub(crate) struct Bottom(());

/// Takes the bottom of the terminal, where nothing stands yet.
pub(crate) fn bottom(reflow: Reflow) -> Bottom {
    outlet().bottom = Some(Standing { region: Region::new(reflow), above: String::new() });
    Bottom(())
}

impl Bottom {
    /// Sets the bottom lines, each narrower than the terminal, and puts above them what was said since.
    ///
    /// A terminal that takes nothing at the moment (Ctrl-S) stays as it is: nobody waits for it.
    pub(crate) fn set(&self, lines: Vec<Line>, columns: usize) {
        let mut outlet = outlet();
        if let Outlet { held: None, bottom: Some(standing) } = &mut *outlet
            && is_ready()
        {
            write(&standing.region.set(&std::mem::take(&mut standing.above), lines, columns));
        }
    }

    /// Leaves nothing at the bottom until it is set again.
    pub(crate) fn clear(&self) {
        outlet().clear();
    }
}

impl Drop for Bottom {
    fn drop(&mut self) {
        let mut outlet = outlet();
        outlet.clear();
        outlet.bottom = None;
    }
}

/// Leaves nothing at the bottom, if that takes no waiting: the process is about to end.
pub(crate) fn leave() {
    if let Ok(mut outlet) = OUTLET.try_lock()
        && is_ready()
    {
        outlet.clear();
    }
}

/// Does something while nothing stands at the bottom and nothing is said; as it is if the terminal takes nothing.
pub(crate) fn without_bottom(work: impl FnOnce()) {
    // Whoever is just saying something is done then.
    let mut outlet = is_ready_within(PATIENCE).then(outlet);
    outlet.iter_mut().for_each(|outlet| outlet.clear());
    work();
}

/// Returns whether somebody else has the terminal, to whom nothing is to be drawn: a shell, from which this was started
/// with `&`, or has gone on with `bg`.
pub(crate) fn is_in_background() -> bool {
    tcgetpgrp(io::stderr()).is_ok_and(|foreground| foreground != getpgrp())
}

fn is_ready() -> bool {
    is_ready_within(0)
}

fn is_ready_within(millis: u8) -> bool {
    let stderr = io::stderr();
    let mut polled = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut polled, PollTimeout::from(millis)).is_ok_and(|ready| ready > 0)
}
