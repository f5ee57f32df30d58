//! Why a sandbox could not be had.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Why a build could not be started or followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One step of setting a sandbox up, or of running its program, failed.
    #[error("cannot {step} `{}`", target.display())]
    Setup {
        /// What was being done.
        step: Step,
        /// To which path; of the host before the step [`Step::EnterRoot`], else of the sandbox.
        target: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The launcher process could not be started.
    #[error("cannot start the process that launches builds, which is `/proc/self/exe`")]
    Launch {
        /// What the kernel said.
        source: io::Error,
    },
    /// What the launcher process prints cannot be sent away.
    #[error(
        "cannot start the process that launches builds: cannot write to `/dev/null`, which has to have mode 666"
    )]
    Null {
        /// What the kernel said.
        source: io::Error,
    },
    /// The program that was started as launcher is not one.
    #[error(
        "this program cannot launch builds: its `main` must call `sandbox::launcher_main()` before anything else"
    )]
    NotALauncher,
    /// The launcher process is gone.
    #[error("the process that launches builds has died; its builds died with it")]
    LauncherGone,
    /// A message could not be passed.
    #[error("cannot talk to the process that launches builds")]
    Talk {
        /// What the kernel said.
        source: io::Error,
    },
    /// The helper that should connect a build to the outside did not.
    #[error("`{}` cannot connect the build to the network: {said}", program.display())]
    NetworkHelper {
        /// The helper.
        program: PathBuf,
        /// What it said, and how it ended.
        said: String,
    },
    /// The helper that connected a build to the outside has ended before the build.
    #[error("`{}`, which connected the build to the network, has ended: {said}", program.display())]
    NetworkLost {
        /// The helper.
        program: PathBuf,
        /// What it said, and how it ended.
        said: String,
    },
    /// No pair of ids is free for builders.
    #[error(
        "cannot run a builder as root: no user id is free for builders in `/proc/self/uid_map`; \
         map at least 65536 ids into this container, or run as an ordinary user"
    )]
    NoBuilderIds,
    /// The group of build users is not what it should be.
    #[error(
        "cannot take users for builders from the group `{group}` (setting `build-users-group`): it {problem}"
    )]
    BuildGroup {
        /// The group.
        group: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A user cannot be reserved for a build.
    #[error("cannot reserve a user for a builder: cannot lock `{}`", path.display())]
    UserLock {
        /// The lock file, or the directory it should be in.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A limit is wanted that nothing here can enforce.
    #[error("cannot limit the {what} of builds (setting `{setting}`): {remedy}")]
    Limit {
        /// What was to be limited.
        what: &'static str,
        /// The setting that wants it.
        setting: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// uid 0 without the privileges of root.
    #[error(
        "cannot isolate a build: this process is uid 0 but lacks {missing}, as in a container started without it; \
         run as an ordinary user, or give the container that capability"
    )]
    Unprivileged {
        /// The capability.
        missing: &'static str,
    },
}

/// One step of setting up a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Make the namespaces.
    Namespaces,
    /// Build without namespaces after a launcher of an ordinary user has built with them.
    LeaveNamespace,
    /// Write the map of user ids.
    MapUser,
    /// Write the map of group ids.
    MapGroup,
    /// Map the caller's subordinate ids, by a program of the host.
    MapSubordinates,
    /// Keep mounts from spreading to the host.
    PrivateMounts,
    /// Mount the new root.
    MountRoot,
    /// Make a directory.
    MakeDir,
    /// Make a file.
    MakeFile,
    /// Make a symlink.
    MakeSymlink,
    /// Look at what is to be bound.
    OpenSource,
    /// Bind.
    Bind,
    /// Make read-only.
    ReadOnly,
    /// Mount a file system in memory.
    MountTmpfs,
    /// Mount the process file system.
    MountProc,
    /// Mount the file system of devices.
    MountSys,
    /// Give to the build user.
    GiveAway,
    /// Open a pseudo terminal.
    OpenTerminal,
    /// Take back from the build user.
    TakeBack,
    /// Mount the pseudo terminals.
    MountDevPts,
    /// Bring up loopback.
    Loopback,
    /// Connect the network to the outside.
    Network,
    /// Set the host name.
    HostName,
    /// Set a limit.
    Limit,
    /// Enter the new root.
    EnterRoot,
    /// Become the build user.
    BecomeUser,
    /// Give up privileges.
    DropPrivileges,
    /// Filter system calls.
    Filter,
    /// Arrange the descriptors.
    Descriptors,
    /// Go to the working directory.
    ChangeDirectory,
    /// Run the program.
    Execute,
    /// Come to the end of it: its process was killed before.
    SetUp,
    /// Unmount.
    Unmount,
    /// Remove a directory that was made for a mount.
    RemoveDir,
    /// Become the owner of a root.
    Own,
    /// Start the process that ends builds when their launcher is killed.
    Leash,
    /// Kill what an earlier build left running.
    KillLeftOvers,
    /// Make, enter or remove a control group.
    Cgroup,
    /// Hear of the system calls of a build.
    Observe,
    /// Go on after the observer of a build was killed.
    LoseObserver,
    /// Have a session keyring.
    Keyring,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "make the namespaces of",
            Self::LeaveNamespace => {
                "leave, to build without isolation, the user namespace of other builds of"
            }
            Self::MapUser => "map the user ids of",
            Self::MapSubordinates => "give builders subordinate ids of the caller by",
            Self::MapGroup => "map the group ids of",
            Self::PrivateMounts => "make private the mounts below",
            Self::MountRoot => "mount a new root over",
            Self::MakeDir => "make the directory",
            Self::MakeFile => "make the file",
            Self::MakeSymlink => "make the symlink",
            Self::OpenSource => "open",
            Self::Bind => "bind",
            Self::ReadOnly => "make read-only",
            Self::MountTmpfs => "mount a file system in memory at",
            Self::MountSys => "mount the file system of devices at",
            Self::GiveAway => "give to the build user",
            Self::TakeBack => "take back from the build user what is left below",
            Self::MountProc => "mount the process file system at",
            Self::OpenTerminal => "open a pseudo terminal by",
            Self::MountDevPts => "mount pseudo terminals at",
            Self::Loopback => "bring up the interface",
            Self::Network => "have the network of the build connected by",
            Self::HostName => "set the host name",
            Self::Limit => "set the limit",
            Self::EnterRoot => "enter the new root at",
            Self::BecomeUser => "become the build user in",
            Self::DropPrivileges => "give up the privileges in",
            Self::Filter => "filter the system calls below",
            Self::Descriptors => "arrange the descriptors of",
            Self::ChangeDirectory => "change to the directory",
            Self::Execute => "execute",
            Self::SetUp => "finish the sandbox at",
            Self::Unmount => "unmount",
            Self::RemoveDir => "remove the directory",
            Self::Leash => "start the process that guards the builds of",
            Self::Own => "have, as another process uses it, the root",
            Self::Cgroup => "use the control group",
            Self::Observe => "observe what is looked for below",
            Self::LoseObserver => "go on without its observer, which was killed, with the build in",
            Self::Keyring => "have a session keyring of its own in",
            Self::KillLeftOvers => "kill what an earlier build has left running in",
        })
    }
}
