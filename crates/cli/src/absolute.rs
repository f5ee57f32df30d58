//! Paths as the user wrote them, from the root on.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Returns `path` as seen from `working_dir`, without `.` and `..`; it need not exist.
///
/// What stands before `..` is resolved first if it is a link, as the kernel does it; other links stay.
pub(crate) fn absolute(working_dir: &Path, path: &Path) -> PathBuf {
    let mut absolute = PathBuf::from("/");
    for component in working_dir.join(path).components() {
        match component {
            Component::Normal(name) => absolute.push(name),
            Component::ParentDir => {
                absolute = fs::canonicalize(&absolute).unwrap_or(absolute);
                absolute.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    absolute
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn dots_go_and_links_stay() {
        let at = |path| absolute(Path::new("/absent/dir"), Path::new(path));
        assert_eq!(at("x"), Path::new("/absent/dir/x"));
        assert_eq!(at("./x/"), Path::new("/absent/dir/x"));
        assert_eq!(at("../../../x"), Path::new("/x"));
        assert_eq!(at("/y/./z"), Path::new("/y/z"));
    }

    #[test]
    fn above_a_link_is_above_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a/b", root.join("link")).unwrap();
        assert_eq!(absolute(&root, Path::new("link/x")), root.join("link/x"));
        assert_eq!(absolute(&root, Path::new("link/../x")), root.join("a/x"));
    }
}
