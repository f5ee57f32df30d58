//! Where file systems are mounted, as the kernel tells this process.
#![expect(clippy::disallowed_methods, reason = "the kernel lists mounts in a file")]

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The table of this process.
const OWN: &str = "/proc/self/mountinfo";

/// Returns all mount points, one that was mounted later behind those before.
pub(crate) fn mount_points() -> Result<Vec<PathBuf>, Error> {
    Ok(own()?.into_iter().map(|mount| mount.point).collect())
}

fn own() -> Result<Vec<Mount>, Error> {
    let table = Path::new(OWN);
    Ok(mounts_in(&fs::read(table).map_err(Error::file("read", table))?))
}

/// A line of a table of mounts.
struct Mount {
    id: Vec<u8>,
    parent: Vec<u8>,
    /// Which file system it shows something of.
    device: Vec<u8>,
    /// What of that.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

/// Names are bytes: one that is no text is no reason to overlook the others.
fn mounts_in(table: &[u8]) -> Vec<Mount> {
    let mount = |line: &[u8]| {
        let mut words = line.split(|byte| *byte == b' ');
        let (id, parent, device) = (words.next()?.to_vec(), words.next()?.to_vec(), words.next()?.to_vec());
        Some(Mount { id, parent, device, root: unescaped(words.next()?), point: unescaped(words.next()?) })
    };
    table.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

/// A directory by its place in its file system, by whatever names mounts show it.
pub(crate) struct Inside {
    device: Vec<u8>,
    directory: PathBuf,
}

impl Inside {
    /// Finds the place of `directory`, which has no symlinks in its name. Nothing, if no mount seems to show it.
    pub(crate) fn of(directory: &Path) -> Result<Option<Self>, Error> {
        Ok(Self::among(own()?, directory))
    }

    fn among(mounts: Vec<Mount>, directory: &Path) -> Option<Self> {
        let around = mounts.into_iter().filter(|mount| directory.starts_with(&mount.point));
        // The innermost, and of those on each other the last.
        let mount = around.max_by_key(|mount| mount.point.components().count())?;
        let below = directory.strip_prefix(&mount.point).ok()?;
        Some(Self { directory: mount.root.join(below), device: mount.device })
    }

    /// Returns the names in the directory that mounts of `table` show, or stand on or in, each with where that is.
    pub(crate) fn used_in(&self, table: &[u8]) -> Vec<(OsString, PathBuf)> {
        let mounts = mounts_in(table);
        let by_id: HashMap<&[u8], &Mount> = mounts.iter().map(|mount| (mount.id.as_slice(), mount)).collect();
        let uses = |mount: &Mount| {
            let shown = self.name_of(&mount.device, &mount.root);
            let covered = by_id.get(mount.parent.as_slice()).and_then(|around| {
                let below = mount.point.strip_prefix(&around.point).ok()?;
                self.name_of(&around.device, &around.root.join(below))
            });
            [shown, covered].map(|name| Some((name?, mount.point.clone())))
        };
        mounts.iter().flat_map(uses).flatten().collect()
    }

    /// Returns the name in the directory of what is, or is inside of, something there.
    fn name_of(&self, device: &[u8], place: &Path) -> Option<OsString> {
        let below = (device == self.device).then(|| place.strip_prefix(&self.directory).ok())??;
        Some(below.iter().next()?.to_owned())
    }
}

/// Reads a name in which blanks and backslashes are written as `\` and three octal digits.
fn unescaped(mut name: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(name.len());
    while let [first, rest @ ..] = name {
        let digits =
            rest.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                name = &rest[3..];
            }
            None => {
                bytes.push(*first);
                name = rest;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn mount_points_are_read_whatever_their_names_are() {
        let table = b"22 1 0:21 / / rw - ext4 /dev/x rw\n23 22 0:22 / /n\xff\\040a\\134b rw - tmpfs x rw\n\
                      24 22 0:23 / /c rw - tmpfs x rw\n";
        let points: Vec<PathBuf> = mounts_in(table).into_iter().map(|mount| mount.point).collect();
        let bytes: Vec<&[u8]> = points.iter().map(|point| point.as_os_str().as_bytes()).collect();
        assert_eq!(bytes, [&b"/"[..], b"/n\xff a\\b", b"/c"]);
    }

    #[test]
    fn what_mounts_show_and_stand_on_is_found() {
        let own = b"22 1 8:1 / / rw - ext4 /dev/x rw\n23 22 8:2 /sub /data rw - ext4 /dev/y rw\n\
                    24 23 8:3 / /data/old rw - ext4 /dev/z rw\n";
        let inside = |directory| Inside::among(mounts_in(own), Path::new(directory)).unwrap();
        let store = inside("/data/nix/store");
        assert_eq!(
            (store.device.as_slice(), store.directory.as_path()),
            (&b"8:2"[..], Path::new("/sub/nix/store"))
        );
        assert_eq!(inside("/data/old/x").device, b"8:3");
        // Another namespace has the same file system elsewhere.
        let table = b"50 1 8:1 / / rw - ext4 /dev/x rw\n51 50 8:2 / /disk rw - ext4 /dev/y rw\n\
                      52 50 8:2 /sub/nix/store/a/bin /bin rw - ext4 /dev/y rw\n53 51 0:9 / /disk/sub/nix/store/b/c rw - tmpfs x rw\n\
                      54 50 8:1 /sub/nix/store/d /d rw - ext4 /dev/x rw\n55 50 8:2 /sub/nix/store /s rw - ext4 /dev/y rw\n";
        let used: Vec<(OsString, PathBuf)> = [("a", "/bin"), ("b", "/disk/sub/nix/store/b/c")]
            .map(|(name, point)| (name.into(), point.into()))
            .into();
        assert_eq!(store.used_in(table), used);
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(mount_points().unwrap().contains(&PathBuf::from("/")));
    }
}
