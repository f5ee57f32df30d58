//! Carries out a plan's operations below a private root that only this process's mount namespace has.
//!
//! Nothing here resolves a path of the sandbox through a symlink: every target is reached from a
//! descriptor of the root with `openat2`, and mounts are made, restricted and attached as `mounting` says, so that
//! no moment exists in which a builder could write to an input.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{self, MountAttrFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::Step;
use crate::mounting::{self, Attributes, Depth, Mount, READ_ONLY};
use crate::plan::{Access, Op, Resource, relative};
use crate::sys;
use crate::wire::Failure;

/// The root of a sandbox while it is being furnished.
pub(crate) struct Root {
    fd: OwnedFd,
    /// Whether mounts below it are in the host's table, where those of others may be shared.
    is_on_host: bool,
    /// The directory that was last written to: a closure's targets share theirs.
    last_parent: Option<(PathBuf, OwnedFd)>,
    /// What [`Op::Memory`] has mounted.
    memory: Vec<OwnedFd>,
    /// What it is to mount, if not something new.
    earlier_memory: VecDeque<OwnedFd>,
}

/// Adds the path to a failed call.
fn at(step: Step, path: &Path) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::new(step, path, errno)
}

impl Root {
    /// Mounts an empty root over the host's, which stays reachable until [`Root::enter`].
    pub(crate) fn mount() -> Result<Self, Failure> {
        let slash = Path::new("/");
        mount::mount_change(slash, mount::MountPropagationFlags::PRIVATE | mount::MountPropagationFlags::REC)
            .map_err(at(Step::PrivateMounts, slash))?;
        let root = new_tmpfs(0o755, None).map_err(at(Step::MountRoot, slash))?;
        // Over the host's root: the one directory that every host has. Absolute paths go on to mean
        // the host's files, since a process's root is not looked up again.
        let attached = root.attach(CWD, slash).and_then(|()| mounting::over_root(root));
        let root = attached.map_err(at(Step::MountRoot, slash))?;
        Ok(Self {
            fd: root,
            is_on_host: false,
            last_parent: None,
            memory: Vec::new(),
            earlier_memory: VecDeque::new(),
        })
    }

    /// Mounts the directory at `path` of the host over itself, where mounts below spread to nobody.
    pub(crate) fn on(path: &Path) -> Result<Self, Failure> {
        let mounted = || -> rustix::io::Result<OwnedFd> {
            Mount::of(CWD, path, Depth::One)?.attach(CWD, path)?;
            fs::open(
                path,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
        };
        let root = mounted().map_err(at(Step::MountRoot, path))?;
        // Not before: where the mount it is in is shared, attaching it has made it so, too.
        let private = mounting::make_private(&root).map_err(at(Step::PrivateMounts, path));
        let root = Self {
            fd: root,
            is_on_host: true,
            last_parent: None,
            memory: Vec::new(),
            earlier_memory: VecDeque::new(),
        };
        private.map(|()| root).inspect_err(|_| {
            let _ = mount::unmount(path, mount::UnmountFlags::DETACH);
        })
    }

    /// Has [`Op::Memory`] mount what an earlier one has, with all that is in it.
    pub(crate) fn use_memory(&mut self, memory: Vec<OwnedFd>) {
        self.earlier_memory = memory.into();
    }

    /// Takes what [`Op::Memory`] has mounted: mounts of their own, so that they keep none here busy.
    pub(crate) fn take_memory(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.memory)
    }

    /// One more mount of the file system at `target`, attached nowhere.
    fn another(&mut self, target: &Path) -> rustix::io::Result<OwnedFd> {
        let (parent, name) = self.parent_of(target).map_err(|_| Errno::NOENT)?;
        match Mount::of(parent, Path::new(name), Depth::One)? {
            Mount::Detached(mount) => Ok(mount),
            // Not on older kernels.
            Mount::Copy { .. } | Mount::Fresh { .. } => Err(Errno::NOSYS),
        }
    }

    /// The directory that is the root.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Takes back that the root itself is read-only, and keeps no mount in it busy.
    pub(crate) fn make_writable(&mut self) -> Result<(), Failure> {
        self.last_parent = None;
        mounting::set_read_only(&self.fd, false).map_err(at(Step::ReadOnly, Path::new("/")))
    }

