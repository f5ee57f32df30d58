//! The settings that Nix's programs are told, under the names that they know them by.

use std::path::Path;

use crate::table::Settings;

impl Settings {
    /// Returns what a program of Nix takes over that works for this one: what its build hook looks at, what is passed on to
    /// machines that build, and where the store is. `root` names a store whose files are elsewhere.
    pub fn for_nix(&self, root: Option<&Path>) -> Vec<(&'static str, String)> {
        let mut told = vec![
            ("builders", self.builders.0.clone()),
            ("builders-use-substitutes", self.builders_use_substitutes.to_string()),
            ("system", self.system.clone()),
            ("extra-platforms", self.extra_platforms.join(" ")),
            ("system-features", self.system_features.join(" ")),
            ("timeout", self.timeout.to_string()),
            ("max-silent-time", self.max_silent_time.to_string()),
            ("max-build-log-size", self.max_build_log_size.to_string()),
            ("keep-failed", self.keep_failed.to_string()),
            ("fsync-metadata", self.fsync_metadata.to_string()),
            ("use-sqlite-wal", self.use_sqlite_wal.to_string()),
        ];
        told.extend(root.map(|root| ("store", root.to_string_lossy().into_owned())));
        told
    }
}
