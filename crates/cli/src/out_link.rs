//! The names of the symlinks that `store build` leaves behind, as `nix-build` gives them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Returns the link for one output of the goal at `index`: `result`, `result-dev`, `result-2`, `result-2-dev`.
pub(crate) fn link_path(base: &Path, index: usize, output: &str) -> PathBuf {
    let mut link = OsString::from(base);
    if index > 0 {
        link.push(format!("-{}", index + 1));
    }
    if output != "out" {
        link.push(format!("-{output}"));
    }
    PathBuf::from(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_named_as_by_nix_build() {
        let name = |index, output| link_path(Path::new("/x/result"), index, output);
        assert_eq!(name(0, "out"), Path::new("/x/result"));
        assert_eq!(name(0, "dev"), Path::new("/x/result-dev"));
        assert_eq!(name(1, "out"), Path::new("/x/result-2"));
        assert_eq!(name(1, "dev"), Path::new("/x/result-2-dev"));
    }
}
