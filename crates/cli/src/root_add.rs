//! `store root add`

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::exit::Exit;
use crate::out_link::link_path;
use crate::session::Session;

/// Keeps store paths, and all they need, from being collected; prints the links that do.
///
/// A path is kept as long as its link is there and points at it: whoever removes or changes the link, in whatever way, gives
/// the root up. `store build` makes such links by itself.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store root add ./keep /nix/store/…-hello-2.10\n  \
                        store root add --permanent toolchain ./result")]
pub(crate) struct Args {
    /// The symlink to make; for further paths `LINK-2` and so on.
    #[arg(value_name = "LINK")]
    link: PathBuf,

    /// What it keeps: store paths, or links to them such as `./result`.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Makes the link in the store's own directory of roots, where LINK is its name, rather than in a place of yours.
    #[arg(long)]
    permanent: bool,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.open_existing_store()?;
    let paths = session.valid_paths(&store, &args.paths)?;
    let mut links = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let failed = || format!("cannot keep `{}`", store.store_dir().print(path));
        if args.permanent {
            let name = link_path(&args.link, index, "out");
            links.push(store.add_permanent_root(&name, path).with_context(failed)?);
        } else {
            let link = link_path(&session.absolute(&args.link), index, "out");
            store.add_root(&link, path).with_context(|| {
                let is_missing = link.parent().is_some_and(|directory| !directory.exists());
                failed() + if is_missing { "; make the directory first" } else { "" }
            })?;
            links.push(link);
        }
    }
    store.note_uses();
    session.print_list(links.iter().map(|link| link.display().to_string()).collect())?;
    Ok(Exit::Success)
}
