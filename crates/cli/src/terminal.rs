//! Between the user and what runs in a sandbox: a terminal, where the user has one, or else pipes.
//!
//! ```text
//! the user's terminal ─ stdin ─► store ─► terminal pair ─► shell      (raw: keys such as Ctrl-C pass through)
//!                     ◄─ stdout ─┘    ◄─ of the sandbox ◄──┘
//! ```
//!
//! The user's terminal itself never enters the sandbox: nothing inside could put words into its mouth.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use builder::{Inside, Runs};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use sandbox::{Exit, ExitStatus, Notice, Running, Size, Streams, Terminal};

use crate::flow::{Flow, another, never_wait};
use crate::interrupt::{Interrupt, Resizes};
use crate::messages::Messages;

/// What the user controls what runs inside with.
#[derive(Clone, Copy)]
pub(crate) struct Controls<'a> {
    /// The word to stop.
    pub(crate) interrupt: &'a Interrupt,
    /// News of the terminal's size.
    pub(crate) resizes: &'a Resizes,
    /// Where warnings go.
    pub(crate) messages: Messages,
}

/// Returns whether the user sits at a terminal.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Runs something in the sandbox for the user, to its end; `None` if it was interrupted.
pub(crate) fn attend(inside: &Inside<'_>, runs: &Runs, controls: Controls<'_>) -> Result<Option<u8>> {
    let relay = || {
        let mut visit = if is_there() { at_terminal(inside, runs)? } else { by_pipes(inside, runs)? };
        visit.relay(controls)
    };
    match relay() {
        // It has ended with everything else.
        Err(_) if controls.interrupt.is_pending() => Ok(None),
        other => other,
    }
}

/// Something that runs in a sandbox, and what passes between it and the user.
struct Visit {
    /// From the user.
    input: Flow,
    /// To the user.
    outputs: Vec<Flow>,
    running: Running,
    /// The user's terminal, while it passes everything on.
    raw: Option<Raw>,
    terminal: Option<Terminal>,
}

fn at_terminal(inside: &Inside<'_>, runs: &Runs) -> Result<Visit> {
    let size = Size::of(io::stdin()).unwrap_or(Size { rows: 24, columns: 80 });
    let mut running = inside.start(runs, Streams::Terminal(size))?;
    let terminal = running.terminal().context("the sandbox has given no terminal")?;
    let raw = Raw::make(another(io::stdin())?).context("cannot use this terminal")?;
    let input = Flow::new(another(io::stdin())?, another(&terminal)?);
    let output = Flow::new(another(&terminal)?, another(io::stdout())?);
    Ok(Visit { input, outputs: vec![output], running, raw: Some(raw), terminal: Some(terminal) })
}

fn by_pipes(inside: &Inside<'_>, runs: &Runs) -> Result<Visit> {
    let pipe = || io::pipe().map(|(reader, writer)| (OwnedFd::from(reader), OwnedFd::from(writer)));
    let made = || -> io::Result<_> { Ok((pipe()?, pipe()?, pipe()?)) };
    let ((stdin, input), (output, stdout), (errors, stderr)) = made().context("cannot make a pipe")?;
    [&input, &output, &errors].into_iter().try_for_each(never_wait)?;
    let running = inside.start(runs, Streams::Pipes { stdin, stdout, stderr })?;
    Ok(Visit {
        input: Flow::new(another(io::stdin())?, input),
        outputs: vec![Flow::new(output, another(io::stdout())?), Flow::new(errors, another(io::stderr())?)],
        running,
        raw: None,
        terminal: None,
    })
}

impl Visit {
    fn relay(&mut self, controls: Controls<'_>) -> Result<Option<u8>> {
        let mut exit = None;
        loop {
            if exit.is_none() {
                exit = self.running.ended(&mut |notice| warn(controls.messages, notice))?;
            }
            if let Some(exit) = exit.filter(|_| self.outputs.iter().all(Flow::is_over)) {
                return Ok(Some(code(exit)));
            }
            // Nobody has it open inside any more, and it keeps the mounts of a root on the host busy.
            if self.terminal.is_some() && self.outputs.iter().all(Flow::is_over) {
                self.terminal = None;
                self.input.end();
            }
            // Whoever sat there has gone.
            let is_hung_up = self.terminal.is_some() && self.input.is_over() && exit.is_none();
            if self.wait(controls, exit.is_some())? || is_hung_up {
                return Ok(None);
            }
        }
    }

    /// Waits for something to happen and deals with it. True if that is the word to stop.
    fn wait(&mut self, controls: Controls<'_>, has_ended: bool) -> Result<bool> {
        let (stop, resized) = (controls.interrupt.descriptor(), controls.resizes.descriptor());
        let watch = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut polled = vec![watch(stop), watch(resized)];
        polled.extend((!has_ended).then(|| watch(self.running.as_fd())));
        let fixed = polled.len();
        let flows = || (!has_ended).then_some(&self.input).into_iter().chain(&self.outputs);
        polled.extend(flows().filter_map(Flow::waits_for));
        // What an ended program has left is read at once: nothing more will come.
        let reads_on = has_ended && self.outputs.iter().any(|flow| !flow.is_over() && flow.is_empty());
        let timeout = if reads_on { PollTimeout::ZERO } else { PollTimeout::NONE };
        match poll(&mut polled, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno).context("cannot wait for the sandbox"),
        }
        let is_ready: Vec<bool> = polled.iter().map(|one| one.any().unwrap_or(false)).collect();
        drop(polled);
        if is_ready[1] {
            self.resize(controls.resizes);
        }
        let mut ready = is_ready[fixed..].iter();
        let flows = (!has_ended).then_some(&mut self.input).into_iter().chain(&mut self.outputs);
        for flow in flows {
            let waits = flow.waits_for().is_some();
            let is_ready = waits && ready.next().copied().unwrap_or(false);
            if is_ready || waits && has_ended && flow.is_empty() {
                flow.go_on(has_ended);
            }
        }
        Ok(is_ready[0])
    }

    fn resize(&self, resizes: &Resizes) {
        resizes.take();
        if let (Some(terminal), Some(size)) = (&self.terminal, Size::of(io::stdin())) {
            terminal.resize(size);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // Before anything else is said on it.
        drop(self.raw.take());
    }
}

fn warn(messages: Messages, notice: Notice) {
    match notice {
        Notice::Warning(error) => messages.warn(format_args!("{:#}", anyhow::Error::from(error))),
        Notice::Detail(_) => {}
    }
}

/// Returns how a program ended, as a shell says it.
fn code(exit: Exit) -> u8 {
    let code = match exit.status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal(signal) => 128 + signal,
        ExitStatus::Overran(_) | ExitStatus::GivenUp => 1,
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Whether the user's terminal interprets nothing, and is to be made what it was.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Returns whether the terminal has to be given back before this process may end.
pub(crate) fn is_taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

/// The user's terminal while it interprets nothing. Dropping it makes it what it was.
struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    fn make(terminal: OwnedFd) -> nix::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // The guard exists before the change.
        let guard = Self { terminal, before };
        TAKEN.store(true, Ordering::SeqCst);
        tcsetattr(&guard.terminal, SetArg::TCSANOW, &raw)?;
        Ok(guard)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // One that is gone needs nothing.
        let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
        TAKEN.store(false, Ordering::SeqCst);
    }
}
