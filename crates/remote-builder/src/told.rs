//! The settings that a hook is told, under the names that Nix's programs know them by.

use std::path::Path;

use local_store::Location;
use settings::Settings;

/// What a hook takes over from here. That is what Nix's own hook looks at, what it passes on to the machine that builds,
/// and where the store is: it opens that itself, to read the derivation and the inputs and to put the outputs into it.
pub(crate) fn told(settings: &Settings, location: &Location) -> Vec<(&'static str, String)> {
    let flag = |value: bool| value.to_string();
    let mut told = vec![
        ("builders", settings.builders.0.clone()),
        ("builders-use-substitutes", flag(settings.builders_use_substitutes)),
        ("system", settings.system.clone()),
        ("extra-platforms", settings.extra_platforms.join(" ")),
        ("system-features", settings.system_features.join(" ")),
        ("timeout", settings.timeout.to_string()),
        ("max-silent-time", settings.max_silent_time.to_string()),
        ("max-build-log-size", settings.max_build_log_size.to_string()),
        ("keep-failed", flag(settings.keep_failed)),
        ("fsync-metadata", flag(settings.fsync_metadata)),
        ("use-sqlite-wal", flag(settings.use_sqlite_wal)),
    ];
    if let Some(root) = root(location) {
        told.push(("store", root.to_string_lossy().into_owned()));
    }
    told
}

/// The directory by which Nix's programs know a store whose files are elsewhere.
fn root(location: &Location) -> Option<&Path> {
    let depth = Path::new(location.store_dir.as_str()).components().count() - 1;
    location.real_store.ancestors().nth(depth).filter(|_| location.is_relocated())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relocated_store_is_told_by_its_root() {
        let location = Location::below(Path::new("/srv/x"));
        let told = told(&Settings::default(), &location);
        assert!(told.contains(&("store", "/srv/x".to_owned())), "{told:?}");
        assert_eq!(root(&Location::system()), None);
    }
}
