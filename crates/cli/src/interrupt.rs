//! Being told to stop, by Ctrl-C, `kill` or a terminal that is closed: a build is ended in good order, not in the middle of
//! a step; being told twice, at once.
//!
//! ```text
//! signals ─► a thread of [`Interrupt::attend`] ── the first ──► a pipe that whoever works looks at, and never empties
//!                                              └─ the second ─► the process ends, whatever it is at
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "asks the kernel which signals this process was told to ignore, and listens to the others in a scoped thread"
)]

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::exit::Exit;
use crate::outlet;
use crate::terminal;

/// What comes so soon after the first is the same word, passed on by somebody who was told, too.
const SAME_WORD: Duration = Duration::from_millis(100);

/// So long is waited for what cannot be told to stop, and would leave little behind.
const GRACE: Duration = Duration::from_millis(700);

/// The signals that end a process, or stop it, as a person at a terminal does.
const SIGNALS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGTSTP];

/// Keeps them from having any effect until somebody listens, or until it is dropped.
#[must_use = "dropping it gives the signals their usual effect back"]
pub(crate) struct Held(SigSet);

/// Begins to hold back what is said from outside, before it is known what this process is to do.
pub(crate) fn hold() -> Held {
    let signals: SigSet = SIGNALS.into_iter().collect();
    // Where that is refused, they have their usual effect.
    let _ = signals.thread_block();
    Held(signals)
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.thread_unblock();
    }
}

/// Turns the signals that end a process into something to read, for as long as it lives; and that which stops one, so that
/// the terminal is left in order first.
///
/// Threads and processes that are started meanwhile leave these signals alone, too; the launcher gives them their usual effect
/// back.
#[must_use = "dropping it gives the signals their usual effect back"]
pub(crate) struct Interrupt {
    caught: Caught,
    /// Readable once the user has enough.
    word: PipeReader,
    speaker: PipeWriter,
    /// Whether somebody looks at `word`.
    is_heard: AtomicBool,
}

impl Interrupt {
    /// Begins to catch signals, which [`Interrupt::attend`] listens to.
    pub(crate) fn catch() -> Result<Self> {
        let caught = Caught::of(SIGNALS.into_iter().filter(|one| !is_ignored(*one)).collect())?;
        let (word, speaker) = io::pipe().context("cannot prepare for being interrupted")?;
        Ok(Self { caught, word, speaker, is_heard: AtomicBool::new(false) })
    }

    /// Listens while `work` is done.
    ///
    /// # Errors
    /// If there is no thread to be had; then nothing was done.
    pub(crate) fn attend<R>(&self, work: impl FnOnce() -> R) -> Result<R> {
        let (done, not_done) = io::pipe().context("cannot prepare for being interrupted")?;
        thread::scope(|scope| {
            thread::Builder::new()
                .spawn_scoped(scope, || self.listen(done))
                .context("cannot start a thread to hear of interruptions")?;
            // Also when the work panics: the scope waits for the thread.
            let _not_done = not_done;
            Ok(work())
        })
    }

    /// Says that whatever is done from now on ends when the user has enough.
    pub(crate) fn is_heard(&self) {
        self.is_heard.store(true, Ordering::SeqCst);
    }

    fn listen(&self, done: PipeReader) {
        let mut first: Option<Instant> = None;
        loop {
            let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut fds = [watch(done.as_fd()), watch(self.caught.descriptor.as_fd())];
            let is_deaf = first.is_some() && !self.is_heard.load(Ordering::SeqCst);
            let timeout = if is_deaf { PollTimeout::from(50u8) } else { PollTimeout::NONE };
            if poll(&mut fds, timeout).is_ok() && fds[0].any().unwrap_or(true) {
                return;
            }
            while let Ok(Some(info)) = self.caught.descriptor.read_signal() {
                if info.ssi_signo == Signal::SIGTSTP as u32 {
                    pause();
                    continue;
                }
                let before = first.is_some_and(|first| first.elapsed() > SAME_WORD);
                // A shell that is closed and its terminal say the same.
                if before && info.ssi_signo != Signal::SIGHUP as u32 {
                    end();
                }
                first.get_or_insert_with(Instant::now);
                // The pipe is empty but for such words.
                let _ = (&self.speaker).write_all(b"!");
            }
            if is_deaf && first.is_some_and(|first| first.elapsed() > GRACE) {
                end();
            }
        }
    }

    /// Returns whether the user has enough.
    pub(crate) fn is_pending(&self) -> bool {
        let mut polled = [PollFd::new(self.descriptor(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Returns what becomes readable when the user has enough.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.word.as_fd()
    }
}

/// Stops this process until it is told to go on (Ctrl-Z, and `fg`), with nothing at the bottom of the terminal meanwhile.
fn pause() {
    let stop: SigSet = [Signal::SIGTSTP].into_iter().collect();
    outlet::without_bottom(|| {
        // With its usual effect, as a shell tells it from other stops, and it has none where nobody could end it.
        if stop.thread_unblock().is_ok() {
            let _ = raise(Signal::SIGTSTP);
            let _ = stop.thread_block();
        }
    });
}

/// Ends this process. The launcher ends the builds, and the next start clears up what is left of them.
#[expect(clippy::exit, reason = "whoever says it twice does not want to wait for anybody's guards")]
fn end() {
    if !terminal::is_taken() {
        outlet::leave();
        process::exit(Exit::Interrupted.code().into());
    }
}

/// Signals that have no effect but to be read.
struct Caught {
    signals: SigSet,
    descriptor: SignalFd,
}

impl Caught {
    fn of(signals: SigSet) -> Result<Self> {
        let catch = || {
            let descriptor = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
            signals.thread_block()?;
            Ok::<_, nix::Error>(Self { signals, descriptor })
        };
        catch().context("cannot prepare for being interrupted")
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        // What was caught must not take effect now.
        while let Ok(Some(_)) = self.descriptor.read_signal() {}
        let _ = self.signals.thread_unblock();
    }
}

/// News of the size of the user's terminal, to be read in place of a signal.
///
/// Caught before there are other threads, which otherwise would be told, and do nothing.
pub(crate) struct Resizes(Caught);

impl Resizes {
    /// Begins to catch them.
    pub(crate) fn catch() -> Result<Self> {
        Caught::of([Signal::SIGWINCH].into_iter().collect()).map(Self)
    }

    /// Returns what becomes readable when there are news.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }

    /// Takes all there are: only the last size counts.
    pub(crate) fn take(&self) {
        while let Ok(Some(_)) = self.0.descriptor.read_signal() {}
    }
}

/// Returns whether whoever started this process wants it to go on: `nohup`, or a shell script's `&`.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal as i32 - 1)) != 0
}
