//! The log of a build that runs, until it has ended.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, bail};
use builder::{Follow, Heard};
use local_store::{End, RunningBuild, Stage, Vigil, Wait};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::outcome::Outcome;
use super::printer::Printer;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::messages::Messages;
use crate::results::Results;
use crate::session::Session;

/// How following has ended.
enum Left {
    /// With the build.
    Ended(End),
    /// The user has enough.
    Interrupted,
    /// Nobody reads any more.
    Alone,
}

/// Returns the build to follow if several processes want the same: the one that is ahead of the others.
pub(super) fn one_of(running: &[RunningBuild]) -> Option<&RunningBuild> {
    let is_ahead = |build: &&RunningBuild| !matches!(build.stage, Stage::Waiting(_));
    running.iter().find(is_ahead).or(running.first())
}

/// Prints the log of a build from its beginning, or its last lines, until the build ends; ends as that ended.
pub(super) fn follow(session: &mut Session, build: &RunningBuild, tail: Option<usize>) -> Result<Exit> {
    let location = session.location()?;
    if let Stage::Fetching { program } = &build.stage {
        bail!("`{}` is not built, but fetched by `{program}`, so that there is no log of it", build.drv);
    }
    if build.log.is_none() {
        bail!(
            "process {} builds `{}` without keeping its log (setting `keep-build-log`), so there is nothing to follow",
            build.owner.process,
            build.drv
        );
    }
    let cannot = || format!("cannot follow the build of `{}`", build.drv);
    let vigil = Vigil::keep(&location, build).with_context(cannot)?;
    let mut follow = Follow::new(location.log_path(&build.drv), since(build)).with_context(cannot)?;
    let messages = session.messages();
    tell_wait(messages, build);
    let interrupt = Interrupt::catch()?;
    interrupt.is_heard();
    let mut printer = Printer::new(session, tail);
    let out = session.results();
    let left = interrupt
        .attend(|| print(&mut follow, &vigil, &mut printer, out, messages, interrupt.descriptor()))??;
    let end = match left {
        Left::Interrupted => return Ok(Exit::Interrupted),
        Left::Alone => return Ok(Exit::Success),
        Left::Ended(end) => end,
    };
    if !follow.has_begun()
        && let Some(mut log) = follow.missed().with_context(cannot)?
    {
        printer.print_all(&mut log, session.results()).with_context(cannot)?;
    }
    let outcome = Outcome::of_followed(session, build, end);
    printer.end(outcome.verdict().as_deref(), session.results())?;
    Ok(outcome.tell(session, &build.drv))
}

/// What is older is not its log. Whoever waits for another one sees that one's.
fn since(build: &RunningBuild) -> i64 {
    match &build.stage {
        Stage::Waiting(Wait::Lock { holder, .. }) => {
            holder.as_ref().and_then(|holder| holder.since_millis).unwrap_or(0).min(build.since_millis)
        }
        _ => build.since_millis,
    }
}

/// Says why nothing may come for a while.
fn tell_wait(messages: Messages, build: &RunningBuild) {
    match &build.stage {
        Stage::Waiting(Wait::Lock { holder: Some(holder), .. }) => messages.note(format_args!(
            "process {} waits for process {} to build `{}`",
            build.owner.process, holder.process, build.drv
        )),
        Stage::Waiting(Wait::Lock { file, holder: None }) => messages.note(format_args!(
            "process {} waits for the lock `{file}` to build `{}`",
            build.owner.process, build.drv
        )),
        Stage::Waiting(Wait::User) => messages.note(format_args!(
            "process {} waits for a free user to build `{}`",
            build.owner.process, build.drv
        )),
        Stage::Waiting(Wait::Hook { program }) => messages.note(format_args!(
            "process {} waits for the hook `{}` to build `{}`",
            build.owner.process,
            program.display(),
            build.drv
        )),
        Stage::Building { .. } | Stage::Elsewhere { .. } | Stage::Fetching { .. } | Stage::Keeping => {}
    }
}

fn print(
    follow: &mut Follow,
    vigil: &Vigil,
    printer: &mut Printer,
    out: &mut Results,
    messages: Messages,
    stop: BorrowedFd<'_>,
) -> io::Result<Left> {
    loop {
        // First whether it has ended: what it wrote before is there then.
        let end = vigil.end();
        print_new(follow, printer, out, messages)?;
        printer.catch_up(out)?;
        out.flush()?;
        if let Some(end) = end {
            return Ok(Left::Ended(end));
        }
        if let Some(left) = wait(follow, vigil, stop)? {
            return Ok(left);
        }
    }
}

fn print_new(
    follow: &mut Follow,
    printer: &mut Printer,
    out: &mut Results,
    messages: Messages,
) -> io::Result<()> {
    let mut printed = Ok(());
    follow.read(&mut |heard| {
        if printed.is_ok() {
            printed = match heard {
                Heard::Output(bytes) => printer.print(bytes, out),
                Heard::Again => printer.end(None, out),
            };
        }
        if heard == Heard::Again {
            messages.note("its builder is run once more, and its log begins anew");
        }
    });
    printed
}

/// Waits for something new; returns why there is no reason to go on, if there is none.
fn wait(follow: &Follow, vigil: &Vigil, stop: BorrowedFd<'_>) -> io::Result<Option<Left>> {
    let stdout = io::stdout();
    let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
    // Of stdout only that nobody reads it, which the kernel tells unasked.
    let mut fds = vec![PollFd::new(stdout.as_fd(), PollFlags::empty()), watch(stop), watch(follow.as_fd())];
    fds.extend(vigil.descriptors().into_iter().map(watch));
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(match fds.as_slice() {
        [stdout, ..] if stdout.any().unwrap_or(true) => Some(Left::Alone),
        [_, stop, ..] if stop.any().unwrap_or(true) => Some(Left::Interrupted),
        _ => None,
    })
}
