//! `store root list`

use anyhow::Result;
use local_store::FoundRoots;

use crate::exit::Exit;
use crate::root_text;
use crate::session::Session;

/// Shows what keeps store paths from being collected: links, profiles, running processes and builds.
///
/// Each line has a root, `->`, and the path that it keeps. What a root keeps stays with all it needs. As an ordinary user,
/// processes of others cannot be looked at.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store root list\n  store root list --links\n  \
                        store root list --json | jq -r '.[] | select(.root.kind == \"process\") | .path'\n\n\
                        `store root remove LINK` gives a link up; a process is one until it ends.")]
pub(crate) struct Args {
    /// Shows links only: those of people, permanent ones and generations of profiles.
    #[arg(long, conflicts_with = "processes")]
    links: bool,

    /// Shows only what lasts as long as a process: what processes use or are about to use, builds, mounts, the kernel.
    #[arg(long)]
    processes: bool,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.read_store()?;
    let mut found = FoundRoots::default();
    if !args.processes {
        found = store.lasting_roots()?;
    }
    if !args.links {
        let passing = store.passing_roots()?;
        found.roots.extend(passing.roots);
        found.unreadable.extend(passing.unreadable);
    }
    found.unreadable.iter().for_each(|error| session.messages().warn(error));
    root_text::print(session, &store, &found.roots)?;
    Ok(Exit::Success)
}
