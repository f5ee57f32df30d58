//! Being told to stop, by Ctrl-C, `kill` or a terminal that is closed: a build is ended in good order, not in the middle of a step.
#![expect(
    clippy::disallowed_methods,
    reason = "asks the kernel which signals this process was told to ignore"
)]

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Turns the signals that end a process into something to read, for as long as it lives.
///
/// Threads started meanwhile leave these signals alone, too. Processes would as well, so those that must not, the
/// launcher above all, are started before.
#[must_use = "dropping it gives the signals their usual effect back"]
pub(crate) struct Interrupt {
    signals: SigSet,
    descriptor: SignalFd,
}

impl Interrupt {
    /// Begins to catch signals.
    pub(crate) fn catch() -> Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
            .into_iter()
            .filter(|one| !is_ignored(*one))
            .collect();
        Self::of(signals)
    }

    fn of(signals: SigSet) -> Result<Self> {
        let catch = || {
            let descriptor = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
            signals.thread_block()?;
            Ok::<_, nix::Error>(Self { signals, descriptor })
        };
        catch().context("cannot prepare for being interrupted")
    }

    /// Returns whether the user has enough.
    pub(crate) fn is_pending(&self) -> bool {
        let mut polled = [PollFd::new(self.descriptor(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Returns what becomes readable when the user has enough.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        // What was caught must not take effect now.
        while let Ok(Some(_)) = self.descriptor.read_signal() {}
        let _ = self.signals.thread_unblock();
    }
}

/// News of the size of the user's terminal, to be read in place of a signal.
///
/// Caught before there are other threads, which otherwise would be told, and do nothing.
pub(crate) struct Resizes(Interrupt);

impl Resizes {
    /// Begins to catch them.
    pub(crate) fn catch() -> Result<Self> {
        Interrupt::of([Signal::SIGWINCH].into_iter().collect()).map(Self)
    }

    /// Returns what becomes readable when there are news.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
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