    /// Carries out one operation.
    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), Failure> {
        match op {
            Op::Dir { target, mode } => self.make_dir(target, *mode),
            Op::Bind { source, target, access, optional } => self.bind(source, target, *access, *optional),
            Op::Gather { .. } => op.parts().iter().try_for_each(|part| self.apply(part)),
            Op::File { target, contents, mode } => self.make_file(target, contents, *mode),
            Op::Symlink { target, points_at } => self.make_symlink(target, points_at),
            Op::Tmpfs { target, mode, size } => {
                let fs = new_tmpfs(*mode, size.as_deref()).map_err(at(Step::MountTmpfs, target))?;
                self.attach_dir(&fs, target, Step::MountTmpfs)
            }
            Op::Memory { source, target, bytes } => {
                let earlier = self.earlier_memory.pop_front();
                let is_new = earlier.is_none();
                let fs = match earlier {
                    Some(memory) => Mount::Detached(memory),
                    None => {
                        new_tmpfs(0o700, Some(&bytes.to_string())).map_err(at(Step::MountTmpfs, target))?
                    }
                };
                self.attach_dir(&fs, target, Step::MountTmpfs)?;
                let another = self.another(target).map_err(at(Step::MountTmpfs, target))?;
                if is_new {
                    copy_files(source, &another).map_err(at(Step::MakeFile, source))?;
                }
                self.memory.push(another);
                Ok(())
            }
            Op::Proc { target } => {
                let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
                    | MountAttrFlags::MOUNT_ATTR_NODEV
                    | MountAttrFlags::MOUNT_ATTR_NOEXEC;
                let fs = new_mount("proc", &[], flags).map_err(at(Step::MountProc, target))?;
                self.attach_dir(&fs, target, Step::MountProc)
            }
            Op::DevPts { target } => {
                let options = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
                let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
                let fs = new_mount("devpts", &options, flags).map_err(at(Step::MountDevPts, target))?;
                self.attach_dir(&fs, target, Step::MountDevPts)
            }
            Op::Sys { target } => {
                let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
                    | MountAttrFlags::MOUNT_ATTR_NOSUID
                    | MountAttrFlags::MOUNT_ATTR_NODEV
                    | MountAttrFlags::MOUNT_ATTR_NOEXEC;
                let fs = new_mount("sysfs", &[], flags).map_err(at(Step::MountSys, target))?;
                self.attach_dir(&fs, target, Step::MountSys)
            }
            // By whoever knows to whom.
            Op::Own { .. } => Ok(()),
            Op::ReadOnly { target } => self.make_read_only(target),
            Op::Mask { target } => self.mask(target),
            Op::Loopback => loopback_up().map_err(at(Step::Loopback, Path::new("lo"))),
            Op::HostName { host, domain } => set_names(host, domain),
            Op::Limit { .. } => apply_limit(op),
            // The launcher does that, and the child waits for it.
            Op::Connect { .. } => Ok(()),
        }
    }

    /// Makes this root the root, and lets go of the host's.
    pub(crate) fn enter(self) -> Result<(), Failure> {
        let slash = Path::new("/");
        let enter = || -> rustix::io::Result<()> {
            rustix::process::fchdir(&self.fd)?;
            rustix::process::pivot_root(c".", c".")?;
            mount::unmount(c".", mount::UnmountFlags::DETACH)?;
            rustix::process::chdir(c"/")
        };
        enter().map_err(at(Step::EnterRoot, slash))
    }

    fn make_dir(&mut self, target: &Path, mode: u32) -> Result<(), Failure> {
        if target == Path::new("/") {
            return fs::fchmod(&self.fd, Mode::from_raw_mode(mode)).map_err(at(Step::MakeDir, target));
        }
        let (parent, name) = self.parent_of(target)?;
        match fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
            Err(Errno::EXIST) => {}
            other => return other.map_err(at(Step::MakeDir, target)),
        }
        // A parent made earlier on the way, or a mount point: only a directory will do.
        let dir = open_beneath(parent, Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(at(Step::MakeDir, target))?;
        fs::fchmod(&dir, Mode::from_raw_mode(mode)).map_err(at(Step::MakeDir, target))
    }

    fn make_file(&mut self, target: &Path, contents: &[u8], mode: u32) -> Result<(), Failure> {
        let (parent, name) = self.parent_of(target)?;
        let write = || -> rustix::io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = fs::openat(parent, name, flags, Mode::from_raw_mode(mode))?;
            let mut rest = contents;
            while !rest.is_empty() {
                let written = rustix::io::write(&file, rest)?;
                rest = &rest[written..];
            }
            Ok(())
        };
        write().map_err(at(Step::MakeFile, target))
    }

    fn make_symlink(&mut self, target: &Path, points_at: &Path) -> Result<(), Failure> {
        let (parent, name) = self.parent_of(target)?;
        fs::symlinkat(points_at, parent, name).map_err(at(Step::MakeSymlink, target))
    }

    fn bind(&mut self, source: &Path, target: &Path, access: Access, optional: bool) -> Result<(), Failure> {
        let mut tree = match Mount::of(CWD, source, Depth::Below) {
            Err(Errno::NOENT | Errno::NOTDIR) if optional => return Ok(()),
            other => other.map_err(at(Step::OpenSource, source))?,
        };
        let file = tree.file().ok_or_else(|| Failure::new(Step::OpenSource, source, Errno::INVAL))?;
        let stat = fs::fstat(file).map_err(at(Step::OpenSource, source))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let points_at =
                    fs::readlinkat(file, c"", Vec::new()).map_err(at(Step::OpenSource, source))?;
                return self.make_symlink(target, Path::new(OsStr::from_c_str(&points_at)));
            }
            FileType::Directory => self.make_mount_point(target, true)?,
            _ => self.make_mount_point(target, false)?,
        }
        if self.is_on_host {
            tree.make_private().map_err(at(Step::PrivateMounts, target))?;
        }
        tree.restrict(attributes(access)).map_err(at(Step::ReadOnly, target))?;
        let (parent, name) = self.parent_of(target)?;
        tree.attach(parent, Path::new(name)).map_err(at(Step::Bind, target))
    }

    /// Makes the empty file or directory that a mount is attached to, unless it is there.
    fn make_mount_point(&mut self, target: &Path, directory: bool) -> Result<(), Failure> {
        let (parent, name) = self.parent_of(target)?;
        let made = if directory {
            fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
        } else {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fs::openat(parent, name, flags, Mode::from_raw_mode(0o444)).map(drop)
        };
        exists(made).map_err(at(if directory { Step::MakeDir } else { Step::MakeFile }, target))
    }

    /// Shows mounts that were made before at `target`.
    pub(crate) fn show(&mut self, mounts: OwnedFd, target: &Path) -> Result<(), Failure> {
        self.attach_dir(&Mount::Detached(mounts), target, Step::Bind)
    }

    fn attach_dir(&mut self, fs: &Mount, target: &Path, step: Step) -> Result<(), Failure> {
        self.make_mount_point(target, true)?;
        let (parent, name) = self.parent_of(target)?;
        fs.attach(parent, Path::new(name)).map_err(at(step, target))
    }

    pub(crate) fn give(&mut self, target: &Path, (uid, gid): (u32, u32)) -> Result<(), Failure> {
        let (user, group) = (Some(fs::Uid::from_raw(uid)), Some(fs::Gid::from_raw(gid)));
        let given = match target == Path::new("/") {
            true => fs::chownat(&self.fd, c"", user, group, fs::AtFlags::EMPTY_PATH),
            false => {
                let (parent, name) = self.parent_of(target)?;
                fs::chownat(parent, name, user, group, fs::AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        given.map_err(at(Step::GiveAway, target))
    }

    fn make_read_only(&mut self, target: &Path) -> Result<(), Failure> {
        if target == Path::new("/") {
            return mounting::set_read_only(&self.fd, true).map_err(at(Step::ReadOnly, target));
        }
        let (parent, name) = self.parent_of(target)?;
        let name = Path::new(name);
        let restrict = || -> rustix::io::Result<()> {
            let mut tree = Mount::of(parent, name, Depth::Below)?;
            tree.restrict(READ_ONLY)?;
            tree.attach(parent, name)
        };
        restrict().map_err(at(Step::ReadOnly, target))
    }

    fn mask(&mut self, target: &Path) -> Result<(), Failure> {
        let is_on_host = self.is_on_host;
        let (parent, name) = self.parent_of(target)?;
        let mask = || -> rustix::io::Result<()> {
            match open_beneath(parent, Path::new(name), OFlags::PATH) {
                Err(Errno::NOENT) => return Ok(()),
                other => drop(other?),
            }
            let mut null = Mount::of(CWD, Path::new("/dev/null"), Depth::One)?;
            if is_on_host {
                null.make_private()?;
            }
            null.restrict(attributes(Access::Device) | READ_ONLY)?;
            null.attach(parent, Path::new(name))
        };
        mask().map_err(at(Step::Bind, target))
    }

    /// The directory that `target` lies in, made with those above it when absent, and its own name.
    fn parent_of<'a>(&mut self, target: &'a Path) -> Result<(BorrowedFd<'_>, &'a OsStr), Failure> {
        let path = relative(target);
        let name = path.file_name().ok_or_else(|| Failure::new(Step::MakeDir, target, Errno::INVAL))?;
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.last_parent.as_ref().is_none_or(|(known, _)| known != parent) {
            let fd = self.open_or_make(parent).map_err(at(Step::MakeDir, target))?;
            self.last_parent = Some((parent.to_owned(), fd));
        }
        let (_, fd) = self.last_parent.as_ref().expect("it was set just above");
        Ok((fd.as_fd(), name))
    }

    fn open_or_make(&self, directory: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if directory.as_os_str().is_empty() {
            return open_beneath(self.fd.as_fd(), Path::new("."), flags);
        }
        match open_beneath(self.fd.as_fd(), directory, flags) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let parent = self.open_or_make(directory.parent().unwrap_or(Path::new("")))?;
        let name: OsString = directory.file_name().map(OsStr::to_owned).ok_or(Errno::INVAL)?;
        fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o755))?;
        open_beneath(parent.as_fd(), Path::new(&name), flags)
    }
}

