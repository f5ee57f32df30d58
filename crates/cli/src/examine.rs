//! What `store doctor` finds out with the settings in force: whether there is a place for the store, and whether a
//! sandbox as builds get it there holds.
#![expect(clippy::disallowed_methods, reason = "makes a store that is thrown away where there is none yet")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result, bail};
use builder::{Context, Host};
use local_store::{LocalStore, Location, Options};
use sandbox::{Finding, Lack, Launcher, Need};
use settings::UseChroot;
use store_path::StorePath;

use crate::session::Session;

/// The keys of what decides whether builds work.
pub(crate) const DECISIVE: [&str; 2] = ["store", "sandbox"];

/// Tries both.
pub(crate) fn examine(session: &Session) -> [Finding; 2] {
    let finding = |key, what, lack| Finding { key, what, need: Need::Every, found: None, lack };
    let [store_key, sandbox_key] = DECISIVE;
    let (place, sandbox) =
        ("a place for the store", "a sandbox as builds get it, which holds seen from inside");
    match Place::open(session) {
        Ok(opened) => {
            let broken = look_inside(session, &opened.store).unwrap_or_else(|error| {
                Some(Lack {
                    cause: format!("{error:#}"),
                    remedy: "see what is missing above, or the setting that is named".to_owned(),
                })
            });
            [finding(store_key, place, None), finding(sandbox_key, sandbox, broken)]
        }
        Err(error) => {
            let lack = Lack { cause: format!("{error:#}"), remedy: about_place(&error).to_owned() };
            let not_tried = Lack {
                cause: "not tried, as it needs a place for the store".to_owned(),
                remedy: "see there; then run `store doctor` again".to_owned(),
            };
            [finding(store_key, place, Some(lack)), finding(sandbox_key, sandbox, Some(not_tried))]
        }
    }
}

/// What does not hold.
fn look_inside(session: &Session, store: &LocalStore) -> Result<Option<Lack>> {
    // Whoever builds without isolation wants to know, too.
    let mut settings = session.settings().clone();
    settings.build_use_chroot = UseChroot::Always;
    let launcher = Launcher::start()?;
    let host = Host::look(&settings, session.variables().clone())?;
    let context = Context { store, launcher: &launcher, settings: &settings, host: &host, on_failure: None };
    let drv: StorePath = "00000000000000000000000000000000-canary.drv".parse()?;
    let messages = session.messages();
    let broken = builder::look_inside(&context, &drv, &mut |message| {
        if let builder::Message::Warning(text) = message {
            messages.warn(text);
        }
    })?;
    Ok((!broken.is_empty()).then(|| Lack {
        cause: format!("it does not hold that {}", broken.join(", that ")),
        remedy: "whatever is between this program and the kernel (a container's filter of system calls, an emulation of \
                 Linux), or the kernel itself, says that it does this and does not: run without it, or report this"
            .to_owned(),
    }))
}

/// The store of the settings, or one beside it that is thrown away, if it is not there yet.
struct Place {
    store: LocalStore,
    /// What is removed in the end.
    made: Option<PathBuf>,
}

impl Place {
    fn open(session: &Session) -> Result<Self> {
        let location = session.location()?;
        if location.state_dir.exists() {
            return Ok(Self { store: session.open_store()?, made: None });
        }
        let there = |path: &&Path| path.is_dir();
        let Some(parent) = location.state_dir.ancestors().find(there) else {
            bail!("no directory above `{}` exists", location.state_dir.display());
        };
        let place = parent.join(format!(".store-doctor-{}", std::process::id()));
        fs::create_dir(&place).with_context(|| {
            format!(
                "cannot make the store at `{}`: cannot write to `{}`",
                location.real_store.display(),
                parent.display()
            )
        })?;
        let store = LocalStore::open(Location::below(&place), Options::default());
        // Whatever has been made of it.
        let made = Some(place);
        match store {
            Ok(store) => Ok(Self { store, made }),
            Err(error) => {
                remove(made.as_deref());
                Err(error.into())
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        remove(self.made.as_deref());
    }
}

fn remove(made: Option<&Path>) {
    // An empty store that nothing knows of does no harm.
    let _ = made.map(local_store::remove_tree);
}

fn about_place(error: &Error) -> &'static str {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    match kind {
        Some(io::ErrorKind::ReadOnlyFilesystem) => {
            "that file system is read-only: mount it writable, or take another place with `--store DIR`"
        }
        Some(io::ErrorKind::PermissionDenied) => {
            "let this user write there, or take another place with `--store DIR`"
        }
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            "free some space, or take another place with `--store DIR`"
        }
        _ => "mend that, or take another place with `--store DIR`",
    }
}
