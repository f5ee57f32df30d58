//! What a sandbox is made of, as data: an ordered list of operations and a program.
//!
//! A plan is made by a pure function elsewhere and prints one operation a line, so that it can be
//! tested and read without a kernel. [`crate::Launcher::run`] is the only thing that carries it out.

mod print;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::network_helper::{Helper, Withheld};
use crate::wire::byte_path;

/// One build's surroundings and what runs in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What keeps the build apart from the host.
    pub isolation: Isolation,
    /// What the build reaches.
    pub network: Network,
    /// Who the builder is, inside and outside.
    pub identity: Identity,
    /// What it may use.
    pub limits: Limits,
    /// Which system calls it may make; `None` for all.
    pub filter: Option<Filter>,
    /// Whether programs may gain privileges when they are run, as setuid programs do.
    pub new_privileges: bool,
    /// Carried out in this order.
    pub ops: Vec<Op>,
    /// Runs once every operation has succeeded.
    pub program: Program,
}

/// What keeps a build apart from the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// Own user, mount, process, network, IPC, host name and (where present) cgroup namespaces.
    Namespaces,
    /// Bind mounts in the host's mount table below `root`, and `chroot` into it. Needs root.
    Chroot {
        /// An existing empty directory that becomes `/` of the build.
        #[serde(with = "byte_path")]
        root: PathBuf,
    },
    /// None: the builder sees the host. Only an explicit setting leads here.
    None,
}

/// What a build reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A network namespace with nothing but loopback.
    Loopback,
    /// A network namespace from which that helper reaches the outside (see [`Op::Connect`]).
    Private(Helper),
    /// Like [`Network::Loopback`], where [`Network::Private`] was wanted and cannot be had.
    Withheld(Withheld),
    /// The host's network.
    Host,
}

/// Which doors the filter of system calls leaves open; the rest is always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// User namespaces of the build's own, and mounts in them.
    pub nested_user_namespaces: bool,
    /// `socketcall`, by which programs for 32-bit x86 make sockets of any family.
    pub socketcall: bool,
}

/// Who the builder is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id that the builder sees for itself.
    pub uid: u32,
    /// Group id that the builder sees for itself.
    pub gid: u32,
    /// Ids outside, as root; `None` when the caller is an ordinary user, who can only be itself.
    pub outer: Option<(u32, u32)>,
    /// How many users and groups there are from these on, in the sandbox and outside.
    pub count: u32,
    /// Further groups outside, which the builder sees as `nogroup`; as root only.
    pub groups: Vec<u32>,
    /// Whether the builder of an ordinary user may be somebody else outside.
    pub subordinate: Subordinate,
}

/// Whether the builder of an ordinary user is a subordinate id of the caller outside. What [`Access::ReadWrite`],
/// [`Op::Gather`] and [`Op::Memory`] show is then that id's until the build has ended, and the caller's again after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subordinate {
    /// It is the caller itself.
    Never,
    /// It is, if the caller has been given such ids and they can be mapped.
    IfPossible,
    /// There is no build otherwise.
    Needed,
}

impl Identity {
    /// One user in one group.
    pub fn one(uid: u32, gid: u32, outer: Option<(u32, u32)>) -> Self {
        Self { uid, gid, outer, count: 1, groups: Vec::new(), subordinate: Subordinate::Never }
    }
}

/// Whether a bind mount may be written through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Writing fails with `EROFS`, also for uid 0.
    ReadOnly,
    /// Ordinary permissions decide; device nodes and setuid bits have no effect.
    ReadWrite,
    /// Like [`Access::ReadWrite`], and device nodes work.
    Device,
}