/// What was to be made and is there is as good as made.
pub(crate) fn exists(made: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Opens without following any symlink or leaving `root`.
fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// What a mount gets with an access, as `MOUNT_ATTR_*`.
pub(crate) fn attributes(access: Access) -> Attributes {
    let flags = match access {
        Access::ReadOnly => {
            MountAttrFlags::MOUNT_ATTR_RDONLY
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
        }
        Access::ReadWrite => MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        Access::Device => MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    };
    flags.bits().into()
}

fn new_tmpfs(mode: u32, size: Option<&str>) -> rustix::io::Result<Mount> {
    let mode = format!("{mode:o}");
    let mut options = vec![("mode", mode.as_str())];
    options.extend(size.map(|size| ("size", size)));
    new_mount("tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)
}

/// Copies the files of a directory of the host, with owners and modes, and those of the directory itself.
fn copy_files(source: &Path, to: &OwnedFd) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = fs::open(source, flags | OFlags::DIRECTORY, Mode::empty())?;
    for entry in fs::Dir::read_from(&from)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            let file = fs::openat(&from, entry.file_name(), flags, Mode::empty())?;
            let made = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let copy = fs::openat(to, entry.file_name(), made, Mode::RUSR | Mode::WUSR)?;
            while fs::sendfile(&copy, &file, None, 1 << 20)? > 0 {}
            take_over(&file, copy.as_fd())?;
        }
    }
    // The root of a new mount cannot be changed by its own descriptor, which only names it.
    let root = fs::openat(to, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    take_over(&from, root.as_fd())
}

