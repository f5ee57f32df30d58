//! One mount: made, restricted and attached, by descriptor where the kernel has that.
//!
//! Since Linux 5.12 a mount is made attached nowhere, restricted, and then put in its place, so that it is never seen
//! otherwise. On older kernels, and in containers that forbid those calls, it is made in its place and restricted at
//! once; nothing but this process sees it until then. Places are named by descriptors either way.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{self, CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    self, FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags,
};

use crate::left_over;
use crate::sys;

/// Attributes of a mount (`MOUNT_ATTR_*`); those used here are the same bits as flags of `mount`.
pub(crate) type Attributes = u64;

/// Makes a mount read-only.
pub(crate) const READ_ONLY: Attributes = MountAttrFlags::MOUNT_ATTR_RDONLY.bits() as Attributes;

/// A mount that is not in its place yet.
pub(crate) enum Mount {
    /// Attached nowhere.
    Detached(OwnedFd),
    /// On older kernels, what is to be seen there too, and how.
    Copy { file: OwnedFd, path: Option<PathBuf>, attributes: Attributes, is_private: bool },
    /// On older kernels, a file system to be.
    Fresh { kind: &'static str, options: String, attributes: Attributes },
}

/// How much of what is mounted below goes along.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    One,
    Below,
}

/// Whether this kernel, and whoever filters its calls, lets this process mount by descriptor.
fn by_descriptor() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let nothing = mount::open_tree(CWD, c"", OpenTreeFlags::OPEN_TREE_CLONE);
        let no_file_system = mount::fsopen(c"", FsOpenFlags::FSOPEN_CLOEXEC);
        let no_change = sys::restrict_nothing();
        nothing.err() == Some(Errno::NOENT)
            && no_change.err() == Some(Errno::NOENT)
            && !matches!(no_file_system, Err(Errno::NOSYS | Errno::PERM))
    })
}

impl Mount {
    /// What is at `path`, which is not followed if it is a symlink, once more.
    pub(crate) fn of(at: impl AsFd, path: &Path, depth: Depth) -> rustix::io::Result<Self> {
        if by_descriptor() {
            let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
            flags.set(OpenTreeFlags::AT_RECURSIVE, depth == Depth::Below);
            return mount::open_tree(at, path, flags).map(Self::Detached);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(at, path, flags, Mode::empty())?;
        let path = (depth == Depth::Below).then(|| path.to_owned());
        Ok(Self::Copy { file, path, attributes: 0, is_private: false })
    }

    /// A new file system. An option with an empty value is a flag.
    pub(crate) fn fresh(
        kind: &'static str,
        options: &[(&str, &str)],
        attributes: Attributes,
    ) -> rustix::io::Result<Self> {
        if !by_descriptor() {
            let word = |(key, value): &(&str, &str)| {
                if value.is_empty() { (*key).to_owned() } else { format!("{key}={value}") }
            };
            let options = options.iter().map(word).collect::<Vec<_>>().join(",");
            return Ok(Self::Fresh { kind, options, attributes });
        }
        let context = mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            if value.is_empty() {
                mount::fsconfig_set_flag(&context, *key)?;
            } else {
                mount::fsconfig_set_string(&context, *key, *value)?;
            }
        }
        mount::fsconfig_create(&context)?;
        let flags = MountAttrFlags::from_bits_retain(attributes as u32);
        mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).map(Self::Detached)
    }

    /// The file or directory that it shows.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Detached(file) | Self::Copy { file, .. } => Some(file.as_fd()),
            Self::Fresh { .. } => None,
        }
    }

    /// Restricts it, and all that goes along.
    pub(crate) fn restrict(&mut self, more: Attributes) -> rustix::io::Result<()> {
        match self {
            Self::Detached(mount) => sys::add_mount_attributes(mount, more, true),
            Self::Copy { attributes, .. } | Self::Fresh { attributes, .. } => {
                *attributes |= more;
                Ok(())
            }
        }
    }

    /// Keeps what is mounted in it from spreading to others, and the other way round.
    pub(crate) fn make_private(&mut self) -> rustix::io::Result<()> {
        match self {
            Self::Detached(mount) => sys::make_private(mount),
            Self::Copy { is_private, .. } => {
                *is_private = true;
                Ok(())
            }
            Self::Fresh { .. } => Ok(()),
        }
    }

    /// Puts it in its place, an existing file or directory.
    pub(crate) fn attach(&self, parent: impl AsFd, name: &Path) -> rustix::io::Result<()> {
        match self {
            Self::Detached(mount) => {
                mount::move_mount(mount, c"", parent, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            }
            Self::Copy { file, path, attributes, is_private } => {
                let place = open(&parent, name)?;
                match path {
                    Some(_) => mount::mount_bind_recursive(&*by_name(file), &*by_name(&place))?,
                    None => mount::mount_bind(&*by_name(file), &*by_name(&place))?,
                }
                let mounted = open(&parent, name)?;
                if *is_private {
                    change_propagation(&mounted)?;
                }
                restrict_in_place(&mounted, *attributes)?;
                path.as_deref().map_or(Ok(()), |path| restrict_below(path, &mounted, *attributes))
            }
            Self::Fresh { kind, options, attributes } => {
                let place = open(&parent, name)?;
                let flags = MountFlags::from_bits_retain(*attributes as u32);
                let options = CString::new(options.as_str()).map_err(|_| Errno::INVAL)?;
                mount::mount(*kind, &*by_name(&place), *kind, flags, &*options)
            }
        }
    }
}

