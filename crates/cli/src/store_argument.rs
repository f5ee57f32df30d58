//! Which store path an argument means: a store path, something below one, or a link that leads to one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use local_store::Location;
use store_path::StorePath;

use crate::absolute::absolute;
use crate::shell::quote;

/// Links that lead to links stop here, as in the kernel.
const MAX_LINKS: usize = 40;

/// Returns the store path that `argument`, an absolute path, is or leads to.
///
/// It is found by name only; whether it is valid is another question.
pub(crate) fn resolve(location: &Location, argument: &Path) -> Result<StorePath> {
    find(location, argument, "")
}

/// The same where a file would do as well.
pub(crate) fn resolve_unless_file(location: &Location, argument: &Path) -> Result<StorePath> {
    find(location, argument, "a file, ")
}

/// Finds it; what else would have done is told.
fn find(location: &Location, argument: &Path, else_: &str) -> Result<StorePath> {
    let mut path = argument.to_owned();
    for _ in 0..MAX_LINKS {
        if let Some(found) = by_name(location, &path)? {
            return Ok(found);
        }
        path = match resolve_parent(&path) {
            // The parent may be a link into the store.
            real if real != path => real,
            _ => match fs::read_link(&path) {
                Ok(target) => path.parent().unwrap_or(Path::new("/")).join(target),
                Err(_) => bail!(not_in_store(location, argument, &path, else_)),
            },
        }
    }
    bail!("too many links on the way from `{}`", argument.display())
}

/// Returns the store path that `argument`, an absolute path, begins with, and what is below that.
///
/// Links are followed until they lead to a store path, and no further: what is below is for the store to look at.
pub(crate) fn split(location: &Location, argument: &Path) -> Result<(StorePath, PathBuf)> {
    let mut argument = argument.to_owned();
    for _ in 0..MAX_LINKS {
        let mut here = PathBuf::new();
        let mut rest = argument.components();
        let link = loop {
            if let Some(found) = by_name(location, &here).ok().flatten() {
                return Ok((found, rest.as_path().to_owned()));
            }
            if here.is_symlink() {
                break Some(here.parent().unwrap_or(Path::new("/")).join(fs::read_link(&here)?));
            }
            match rest.next() {
                Some(component) => here.push(component),
                None => break None,
            }
        };
        match link {
            Some(target) => argument = absolute(Path::new("/"), &target.join(rest.as_path())),
            None => return resolve(location, &argument).map(|path| (path, PathBuf::new())),
        }
    }
    bail!("too many links on the way from `{}`", argument.display())
}

/// Reads `path` as the logical or the real path of something in the store.
pub(crate) fn by_name(location: &Location, path: &Path) -> Result<Option<StorePath>> {
    if let Ok(below) = path.strip_prefix(location.store_dir.as_str()) {
        return first_component(below, path).map(Some);
    }
    let lower = location.lower.as_ref().map(|lower| &lower.real_store);
    for directory in [Some(&location.real_store), lower].into_iter().flatten() {
        let Ok(real_store) = fs::canonicalize(directory) else { continue };
        if let Ok(below) = path.strip_prefix(directory).or_else(|_| path.strip_prefix(real_store)) {
            return first_component(below, path).map(Some);
        }
    }
    Ok(None)
}

fn first_component(below: &Path, path: &Path) -> Result<StorePath> {
    let name = below.iter().next().unwrap_or_default().to_string_lossy();
    name.parse().with_context(|| format!("`{}` is not a store path", path.display()))
}

