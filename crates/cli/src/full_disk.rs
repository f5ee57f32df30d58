//! Which file system is full, what it is for, and what to do about it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use local_store::Location;
use nix::sys::statvfs::statvfs;

/// With less, a disk counts as full. As in Nix: what is left then is too little for any build.
const LITTLE: u64 = 8 << 20;

/// What a directory of a store is for, and what to do if its disk is full.
struct Use {
    directory: PathBuf,
    name: &'static str,
    remedy: &'static str,
}

/// Returns what is to be said of a disk that had no room for something at `path`.
fn about(location: &Location, build_dir: Option<&Path>, path: &Path) -> String {
    let uses = uses(location, build_dir);
    let holds = |one: &&Use| path.starts_with(&one.directory);
    // The innermost one: the others are around it.
    let found = uses.iter().filter(holds).max_by_key(|one| one.directory.components().count());
    let mount = mount_point(path);
    match found {
        Some(one) => line(&mount, one),
        None => format!("the disk is full: there is no room on `{}`", mount.display()),
    }
}

/// Returns what is to be said of the first of a store's disks that is full now, if one is.
pub(crate) fn now(location: &Location, build_dir: Option<&Path>) -> Option<String> {
    let uses = uses(location, build_dir);
    let full = uses.iter().find(|one| is_full(&one.directory))?;
    Some(line(&mount_point(&full.directory), full))
}

/// Returns what is to be said of an error if there was no room for something; without a word of which file, of the first
/// disk that is full now.
pub(crate) fn told(
    error: &(dyn std::error::Error + 'static),
    location: &Location,
    build_dir: Option<&Path>,
) -> Option<String> {
    let chain = || std::iter::successors(Some(error), |cause| cause.source());
    if !chain().any(is_cause) {
        return None;
    }
    let path = chain().find_map(|cause| cause.downcast_ref::<local_store::Error>()?.file_in_question());
    path.map(|path| about(location, build_dir, path)).or_else(|| now(location, build_dir))
}

fn is_cause(error: &(dyn std::error::Error + 'static)) -> bool {
    let kind = error.downcast_ref().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

fn uses(location: &Location, build_dir: Option<&Path>) -> [Use; 4] {
    let builds = build_dir.map_or_else(|| location.builds(), Path::to_owned);
    [
        Use {
            directory: location.real_store.clone(),
            name: "the store",
            remedy: "`store gc` deletes what nothing needs, `--store DIR` takes another disk",
        },
        Use {
            directory: builds,
            name: "the directories of builds",
            remedy: "make room there, or name another disk in the setting `build-dir`",
        },
        Use {
            directory: location.state_dir.join("db"),
            name: "the database of the store",
            remedy: "make room there; `store gc` has some set aside to begin with",
        },
        Use {
            directory: location.log_dir.clone(),
            name: "the logs of builds",
            remedy: "make room there, or keep none with `--option keep-build-log false`",
        },
    ]
}

fn line(mount: &Path, one: &Use) -> String {
    format!(
        "the disk is full: `{}`, with {} in `{}`, has too little room left; {}",
        mount.display(),
        one.name,
        one.directory.display(),
        one.remedy
    )
}

fn is_full(directory: &Path) -> bool {
    let Ok(space) = statvfs(nearest(directory)) else { return false };
    // Some file systems count no files.
    space.blocks_available().saturating_mul(space.fragment_size()) < LITTLE
        || space.files() > 0 && space.files_available() == 0
}

/// Returns where the file system is mounted that has, or would have, a file.
fn mount_point(path: &Path) -> PathBuf {
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let nearest = nearest(path);
    let own = device(nearest);
    let inside = nearest.ancestors().take_while(|ancestor| device(ancestor) == own);
    inside.last().unwrap_or(nearest).to_owned()
}

/// Returns the first directory above that is there.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_a_disk_is_told_by_the_directory() {
        let location = Location::below(Path::new("/somewhere"));
        let told = |path: &str| about(&location, Some(Path::new("/fast")), Path::new(path));
        for (path, name) in [
            ("/somewhere/nix/store/x", "the store in"),
            ("/somewhere/nix/var/nix/db/db.sqlite", "the database"),
            ("/somewhere/nix/var/log/nix/drvs/x", "the logs"),
            ("/fast/nix-1-1/build", "the directories of builds"),
        ] {
            assert!(told(path).contains(name), "{path}: {}", told(path));
        }
        assert_eq!(told("/elsewhere"), "the disk is full: there is no room on `/`");
    }

    #[test]
    fn a_file_system_is_named_by_where_it_is_mounted() {
        assert_eq!(mount_point(Path::new("/proc/self/no-such-file")), Path::new("/proc"));
    }
}