/// Makes the mount that `mounted` is the root of read-only, or takes that back.
pub(crate) fn set_read_only(mounted: &OwnedFd, is_read_only: bool) -> rustix::io::Result<()> {
    match (by_descriptor(), is_read_only) {
        (true, true) => sys::add_mount_attributes(mounted, READ_ONLY, false),
        (true, false) => sys::clear_mount_attributes(mounted, READ_ONLY),
        (false, true) => restrict_in_place(mounted, READ_ONLY),
        (false, false) => {
            let flags = present(mounted)? - MountFlags::RDONLY;
            mount::mount_remount(&*by_name(mounted), flags | MountFlags::BIND, c"")
        }
    }
}

/// Keeps the mounts in and below the one that `mounted` is the root of from spreading.
pub(crate) fn make_private(mounted: &OwnedFd) -> rustix::io::Result<()> {
    if by_descriptor() { sys::make_private(mounted) } else { change_propagation(mounted) }
}

/// The root of what is mounted last over the root of this process, which itself goes on to be the one below.
pub(crate) fn over_root(mount: Mount) -> rustix::io::Result<OwnedFd> {
    match mount {
        Mount::Detached(root) => Ok(root),
        // What is above the root is the root, with what is mounted there.
        Mount::Copy { .. } | Mount::Fresh { .. } => {
            fs::open(c"/..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        }
    }
}

fn open(parent: impl AsFd, name: &Path) -> rustix::io::Result<OwnedFd> {
    fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// A path for calls that take no descriptor.
fn by_name(file: impl AsFd) -> PathBuf {
    Path::new("/proc/self/fd").join(file.as_fd().as_raw_fd().to_string())
}

fn change_propagation(mounted: &OwnedFd) -> rustix::io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount::mount_change(&*by_name(mounted), private)
}

/// What a mount must keep: in a user namespace of an ordinary user nothing can be taken from it.
fn present(mounted: &OwnedFd) -> rustix::io::Result<MountFlags> {
    let now = fs::fstatvfs(mounted)?.f_flag;
    let flags = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    Ok(flags.into_iter().filter(|(flag, _)| now.contains(*flag)).map(|(_, flag)| flag).collect())
}

fn restrict_in_place(mounted: &OwnedFd, attributes: Attributes) -> rustix::io::Result<()> {
    let flags = present(mounted)? | MountFlags::from_bits_retain(attributes as u32);
    mount::mount_remount(&*by_name(mounted), flags | MountFlags::BIND, c"")
}

/// A mount is restricted by itself; so each one that is below `source` on the host is, where it is seen too.
fn restrict_below(source: &Path, mounted: &OwnedFd, attributes: Attributes) -> rustix::io::Result<()> {
    for below in left_over::mounts_below(source) {
        let Some(below) = below.strip_prefix(source).ok().filter(|path| !path.as_os_str().is_empty()) else {
            continue;
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match fs::openat2(mounted, below, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Ok(inner) => restrict_in_place(&inner, attributes)?,
            // Another mount hides it.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