fn resolve_parent(path: &Path) -> PathBuf {
    match (path.parent().map(fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

fn not_in_store(location: &Location, argument: &Path, end: &Path, else_: &str) -> String {
    let (shown, store) = (argument.display(), location.real_store.display());
    if let Some(other) = other_store(end) {
        let flag = quote(&other.to_string_lossy());
        return format!("`{shown}` is not in the store at `{store}` but in another; say `--store {flag}`");
    }
    if end.symlink_metadata().is_ok() {
        return format!("`{shown}` is not in the store at `{store}`; `store add` puts it there");
    }
    match argument.is_symlink() {
        true => format!("the link `{shown}` leads to `{}`, which is not there", end.display()),
        false => {
            format!("there is no `{shown}`: give {else_}a path in the store at `{store}`, or a link to one")
        }
    }
}

/// Returns the directory of the store that `path`, which is not in ours, seems to lie in.
fn other_store(path: &Path) -> Option<&Path> {
    path.ancestors().find_map(|inside| {
        let base = inside.file_name()?.to_str()?;
        let root = inside.parent()?.ends_with("nix/store").then(|| inside.ancestors().nth(3))?;
        base.parse::<StorePath>().ok().and(root)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

    use std::os::unix::fs::symlink;

    use super::*;

    const BASE: &str = "00000000000000000000000000000000-hello";

    fn check(argument: &str) -> String {
        let root = tempfile::tempdir().unwrap();
        let location = Location::below(root.path());
        let real = location.real_store.join(BASE);
        fs::create_dir_all(real.join("bin")).unwrap();
        symlink(&real, root.path().join("result")).unwrap();
        symlink("result", root.path().join("again")).unwrap();
        symlink(format!("/nix/store/{BASE}"), root.path().join("logical")).unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        symlink("absent", root.path().join("dangling")).unwrap();
        fs::create_dir_all(root.path().join("other/nix/store").join(BASE)).unwrap();
        symlink(root.path().join("other/nix/store").join(BASE), root.path().join("elsewhere")).unwrap();
        fs::write(root.path().join("plain"), "").unwrap();
        let argument = argument.replace("ROOT", root.path().to_str().unwrap());
        match resolve(&location, Path::new(&argument)) {
            Ok(path) => path.to_string(),
            Err(error) => format!("{error:#}").replace(root.path().to_str().unwrap(), "ROOT"),
        }
    }

    #[test]
    fn every_way_to_a_store_path() {
        let real = format!("ROOT/nix/store/{BASE}/bin");
        let logical = format!("/nix/store/{BASE}/bin/hello");
        for argument in [&real, &logical, "ROOT/result", "ROOT/again", "ROOT/logical", "ROOT/again/bin/x"] {
            assert_eq!(check(argument), BASE, "{argument}");
        }
    }

    #[test]
    fn what_is_below_a_store_path_is_split_off() {
        let root = tempfile::tempdir().unwrap();
        let location = Location::below(root.path());
        let real = location.real_store.join(BASE);
        fs::create_dir_all(real.join("bin")).unwrap();
        symlink("/etc", real.join("out")).unwrap();
        symlink(&real, root.path().join("result")).unwrap();
        symlink("result/bin", root.path().join("tools")).unwrap();
        let root = root.path().to_str().unwrap();
        for (argument, below) in [
            (format!("/nix/store/{BASE}"), ""),
            (format!("/nix/store/{BASE}/bin/x"), "bin/x"),
            (format!("{root}/nix/store/{BASE}/bin"), "bin"),
            (format!("{root}/result/out/passwd"), "out/passwd"),
            (format!("{root}/tools/x"), "bin/x"),
        ] {
            let (path, found) = split(&location, Path::new(&argument)).unwrap();
            assert_eq!((path.to_string(), found), (BASE.to_owned(), PathBuf::from(below)), "{argument}");
        }
        assert!(split(&location, Path::new("/etc/passwd")).is_err());
    }

    #[test]
    fn what_is_not_in_the_store_is_named() {
        assert!(check("ROOT/absent").starts_with("there is no `ROOT/absent`: give a path"));
        assert_eq!(
            check("ROOT/dangling"),
            "the link `ROOT/dangling` leads to `ROOT/absent`, which is not there"
        );
        assert_eq!(check("ROOT/loop"), "too many links on the way from `ROOT/loop`");
        assert_eq!(
            check("ROOT/plain"),
            "`ROOT/plain` is not in the store at `ROOT/nix/store`; `store add` puts it there"
        );
        assert_eq!(
            check("ROOT/elsewhere"),
            "`ROOT/elsewhere` is not in the store at `ROOT/nix/store` but in another; say `--store ROOT/other`"
        );
        assert!(check("/nix/store/x").starts_with("`/nix/store/x` is not a store path: "));
    }
}
