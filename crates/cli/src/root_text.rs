//! Roots, for programs, and what to do about one.

use std::path::Path;

use anyhow::Result;
use local_store::{LocalStore, Process, Root, Usage};
use serde_json::{Value, json};
use store_path::{StoreDir, StorePath};

use crate::session::Session;
use crate::shell;

/// Prints roots and what they keep, a line each as `nix-store --gc --print-roots` prints links.
pub(crate) fn print(session: &mut Session, store: &LocalStore, roots: &[(StorePath, Root)]) -> Result<()> {
    if session.json() {
        let value = |(path, root): &(StorePath, Root)| json!({ "path": store.store_dir().print(path), "root": json(store.store_dir(), root) });
        let list: Value = roots.iter().map(value).collect();
        return Ok(session.results().json(&list)?);
    }
    let mut lines: Vec<String> = roots.iter().map(|(path, root)| line(store, path, root)).collect();
    lines.sort();
    session.print_list(lines)
}

fn line(store: &LocalStore, path: &StorePath, root: &Root) -> String {
    let path = store.store_dir().print(path);
    match root {
        Root::Generation { link, is_current: true, .. } => format!("{} -> {path} (current)", link.display()),
        root => match root.link() {
            Some(link) => format!("{} -> {path}", link.display()),
            None => format!("{root} -> {path}"),
        },
    }
}

/// Returns what a root is; `kind` says which of the other fields there are.
pub(crate) fn json(store_dir: &StoreDir, root: &Root) -> Value {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    match root {
        Root::Link(link) => json!({ "kind": "link", "link": text(link) }),
        Root::Permanent(link) => json!({ "kind": "permanent", "link": text(link) }),
        Root::Generation { link, profile, number, is_current } => json!({
            "kind": "generation", "link": text(link), "profile": text(profile), "number": number, "current": is_current,
        }),
        Root::Temporary(process) => {
            json!({ "kind": "temporary", "process": process.number, "command": process.command })
        }
        Root::Build { id, drv, process } => json!({
            "kind": "build", "id": id.to_string(), "drvPath": store_dir.print(drv), "process": process,
        }),
        Root::Process { process, usage } => process_json(process, usage),
        Root::Kernel(file) => json!({ "kind": "kernel", "file": text(file) }),
        Root::Mount(place) => json!({ "kind": "mount", "mountPoint": text(place) }),
    }
}

fn process_json(process: &Process, usage: &Usage) -> Value {
    let (word, detail) = match usage {
        Usage::Executable => ("executable", None),
        Usage::WorkingDirectory => ("working-directory", None),
        Usage::RootDirectory => ("root-directory", None),
        Usage::OpenFile(file) => ("open-file", Some(("file", file.to_string_lossy().into_owned()))),
        Usage::MappedFile(file) => ("mapped-file", Some(("file", file.to_string_lossy().into_owned()))),
        Usage::Environment(name) => ("environment", Some(("variable", name.clone()))),
        Usage::Mount(place) => ("mount", Some(("mountPoint", place.to_string_lossy().into_owned()))),
    };
    let mut value = json!({
        "kind": "process", "process": process.number, "command": process.command, "usage": word,
    });
    if let Some((key, detail)) = detail {
        value[key] = detail.into();
    }
    value
}

/// Returns what ends a root, if anybody can.
pub(crate) fn remedy(session: &Session, root: &Root) -> Option<String> {
    match root {
        Root::Generation { is_current: true, profile, .. } => {
            Some(format!("`{}` has to be switched to another generation first", profile.display()))
        }
        Root::Link(link) | Root::Permanent(link) | Root::Generation { link, .. } => {
            let store =
                session.store_flag().map(|dir| format!(" --store {}", shell::quote(&dir.to_string_lossy())));
            let store = store.unwrap_or_default();
            let link = shell::quote(&link.to_string_lossy());
            Some(format!("`store root remove{store} {link}` gives that root up"))
        }
        Root::Build { id, .. } => Some(format!("`store cancel {id}` gives that build up")),
        Root::Temporary(process) | Root::Process { process, .. } => {
            Some(format!("it can go when process {} has ended (`kill {0}`)", process.number))
        }
        Root::Mount(place) => {
            let place = shell::quote(&place.to_string_lossy());
            Some(format!("it can go when nothing is mounted there any more (`umount {place}`)"))
        }
        Root::Kernel(_) => None,
    }
}