fn take_over(from: &OwnedFd, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let stat = fs::fstat(from)?;
    let own = fs::fstat(to)?;
    // As an ordinary user there is only one owner, by whom both were made.
    if (own.st_uid, own.st_gid) != (stat.st_uid, stat.st_gid) {
        fs::fchown(to, Some(fs::Uid::from_raw(stat.st_uid)), Some(fs::Gid::from_raw(stat.st_gid)))?;
    }
    fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))
}

/// Makes a file system that is mounted nowhere yet. An option with an empty value is a flag.
fn new_mount(
    kind: &'static str,
    options: &[(&str, &str)],
    flags: MountAttrFlags,
) -> rustix::io::Result<Mount> {
    Mount::fresh(kind, options, flags.bits().into())
}

fn loopback_up() -> rustix::io::Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::interface_up(&socket, c"lo")
}

fn set_names(host: &str, domain: &str) -> Result<(), Failure> {
    rustix::system::sethostname(host.as_bytes()).map_err(at(Step::HostName, Path::new(host)))?;
    rustix::system::setdomainname(domain.as_bytes()).map_err(at(Step::HostName, Path::new(domain)))
}

/// Sets a resource limit of this process and what it starts.
pub(crate) fn apply_limit(op: &Op) -> Result<(), Failure> {
    let Op::Limit { resource: Resource::Core, soft, hard } = op else { return Ok(()) };
    let kind = rustix::process::Resource::Core;
    let old = rustix::process::getrlimit(kind);
    let limits = rustix::process::Rlimit { current: *soft, maximum: hard.or(old.maximum) };
    rustix::process::setrlimit(kind, limits).map_err(at(Step::Limit, Path::new("core")))
}

trait FromCStr {
    fn from_c_str(text: &std::ffi::CStr) -> &OsStr;
}

impl FromCStr for OsStr {
    fn from_c_str(text: &std::ffi::CStr) -> &OsStr {
        std::os::unix::ffi::OsStrExt::from_bytes(text.to_bytes())
    }
}
