//! The files of a build as it sees them, looked at from outside and never followed out.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use goblin::container::Ctx;
use goblin::elf::program_header::PT_INTERP;
use goblin::elf::{Elf, ProgramHeader};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Symlinks that are followed to find out what is absent.
const MOST_LINKS: usize = 8;

/// Enough of a program to hold what names its interpreter.
const HEAD: usize = 4096;

/// The root of a build.
pub(super) struct Inside {
    root: OwnedFd,
    /// What the kernel puts before every path of the build; empty if it has a mount namespace of its own.
    prefix: PathBuf,
}

impl Inside {
    /// The root of the process `pid`, which waits for an answer.
    pub(super) fn of(pid: u32) -> rustix::io::Result<Self> {
        let link = format!("/proc/{pid}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&link, flags, Mode::empty())?;
        Ok(Self { root, prefix: read_link(&link)? })
    }

    /// Where a relative path of the process `pid` starts; `None` if that is nowhere below its root.
    pub(super) fn base(&self, pid: u32, at: Option<i32>) -> Option<PathBuf> {
        let link = match at {
            None => format!("/proc/{pid}/cwd"),
            Some(fd) => format!("/proc/{pid}/fd/{fd}"),
        };
        let path = read_link(&link).ok()?;
        Some(Path::new("/").join(path.strip_prefix(&self.prefix).ok()?))
    }

    /// Whether something is at `path`; `None` if that cannot be said.
    pub(super) fn has(&self, path: &Path, follow: bool) -> Option<bool> {
        let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        match self.open(path, OFlags::PATH | nofollow) {
            Ok(_) => Some(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Some(false),
            Err(_) => None,
        }
    }

    /// What is really absent when `path` is: the end of the symlinks on the way to it.
    pub(super) fn resolved(&self, path: &Path) -> PathBuf {
        let mut path = plain(path);
        for _ in 0..MOST_LINKS {
            match self.broken_link(&path) {
                Some(next) => path = next,
                None => break,
            }
        }
        path
    }

    /// `path` with the first symlink on it replaced that leads nowhere.
    fn broken_link(&self, path: &Path) -> Option<PathBuf> {
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.pop();
        // Up from the root: what is above the first absent one is no broken symlink.
        let absent = ancestors.into_iter().rev().find(|path| self.has(path, true) == Some(false))?;
        let link = self.open(absent, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
        let target = rustix::fs::readlinkat(&link, c"", Vec::new()).ok()?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        let rest = path.strip_prefix(absent).ok()?;
        Some(plain(&absent.parent()?.join(target).join(rest)))
    }

    /// The interpreter that a program or script names, which the kernel wants before it runs anything.
    pub(super) fn interpreter(&self, program: &Path) -> Option<PathBuf> {
        let file = self.open(program, OFlags::PATH).ok()?;
        // Opening a pipe or a device could wait, or do something.
        if FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode) != FileType::RegularFile {
            return None;
        }
        let file = self.open(program, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
        let mut head = [0; HEAD];
        let length = rustix::io::pread(&file, &mut head, 0).ok()?;
        let head = &head[..length];
        let named = script_interpreter(head).or_else(|| elf_interpreter(head))?;
        let path = PathBuf::from(OsStr::from_bytes(named));
        path.is_absolute().then_some(path)
    }

    fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }
}

fn script_interpreter(head: &[u8]) -> Option<&[u8]> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).find(|word| !word.is_empty())
}

fn elf_interpreter(head: &[u8]) -> Option<&[u8]> {
    let header = Elf::parse_header(head).ok()?;
    let context = Ctx::new(header.container().ok()?, header.endianness().ok()?);
    let (offset, count) = (header.e_phoff as usize, header.e_phnum as usize);
    let headers = ProgramHeader::parse(head, offset, count, context).ok()?;
    let range = headers.iter().find(|header| header.p_type == PT_INTERP)?.file_range();
    head.get(range)?.split(|byte| *byte == 0).next()
}

fn read_link(link: &str) -> rustix::io::Result<PathBuf> {
    let target = rustix::fs::readlinkat(CWD, link, Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
}

/// `path` without `.`, and with `..` taken as its text says.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "lays out files to look at")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use test_support::Scratch;

    use super::*;

    fn inside(scratch: &Scratch) -> Inside {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(scratch.path(), flags, Mode::empty()).unwrap();
        Inside { root, prefix: PathBuf::from("/") }
    }

    #[test]
    fn symlinks_lead_to_what_is_absent_and_never_out() {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.join("in/lib")).unwrap();
        symlink("/gone/lib/z.so", scratch.join("in/lib/z.so")).unwrap();
        symlink("../../elsewhere", scratch.join("in/other")).unwrap();
        symlink("/etc", scratch.join("in/out")).unwrap();
        let inside = inside(&scratch);
        let resolved = |path: &str| inside.resolved(Path::new(path));
        assert_eq!(resolved("/in/lib/z.so"), Path::new("/gone/lib/z.so"));
        assert_eq!(resolved("/in/other/a/b"), Path::new("/elsewhere/a/b"));
        assert_eq!(resolved("/in/./x/../y"), Path::new("/in/y"));
        assert_eq!(inside.has(Path::new("/in/out/passwd"), true), Some(false), "followed out of the root");
        assert_eq!(inside.has(Path::new("/in/lib/z.so"), true), Some(false));
        assert_eq!(inside.has(Path::new("/in/lib/z.so"), false), Some(true));
        assert_eq!(inside.has(Path::new("/../../in"), true), Some(true));
    }

    #[test]
    fn programs_and_scripts_name_their_interpreter() {
        let scratch = Scratch::new();
        fs::write(scratch.join("script"), "#! /usr/bin/env sh\n").unwrap();
        fs::write(scratch.join("text"), "no script\n").unwrap();
        fs::copy("/proc/self/exe", scratch.join("program")).unwrap();
        let inside = inside(&scratch);
        let named = |path: &str| inside.interpreter(Path::new(path));
        assert_eq!(named("/script"), Some(PathBuf::from("/usr/bin/env")));
        assert_eq!(named("/text"), None);
        assert_eq!(named("/"), None);
        // Tests may be linked statically.
        assert!(named("/program").is_none_or(|path| path.is_absolute() && path.exists()));
    }
}
