//! Which file a builder really is: never this program itself.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::Step;
use crate::wire::Failure;

/// As many scripts as the kernel follows from one to the next (`bprm->recursion`, `fs/exec.c`).
const MOST_SCRIPTS: usize = 5;

/// What the kernel reads of a file to find its interpreter (`BINPRM_BUF_SIZE`).
const FIRST_BYTES: usize = 256;

/// Refuses a program, or an interpreter that its first line names, which is reached through a magic link.
///
/// Until `execve` has succeeded, `/proc/self/exe` is the launcher's own file on the host: a builder of that
/// name would run it with arguments of its choice, and could then open it for writing where the user owns it
/// (the weakness known from container runtimes as CVE-2019-5736). Nothing else runs in the sandbox yet, so
/// what is looked at here is what the kernel will run.
pub(crate) fn refuse_magic_links(program: &Path) -> Result<(), Failure> {
    let mut path = program.to_owned();
    for _ in 0..MOST_SCRIPTS {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match rustix::fs::openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            Ok(file) => file,
            Err(Errno::LOOP) => return Err(Failure::new(Step::Execute, path, Errno::LOOP)),
            // Why it cannot be run is for `execve` to say.
            Err(_) => return Ok(()),
        };
        let mut first = [0; FIRST_BYTES];
        let length = rustix::io::read(&file, &mut first).unwrap_or(0);
        match interpreter(&first[..length]) {
            Some(next) => path = next,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The interpreter that the first line of a script names.
fn interpreter(first: &[u8]) -> Option<PathBuf> {
    let line = first.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).filter(|word| !word.is_empty());
    words.next().map(|word| PathBuf::from(OsStr::from_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_interpreter() {
        assert_eq!(interpreter(b"#! /bin/sh -e\necho"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(interpreter(b"#!/bin/sh"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(interpreter(b"#!  \n/bin/sh"), None);
        assert_eq!(interpreter(b"\x7fELF"), None);
        assert_eq!(interpreter(b""), None);
    }

    #[test]
    fn magic_links_are_refused() {
        let refused = refuse_magic_links(Path::new("/proc/self/exe")).unwrap_err();
        assert_eq!(refused.errno, Errno::LOOP.raw_os_error());
        assert!(refuse_magic_links(Path::new("/bin/sh")).is_ok());
        assert!(refuse_magic_links(Path::new("/no/such/file")).is_ok());
    }
}
