//! `__impureHostDeps`: what a build asks to see of the host, and is allowed to.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use sandbox::{Access, Op};
use settings::Settings;

/// Returns what is wrong with the first path that must not be asked for.
pub(crate) fn check(wanted: &BTreeSet<Vec<u8>>, settings: &Settings) -> Result<(), String> {
    wanted.iter().try_for_each(|path| {
        let path = Path::new(OsStr::from_bytes(path));
        let is_plain = path.is_absolute()
            && path.components().count() > 1
            && path.components().all(|part| part != Component::ParentDir);
        if !is_plain {
            return Err(format!(
                "it asks to see `{}` of the host (`__impureHostDeps`), which is not an absolute path without `..`",
                path.display()
            ));
        }
        if settings.allowed_impure_host_deps.iter().any(|allowed| path.starts_with(allowed)) {
            return Ok(());
        }
        Err(format!(
            "it asks to see `{}` of the host (`__impureHostDeps`), which is not in or below what the setting \
             `allowed-impure-host-deps` lists",
            path.display()
        ))
    })
}

/// Returns the binds of what there is; the rest is passed over, as in Nix.
pub(crate) fn binds(wanted: &BTreeSet<Vec<u8>>) -> Vec<Op> {
    let bind = |path: &Vec<u8>| {
        let target: PathBuf = Path::new(OsStr::from_bytes(path)).components().collect();
        let source = fs::canonicalize(&target).ok()?;
        let kind = fs::metadata(&source).ok()?.file_type();
        let is_device = kind.is_char_device() || kind.is_block_device();
        let access = if is_device { Access::Device } else { Access::ReadOnly };
        Some(Op::Bind { source, target, access, optional: true })
    };
    wanted.iter().filter_map(bind).collect()
}
