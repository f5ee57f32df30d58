//! `store optimise`

use anyhow::Result;
use local_store::{Optimisation, Savings, Sharing, Until};
use serde_json::json;

use crate::exit::Exit;
use crate::gauge::Gauge;
use crate::interrupt::Interrupt;
use crate::session::Session;
use crate::size;

/// Keeps equal files of the store once, as hard links to one file.
///
/// It may run beside builds and collectors. What somebody has open to write stays as it is.
#[derive(clap::Args, Debug)]
#[command(
    alias = "optimize",
    after_help = "Examples:\n  store optimise --dry-run    # says what would be saved\n  store optimise\n\n\
                  The setting `auto-optimise-store` does so for each new path."
)]
pub(crate) struct Args {
    /// Changes nothing; says what would be saved.
    #[arg(long)]
    dry_run: bool,

    /// Makes no hard links: has the file system keep the bytes of equal files once (btrfs, XFS), and each its own times
    /// and modes. All files are read each time.
    #[arg(long, conflicts_with = "dry_run")]
    reflink: bool,
}

impl Args {
    /// Returns whether anything is linked.
    pub(crate) fn links(&self) -> bool {
        !self.dry_run
    }
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.open_existing_store()?;
    let interrupt = Interrupt::catch()?;
    interrupt.is_heard();
    let gauge = Gauge::new(session, "optimising");
    let what = Optimisation {
        sharing: if args.reflink { Sharing::Blocks } else { Sharing::Links },
        dry_run: args.dry_run,
        until: Until::readable(Some(interrupt.descriptor())),
        progress: &|now| gauge.show(now),
    };
    let saved = interrupt.attend(|| store.optimise(&what))??;
    drop(gauge);
    print(session, args, saved)?;
    Ok(if saved.stopped { Exit::Interrupted } else { Exit::Success })
}

fn print(session: &mut Session, args: &Args, saved: Savings) -> Result<()> {
    let Savings { paths, files, bytes, written_to, writable, no_room, bad_links, stopped: _ } = saved;
    if session.json() {
        session.results().json(&json!({
            "paths": paths, "files": files, "bytes": bytes, "openToWrite": written_to, "writable": writable,
            "noRoom": no_room, "badLinks": bad_links, "dryRun": args.dry_run,
        }))?;
    } else {
        let done = if args.dry_run { "would be saved" } else { "saved" };
        let how = if args.reflink { "sharing the bytes of" } else { "linking" };
        session.results().line(format_args!("{} {done} by {how} {files} files", size::show(bytes)))?;
    }
    let messages = session.messages();
    if written_to > 0 {
        messages.note(format_args!("{written_to} files stay alone, as somebody has them open to write"));
    }
    if no_room > 0 {
        messages.note(format_args!("{no_room} files stay alone, as the file system allows no more links"));
    }
    if writable > 0 || bad_links > 0 {
        messages.warn(format_args!(
            "{writable} files may be written to, and {bad_links} links held something else than their names say; \
             `store verify --contents` tells what is damaged"
        ));
    }
    if saved.stopped {
        messages.note("stopped before all was looked at; what was linked stays");
    }
    Ok(())
}
