//! `store gc`

use std::path::PathBuf;

use anyhow::Result;
use local_store::{Collected, Collection, CollectionNews, LocalStore, Progress, Until};
use serde_json::{Value, json};

use crate::age;
use crate::exit::Exit;
use crate::gauge::Gauge;
use crate::interrupt::Interrupt;
use crate::messages::chain;
use crate::root_text;
use crate::session::Session;
use crate::size;

/// Deletes everything that no root needs, and prints what it deleted.
///
/// Builds may go on meanwhile: what they use stays. What is ended half-way, the next one goes on with.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  store gc\n  store gc --dry-run\n  store gc --max-freed 10G\n  store gc --older-than 30d --delete-older-than 30d\n  \
                        store gc --print-roots\n\n\
                        The settings `keep-outputs` and `keep-derivations` say what derivations and outputs keep of \
                        each other."
)]
pub(crate) struct Args {
    /// Only prints what would be deleted, in the same order.
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Instead prints the roots: what keeps something, and what it keeps.
    #[arg(long, group = "instead")]
    print_roots: bool,

    /// Instead prints what something needs.
    #[arg(long, group = "instead")]
    print_live: bool,

    /// Instead prints what nothing needs.
    #[arg(long, group = "instead")]
    print_dead: bool,

    /// Ends once that much is free that was not: a number of bytes, or with K, M, G or T.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "instead")]
    max_freed: Option<u64>,

    /// Ends once the store takes no more than that.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "instead")]
    max_size: Option<u64>,

    /// Leaves what was used since then: an age (`30d`, `12h`, `2w`) or a date (`2026-03-01`). A path is used when it becomes
    /// valid, by builds and roots, and by what refers to it; to the day.
    #[arg(long, value_name = "AGE|DATE", value_parser = age::parse, conflicts_with = "instead")]
    older_than: Option<i64>,

    /// First removes all generations of profiles that are not in use.
    #[arg(short = 'd', long, conflicts_with = "instead")]
    delete_old: bool,

    /// First removes the generations of profiles that were not in use any more then; with `--delete-old` only those, too, as
    /// in Nix.
    #[arg(long, value_name = "AGE|DATE", value_parser = age::parse, conflicts_with = "instead")]
    delete_older_than: Option<i64>,
}

impl Args {
    /// Returns whether anything is deleted.
    pub(crate) fn collects(&self) -> bool {
        !(self.dry_run || self.print_roots || self.print_live || self.print_dead)
    }
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    if args.print_roots || args.print_live || args.print_dead {
        let store = session.read_store()?;
        return print(session, args, &store);
    }
    let store = if args.dry_run { session.read_store()? } else { session.open_store_to_make_room()? };
    let given_up = give_up(session, args, &store)?;
    let interrupt = Interrupt::catch()?;
    interrupt.is_heard();
    interrupt.attend(|| collect(session, args, &given_up, &store, &interrupt))?
}

/// Removes the generations of profiles that are not wanted any more, or says so and returns them.
fn give_up(session: &Session, args: &Args, store: &LocalStore) -> Result<Vec<PathBuf>> {
    if !args.delete_old && args.delete_older_than.is_none() {
        return Ok(Vec::new());
    }
    let (links, word) = match args.dry_run {
        true => (store.old_generations(args.delete_older_than)?, "would be removed"),
        false => (store.remove_old_generations(args.delete_older_than)?, "is removed"),
    };
    for link in &links {
        session.messages().note(format_args!("generation `{}` {word}", link.display()));
    }
    Ok(links)
}

fn print(session: &mut Session, args: &Args, store: &LocalStore) -> Result<Exit> {
    let settings = session.settings();
    let census = store.census(settings.keep_outputs, settings.keep_derivations)?;
    if args.print_roots {
        root_text::print(session, store, &census.roots)?;
        return Ok(Exit::Success);
    }
    let names = if args.print_live { census.live() } else { census.dead() };
    let lines = names.into_iter().map(|name| full(store, name)).collect();
    session.print_list(lines)?;
    Ok(Exit::Success)
}

fn collect(
    session: &mut Session,
    args: &Args,
    given_up: &[PathBuf],
    store: &LocalStore,
    interrupt: &Interrupt,
) -> Result<Exit> {
    let wish = Collection {
        keep_outputs: session.settings().keep_outputs,
        keep_derivations: session.settings().keep_derivations,
        max_freed_bytes: args.max_freed,
        max_size_bytes: args.max_size,
        is_rehearsal: args.dry_run,
        unused_since: args.older_than,
        given_up,
        until: Until::readable(Some(interrupt.descriptor())),
    };
    let mut names: Vec<String> = Vec::new();
    let mut unsaid = Ok(());
    let collected = {
        let gauge = Gauge::new(session, if args.dry_run { "weighing" } else { "deleting" });
        let mut of = 0;
        // Nothing is printed into a line that is drawn again and again.
        let prints_later = session.json() || gauge.is_live();
        store.collect(&wish, &mut |news| {
            let gone = match news {
                CollectionNews::Found(found) => return of = found,
                CollectionNews::Progress { gone, freed_bytes } => {
                    return gauge.show(Progress { of, paths: gone, bytes: freed_bytes });
                }
                CollectionNews::Gone(gone) => gone,
            };
            let mut paths = gone.iter().map(|name| full(store, name));
            if prints_later {
                names.extend(paths);
            } else if unsaid.is_ok() {
                unsaid = paths.try_for_each(|path| session.results().line(path));
            }
        })?
    };
    // A reader that has gone does not end it half-way, and is told of at its end.
    unsaid?;
    if session.json() {
        session.results().json(&as_json(&collected, names, args.dry_run))?;
    } else {
        names.into_iter().try_for_each(|path| session.results().line(path))?;
    }
    summarise(session, &collected, args.dry_run);
    Ok(match collected {
        Collected { was_stopped: true, .. } => Exit::Interrupted,
        Collected { failed, .. } if failed.is_empty() => Exit::Success,
        _ => Exit::Failure,
    })
}

fn as_json(collected: &Collected, paths: Vec<String>, is_rehearsal: bool) -> Value {
    json!({
        "dryRun": is_rehearsal,
        "stopped": collected.was_stopped,
        "paths": paths,
        "bytesFreed": collected.freed_bytes,
        "linksRemoved": collected.links,
        "logsRemoved": collected.logs,
        "failed": collected.failed.len(),
    })
}

fn summarise(session: &Session, collected: &Collected, is_rehearsal: bool) {
    let messages = session.messages();
    for error in &collected.failed {
        messages.warn(chain(error));
    }
    let mut gone = counted(collected.gone, "path");
    if collected.logs > 0 {
        gone = format!("{gone} and {}", counted(collected.logs, "log"));
    }
    let freed = size::show(collected.freed_bytes);
    match is_rehearsal {
        true => messages.note(format_args!("{gone} would be deleted, {freed} would be freed")),
        false => messages.note(format_args!("{gone} deleted, {freed} freed")),
    }
    if collected.was_stopped {
        messages.note("stopped before it was done; `store gc` goes on where this ended");
    }
    if !collected.failed.is_empty() {
        messages.note("what could not be deleted is tried again by the next `store gc`");
    }
}

/// Says how many there are of something.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn full(store: &LocalStore, name: &str) -> String {
    format!("{}/{name}", store.store_dir())
}
