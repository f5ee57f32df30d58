//! Paths as the user wrote them, from the root on.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Returns `path` as seen from `working_dir`, without `.` and `..`; it need not exist.
///
/// What stands before `..` is resolved first if it is a link, as the kernel does it; other links stay.
pub(crate) fn absolute(working_dir: &Path, path: &Path) -> PathBuf {
    let joined = working_dir.join(path);
    if is_plain(&joined) {
        return joined;
    }
    let mut absolute = PathBuf::from("/");
    for component in joined.components() {
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

/// Whether a path has nothing to be taken out, which a look at its bytes tells: thousands may be given.
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let is_odd = |pair: &[u8]| matches!(pair, b"//" | b"/.");
    bytes.starts_with(b"/") && !bytes.ends_with(b"/") && !bytes.windows(2).any(is_odd)
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
        assert_eq!(at("//y//z/").as_os_str(), "/y/z");
        assert_eq!(at("/y/.z").as_os_str(), "/y/.z");
        assert_eq!(at("/").as_os_str(), "/");
        assert_eq!(at("").as_os_str(), "/absent/dir");
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