/// One step of setting up a sandbox. Targets are absolute paths inside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Makes a directory, and those above it that are absent.
    Dir {
        /// Where.
        #[serde(with = "byte_path")]
        target: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Shows a file or directory of the host. A symlink is copied, never followed.
    Bind {
        /// Absolute path on the host.
        #[serde(with = "byte_path")]
        source: PathBuf,
        /// Where; made if absent.
        #[serde(with = "byte_path")]
        target: PathBuf,
        /// What may be done through it.
        access: Access,
        /// Whether an absent source is passed over.
        optional: bool,
    },
    /// Shows a directory of the host, to be written to, and in it entries of another one, read-only.
    ///
    /// What one build after the other shows in the same base stays mounted from one to the next.
    Gather {
        /// Absolute path on the host of the directory that is shown. No two builds have it at the same time.
        #[serde(with = "byte_path")]
        base: PathBuf,
        /// Where.
        #[serde(with = "byte_path")]
        target: PathBuf,
        /// Absolute path on the host of the directory with the entries, none of which is a symlink.
        #[serde(with = "byte_path")]
        from: PathBuf,
        /// Their names, in order.
        names: Vec<String>,
    },
    /// Writes a file.
    File {
        /// Where; must not exist.
        #[serde(with = "byte_path")]
        target: PathBuf,
        /// What it holds.
        contents: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// Makes a symlink.
    Symlink {
        /// Where; must not exist.
        #[serde(with = "byte_path")]
        target: PathBuf,
        /// What it points at.
        #[serde(with = "byte_path")]
        points_at: PathBuf,
    },
    /// Mounts an empty file system in memory.
    Tmpfs {
        /// Where.
        #[serde(with = "byte_path")]
        target: PathBuf,
        /// Permission bits of its root.
        mode: u32,
        /// Limit as the kernel reads it (`50%`, `64m`); none: half of the memory.
        size: Option<String>,
    },
    /// Mounts a file system in memory that begins as a copy of a directory of the host, which holds files only.
    ///
    /// It outlives the build: [`crate::Running::memory`] has it.
    Memory {
        /// Absolute path on the host; owner and mode are taken over, too.
        #[serde(with = "byte_path")]
        source: PathBuf,
        /// Where.
        #[serde(with = "byte_path")]
        target: PathBuf,
        /// Most bytes in it.
        bytes: u64,
    },
    /// Mounts the processes of the build's own process namespace.
    Proc {
        /// Where.
        #[serde(with = "byte_path")]
        target: PathBuf,
    },
    /// Mounts an instance of pseudo terminals of the build's own.
    DevPts {
        /// Where.
        #[serde(with = "byte_path")]
        target: PathBuf,
    },
    /// Mounts the devices of the build's own network namespace, read-only; the host's others are seen too.
    Sys {
        /// Where.
        #[serde(with = "byte_path")]
        target: PathBuf,
    },
    /// Gives what is already at `target` to whom the builder is outside.
    Own {
        /// Where.
        #[serde(with = "byte_path")]
        target: PathBuf,
    },
    /// Makes what is already at `target` read-only, with everything below it except other mounts.
    ReadOnly {
        /// Where.
        #[serde(with = "byte_path")]
        target: PathBuf,
    },
    /// Covers the file at `target`, if there is one, with nothing.
    Mask {
        /// Where.
        #[serde(with = "byte_path")]
        target: PathBuf,
    },
    /// Brings the loopback interface up.
    Loopback,
    /// Has a helper of the host connect the build's network to the outside, for as long as the build runs.
    Connect {
        /// Which kind of helper it is.
        helper: Helper,
        /// The program, on the host.
        #[serde(with = "byte_path")]
        program: PathBuf,
        /// Whether there is anything to be reached by IPv6.
        ipv6: bool,
    },
    /// Sets host and domain name.
    HostName {
        /// What `uname -n` prints.
        host: String,
        /// The domain name of the kernel.
        domain: String,
    },
    /// Sets a resource limit.
    Limit {
        /// Which.
        resource: Resource,
        /// Soft limit; `None` is unlimited.
        soft: Option<u64>,
        /// Hard limit; `None` leaves it as it is.
        hard: Option<u64>,
    },
}

/// Resource limits that plans set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// Size of core files in bytes.
    Core,
}

/// What runs in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A program file of the sandbox.
    Exec(Exec),
    /// A function of this binary, for builds that need no program file (see [`crate::launcher_main_with`]).
    Function {
        /// The name it was registered under.
        name: String,
        /// What it is given.
        input: Vec<u8>,
    },
}

/// A program file with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The file, inside the sandbox.
    #[serde(with = "byte_path")]
    pub path: PathBuf,
    /// Arguments, `argv[0]` first.
    pub args: Vec<Vec<u8>>,
    /// The whole environment, in the order the program sees it.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where it starts, inside the sandbox.
    #[serde(with = "byte_path")]
    pub directory: PathBuf,
    /// The kernel personality to run under: true for a 32-bit `uname`.
    pub personality_32: bool,
    /// Whether the kernel tells an old version of itself, a 2.6.
    pub old_kernel: bool,
}

impl Plan {
    /// Operations that `isolation` cannot give, each told once: what a build gets instead.
    pub fn lacks(&self) -> Vec<&'static str> {
        match self.isolation {
            Isolation::Namespaces => Vec::new(),
            Isolation::None => vec!["the builder sees every file, process and network of the host"],
            Isolation::Chroot { .. } => vec![
                "the network is the host's",
                "the processes of the host are visible in /proc",
                "shared memory and message queues of System V, and the host name, are the host's",
            ],
        }
    }
}

impl Op {
    /// The single mounts that an [`Op::Gather`] stands for; nothing for any other operation.
    pub fn parts(&self) -> Vec<Self> {
        let Self::Gather { base, target, from, names } = self else { return Vec::new() };
        let bind = |source, target, access| Self::Bind { source, target, access, optional: false };
        let first = bind(base.clone(), target.clone(), Access::ReadWrite);
        let entries = names.iter().map(|name| bind(from.join(name), target.join(name), Access::ReadOnly));
        std::iter::once(first).chain(entries).collect()
    }
}

/// `path` below the root of a sandbox: without its leading `/`.
pub(crate) fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
