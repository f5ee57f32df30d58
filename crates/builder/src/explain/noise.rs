//! Which lookups mean nothing: what `noise.txt` lists.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const NOISE: &str = include_str!("noise.txt");

/// Whether programs do well without `path`.
pub(super) fn is_noise(path: &Path) -> bool {
    lines().any(|line| matches(line, path))
}

fn lines() -> impl Iterator<Item = &'static str> {
    NOISE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn matches(line: &str, path: &Path) -> bool {
    match (line.strip_prefix('*'), line.strip_suffix('/')) {
        (Some(end), _) => path.as_os_str().as_bytes().ends_with(end.as_bytes()),
        (None, Some(directory)) => path.starts_with(directory),
        (None, None) => path == Path::new(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_are_noise_and_what_they_stand_for_is_not() {
        for path in [
            "/etc/ld.so.cache",
            "/usr/share/locale/de/LC_MESSAGES/x.mo",
            "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
            "/usr/lib/ssl/openssl.cnf",
            "/etc/python3.11/sitecustomize.py",
            "/usr/share/zoneinfo/UTC",
            "/usr/include",
            "/usr/lib/x86_64-linux-gnu",
        ] {
            assert!(is_noise(Path::new(path)), "{path}");
        }
        for path in [
            "/usr/include/zlib.h",
            "/usr/bin/env",
            "/etc/ssl/certs",
            "/dev/kvm",
            "/usr/lib/libz.so",
            "/usr/share/zoneinfo/Europe/Berlin",
        ] {
            assert!(!is_noise(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn every_line_is_an_absolute_path_or_an_end_of_one() {
        for line in lines() {
            let is_end = line.starts_with("*/") || line.starts_with("*.");
            assert!(line.starts_with('/') || is_end, "{line}");
        }
    }
}
