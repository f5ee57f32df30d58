//! Harm that is done to a path, as a bad disk or a careless person does it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::program::Harm;

/// Does harm to what is at `place`. What else is linked to its files stays as it is.
pub(super) fn to(place: &Path, harm: Harm) {
    match harm {
        Harm::Gone => remove(place),
        Harm::Changed => {
            let file = a_file(place).unwrap_or_else(|| panic!("no file in `{}`", place.display()));
            if file != place {
                set_mode(file.parent().unwrap(), 0o755);
            }
            fs::remove_file(&file).unwrap();
            fs::write(&file, "not what it was").unwrap();
            set_mode(&file, 0o444);
        }
    }
}

/// Copies a tree with all its metadata, but not its hard links.
pub(super) fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg("-T").args([from, to]).status().unwrap();
    assert!(copied.success(), "cannot copy `{}`", from.display());
}

/// Removes a tree whose directories may not be written to.
pub(super) fn remove(place: &Path) {
    if !fs::symlink_metadata(place).unwrap().is_dir() {
        return fs::remove_file(place).unwrap();
    }
    set_mode(place, 0o755);
    fs::read_dir(place).unwrap().for_each(|entry| remove(&entry.unwrap().path()));
    fs::remove_dir(place).unwrap();
}

/// Returns the first file of a tree, in the order of names.
fn a_file(place: &Path) -> Option<PathBuf> {
    let kind = fs::symlink_metadata(place).unwrap();
    if !kind.is_dir() {
        return kind.is_file().then(|| place.to_owned());
    }
    let mut inside: Vec<PathBuf> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
    inside.sort();
    inside.iter().find_map(|path| a_file(path))
}

fn set_mode(place: &Path, mode: u32) {
    fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
}
