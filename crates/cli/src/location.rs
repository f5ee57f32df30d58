//! Where the store is.

use std::path::Path;

use anyhow::{Result, bail};
use local_store::Location;
use nix::unistd::{AccessFlags, access};

/// Chooses the store: the setting, else `/nix` where it is writable, else the user's own.
pub(crate) fn choose(setting: Option<&Path>, user_store: Option<&Path>) -> Result<Location> {
    let system = || ["/nix/store", "/nix/var/nix"].iter().all(|dir| access(*dir, AccessFlags::W_OK).is_ok());
    choose_with(setting, user_store, system)
}

/// Returns the store below `dir`.
pub(crate) fn at(dir: &Path) -> Location {
    if dir == Path::new("/") { Location::system() } else { Location::below(dir) }
}

fn choose_with(
    setting: Option<&Path>,
    user_store: Option<&Path>,
    system_is_writable: impl FnOnce() -> bool,
) -> Result<Location> {
    match (setting, user_store) {
        (Some(dir), _) => Ok(at(dir)),
        (None, _) if system_is_writable() => Ok(Location::system()),
        (None, Some(dir)) => Ok(Location::below(dir)),
        (None, None) => bail!(
            "cannot find a place for the store: `/nix` is not writable, and neither XDG_DATA_HOME nor HOME is set; \
             give a directory with `--store DIR`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_then_nix_then_home() {
        let (dir, home) = (Some(Path::new("/srv/s")), Some(Path::new("/home/u/.local/share/store")));
        let real =
            |setting, user, writable| choose_with(setting, user, || writable).map(|at| at.real_store).ok();
        assert_eq!(real(dir, home, true), Some("/srv/s/nix/store".into()));
        assert_eq!(real(Some(Path::new("/")), home, false), Some("/nix/store".into()));
        assert_eq!(real(None, home, true), Some("/nix/store".into()));
        assert_eq!(real(None, home, false), Some("/home/u/.local/share/store/nix/store".into()));
        assert_eq!(real(None, None, false), None);
    }
}
