//! `store delete`

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use local_store::{Error, Keep, Kept, LocalStore};
use store_path::StorePath;

use crate::exit::Exit;
use crate::session::Session;

mod kept;

/// Deletes store paths that nothing needs, all or none; prints what it deleted.
///
/// What keeps a path is said: each root (a link, a profile, a running process) with the paths by way of which it needs it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store delete /nix/store/…-hello-2.10\n  \
                        store delete --recursive --skip-alive /nix/store/…-hello-2.10    # with what only it needs\n  \
                        store delete --json ./result | jq '.kept[].roots[].root'\n\n\
                        What a root (such as ./result) or another path refers to is refused. `store root list` shows all \
                        roots, `store query --referrers` what refers to a path. As for `store gc`, the settings \
                        `keep-outputs` and `keep-derivations` say what derivations and outputs keep of each other.")]
pub(crate) struct Args {
    /// Store paths.
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Deletes what the paths refer to as well, directly or not.
    #[arg(short, long)]
    recursive: bool,

    /// Deletes what refers to the paths as well, directly or not; with `--recursive` also what refers to what they need.
    #[arg(long)]
    also_referrers: bool,

    /// Leaves out what is still needed, and deletes the rest, instead of nothing.
    #[arg(long)]
    skip_alive: bool,

    /// Deletes also what roots need; what other paths refer to stays. Whatever uses it then is broken.
    #[arg(long, conflicts_with = "skip_alive")]
    ignore_liveness: bool,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.open_store_to_make_room()?;
    let paths = args.paths.iter().map(|path| session.whole_path(&store, path)).collect::<Result<Vec<_>>>()?;
    let selected = store.selection(&paths, args.recursive, args.also_referrers)?;
    let settings = session.settings();
    let keep = Keep { outputs: settings.keep_outputs, derivations: settings.keep_derivations };
    if args.skip_alive {
        let (deleted, kept) = store.delete_unwanted(&selected, keep)?;
        if !kept.is_empty() {
            session.messages().note(skipped(kept.len()));
        }
        for kept in &kept {
            session.messages().detail(kept::text(session, &store, kept, "kept"));
        }
        return print(session, &store, &deleted, &kept, Exit::Success);
    }
    let done = match args.ignore_liveness {
        true => store.delete_regardless(&selected),
        false => store.delete(&selected.iter().cloned().collect::<Vec<_>>(), keep),
    };
    match done {
        Ok(()) => print(session, &store, &selected, &[], Exit::Success),
        Err(Error::Rooted { kept }) => {
            session.messages().error(kept::refusal(session, &store, &kept));
            refused(session, &store, &kept)
        }
        Err(Error::Referred { path, referrer }) => {
            session.messages().error(format_args!(
                "{}; delete that first, or both at once (`--also-referrers` takes all that does)",
                Error::Referred { path: path.clone(), referrer: referrer.clone() }
            ));
            let kept = Kept { path, keepers: Vec::new(), others: 0, referrer: Some(referrer) };
            refused(session, &store, &[kept])
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends without having deleted anything; for programs, why.
fn refused(session: &mut Session, store: &LocalStore, kept: &[Kept]) -> Result<Exit> {
    match session.json() {
        true => print(session, store, &BTreeSet::new(), kept, Exit::Failure),
        false => Ok(Exit::Failure),
    }
}

fn print(
    session: &mut Session,
    store: &LocalStore,
    deleted: &BTreeSet<StorePath>,
    kept: &[Kept],
    exit: Exit,
) -> Result<Exit> {
    if session.json() {
        let value = kept::json(store, deleted, kept);
        session.results().json(&value)?;
        return Ok(exit);
    }
    session.print_list(deleted.iter().map(|path| store.store_dir().print(path)).collect())?;
    Ok(exit)
}

fn skipped(count: usize) -> String {
    match count {
        1 => "1 path is still needed and stays; `--verbose` says why".to_owned(),
        count => format!("{count} paths are still needed and stay; `--verbose` says why"),
    }
}
