//! The directories and files that a build is given, and what becomes of them.

#![expect(clippy::disallowed_methods, reason = "furnishes build directories")]

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use local_store::BuildDir;
use store_path::StorePath;

use crate::failure::BuildFailure;

/// Leaves the build directory behind, readable for whoever looks into the failure, and returns its new place.
pub(crate) fn keep(top: BuildDir, build_dir: &Path, drv: &StorePath) -> Result<PathBuf, BuildFailure> {
    let inside = build_dir.strip_prefix(top.path()).unwrap_or(Path::new("")).to_owned();
    let kept = top.keep().map_err(|source| BuildFailure::Store { drv: drv.clone(), source })?;
    // Joining an empty path would add a slash.
    let kept = if inside.as_os_str().is_empty() { kept } else { kept.join(inside) };
    set_mode(&kept, 0o755)?;
    Ok(kept)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildFailure {
    let path = path.to_owned();
    move |source| BuildFailure::File { action, path, source }
}

/// Makes a directory with exactly this mode, and gives it to the builder where that is another user.
pub(crate) fn make_dir(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<(), BuildFailure> {
    fs::create_dir(path).map_err(failed("make the directory", path))?;
    set_mode(path, mode)?;
    give(path, owner)
}

/// Writes a file that the builder may change.
pub(crate) fn write_file(
    path: &Path,
    contents: &[u8],
    owner: Option<(u32, u32)>,
) -> Result<(), BuildFailure> {
    fs::write(path, contents).map_err(failed("write", path))?;
    give(path, owner)
}

/// Sets permission bits, whatever the umask.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), BuildFailure> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("change the mode of", path))
}

fn give(path: &Path, owner: Option<(u32, u32)>) -> Result<(), BuildFailure> {
    match owner {
        None => Ok(()),
        Some((uid, gid)) => chown(path, Some(uid), Some(gid)).map_err(failed("change the owner of", path)),
    }
}
