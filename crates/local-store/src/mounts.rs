//! Where file systems are mounted, as the kernel tells this process.
#![expect(clippy::disallowed_methods, reason = "the kernel lists mounts in a file")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Returns all mount points, one that was mounted later behind those before.
pub(crate) fn mount_points() -> Result<Vec<PathBuf>, Error> {
    let table = Path::new("/proc/self/mountinfo");
    Ok(points_in(&fs::read(table).map_err(Error::file("read", table))?))
}

/// Names are bytes: one that is no text is no reason to overlook the others.
fn points_in(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescaped).collect()
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
        let points = points_in(table);
        let bytes: Vec<&[u8]> = points.iter().map(|point| point.as_os_str().as_bytes()).collect();
        assert_eq!(bytes, [&b"/"[..], b"/n\xff a\\b", b"/c"]);
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(mount_points().unwrap().contains(&PathBuf::from("/")));
    }
}
