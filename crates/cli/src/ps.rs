//! `store ps`
#![expect(clippy::disallowed_methods, reason = "people want to know since when something runs")]

use std::io::{self, IsTerminal, Write};
use std::os::fd::BorrowedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use local_store::{Location, RunningBuild, Stage, running_builds};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sandbox::{Processes, Size, Usage};

use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::outlet;
use crate::session::Session;

mod json;
mod table;

/// Shows the builds that run or wait, whoever runs them: for what, since when, what they use, what they wait for.
///
/// Neither locks nor opens the store. What is shown of a build that others run is what may be seen of their processes.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  store ps\n  store ps --watch\n  store ps --json | jq '.[] | select(.state == \"building\") | .id'\n\n\
                        `store cancel ID` stops one of them."
)]
pub(crate) struct Args {
    /// Shows them anew each second, until Ctrl-C.
    #[arg(short, long)]
    watch: bool,
}

/// A build, and what it uses now.
pub(crate) struct Shown {
    build: RunningBuild,
    usage: Option<Usage>,
}

/// Everything there is to be shown.
pub(crate) struct Picture<'a> {
    location: &'a Location,
    now_millis: i64,
    builds: Vec<Shown>,
}

/// How long `--watch` shows the same.
const A_WHILE: u16 = 1000;

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let location = session.location()?;
    if !args.watch {
        show(session, &location, false)?;
        return Ok(Exit::Success);
    }
    let interrupt = Interrupt::catch()?;
    interrupt.is_heard();
    interrupt.attend(|| watch(session, &location, &interrupt))?
}

fn watch(session: &mut Session, location: &Location, interrupt: &Interrupt) -> Result<Exit> {
    let redraws = io::stdout().is_terminal() && !session.json();
    loop {
        show(session, location, redraws)?;
        session.results().flush()?;
        if is_readable(interrupt.descriptor(), A_WHILE)? {
            return Ok(Exit::Success);
        }
    }
}

fn show(session: &mut Session, location: &Location, redraws: bool) -> Result<()> {
    let picture = Picture::take(location)?;
    if session.json() {
        return Ok(session.results().json(&json::picture(&picture))?);
    }
    let mut lines = table::lines(&picture);
    if let Some(size) = Size::of(io::stdout()).filter(|_| io::stdout().is_terminal()) {
        let columns = usize::from(size.columns);
        // A phase is what a builder calls it, be it of wide characters.
        lines.iter_mut().for_each(|line| *line = outlet::fitting(line, columns));
        // What does not fit would push away what does.
        lines.truncate(if redraws { usize::from(size.rows).saturating_sub(1) } else { usize::MAX });
    }
    if lines.is_empty() && !redraws {
        session.messages().note("no build is running");
        return Ok(());
    }
    if redraws {
        // From the top on, and then away with what was below: nothing flickers.
        write!(session.results(), "\x1b[H")?;
    }
    for line in lines {
        write!(session.results(), "{line}{}", if redraws { "\x1b[K\n" } else { "\n" })?;
    }
    if redraws {
        write!(session.results(), "\x1b[J")?;
    }
    Ok(())
}

impl<'a> Picture<'a> {
    /// Looks at what runs now.
    fn take(location: &'a Location) -> Result<Self> {
        let builds = running_builds(location).context("cannot see what runs")?;
        let mut processes = None;
        let shown = builds.into_iter().map(|build| {
            let usage = match build.stage {
                // Its number means another process here.
                _ if build.owner.is_elsewhere() => None,
                Stage::Building { process, .. } => {
                    processes.get_or_insert_with(Processes::look).usage(process)
                }
                Stage::Waiting(_) | Stage::Elsewhere { .. } | Stage::Fetching { .. } | Stage::Keeping => None,
            };
            Shown { build, usage }
        });
        let builds = shown.collect();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_millis = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
        Ok(Self { location, now_millis, builds })
    }
}

fn is_readable(descriptor: BorrowedFd<'_>, millis: u16) -> Result<bool> {
    let mut polled = [PollFd::new(descriptor, PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::from(millis)) {
        Ok(ready) => Ok(ready > 0),
        // Only for a moment, as after a stop.
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno).context("cannot wait for Ctrl-C"),
    }
}
