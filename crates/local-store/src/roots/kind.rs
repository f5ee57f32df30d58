//! What can keep a path, and how that is told.
#![expect(clippy::disallowed_methods, reason = "processes are looked up in /proc")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use store_path::StorePath;

use crate::running::BuildId;

/// What keeps a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// A symlink that somebody has where they like, and that is registered below `gcroots`.
    Link(PathBuf),
    /// A symlink below `gcroots` itself, or a file there that has the path's name.
    Permanent(PathBuf),
    /// A generation of a profile.
    Generation {
        /// The symlink of this generation.
        link: PathBuf,
        /// The symlink to the generation in use.
        profile: PathBuf,
        /// Which one it is, from 1 on.
        number: u64,
        /// Whether it is the one in use.
        is_current: bool,
    },
    /// A process said that it is about to use the path: its temporary root.
    Temporary(Process),
    /// A build runs or waits that needs the path or makes it.
    Build {
        /// The build.
        id: BuildId,
        /// Its derivation.
        drv: StorePath,
        /// The number of the process that has it built.
        process: u32,
    },
    /// A running process has it.
    Process {
        /// The process.
        process: Process,
        /// As what.
        usage: Usage,
    },
    /// The kernel runs it when it needs to: the file that says so.
    Kernel(PathBuf),
    /// A mount that whoever looks sees, too, shows something of it, or stands on or in it: its place.
    Mount(PathBuf),
}

/// A process that is a reason to keep something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub number: u32,
    /// The name of its command, as far as it can be seen.
    pub command: Option<String>,
}

/// As what a process has something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// The program that it runs.
    Executable,
    /// Its working directory.
    WorkingDirectory,
    /// Its root directory.
    RootDirectory,
    /// A file or directory that it has open.
    OpenFile(PathBuf),
    /// A file that is mapped into its memory, such as a library.
    MappedFile(PathBuf),
    /// A variable of the environment it was started with, by its name.
    Environment(String),
    /// A mount that shows something of it, or stands on or in it, among mounts that are not those of this process: its place
    /// among those.
    Mount(PathBuf),
}

impl Root {
    /// Makes the root of a symlink in `place`: a generation of a profile if it is named like one.
    pub(super) fn of_link(link: PathBuf, is_permanent: bool) -> Self {
        match generation(&link) {
            Some(generation) => generation,
            None if is_permanent => Self::Permanent(link),
            None => Self::Link(link),
        }
    }

    /// Returns the symlink or file whose removal ends it, if it is one.
    pub fn link(&self) -> Option<&Path> {
        match self {
            Self::Link(path) | Self::Permanent(path) | Self::Generation { link: path, .. } => Some(path),
            Self::Temporary(_)
            | Self::Build { .. }
            | Self::Process { .. }
            | Self::Kernel(_)
            | Self::Mount(_) => None,
        }
    }
}

/// Reads `<profile>-<number>-link` beside a symlink `<profile>` that leads to one of that form.
pub(super) fn generation(link: &Path) -> Option<Root> {
    let name = link.file_name()?.to_str()?;
    let (profile, number) = generation_name(name)?;
    let current = fs::read_link(link.with_file_name(profile)).ok()?;
    let current = current.file_name()?.to_str()?;
    if generation_name(current)?.0 != profile {
        return None;
    }
    let (is_current, profile) = (current == name, link.with_file_name(profile));
    Some(Root::Generation { link: link.to_owned(), profile, number, is_current })
}

fn generation_name(name: &str) -> Option<(&str, u64)> {
    let (profile, number) = name.strip_suffix("-link")?.rsplit_once('-')?;
    (!profile.is_empty()).then_some((profile, number.parse().ok()?))
}

impl Process {
    /// Finds out what a process is called.
    pub(super) fn named(number: u32) -> Self {
        let command = fs::read(format!("/proc/{number}/comm")).ok();
        // A process chooses it itself, and might steer a terminal.
        let text =
            command.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().replace(char::is_control, "?"));
        Self { number, command: text }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(path) => write!(formatter, "the root `{}`", path.display()),
            Self::Permanent(path) => write!(formatter, "the permanent root `{}`", path.display()),
            Self::Generation { profile, number, is_current, .. } => {
                let current = if *is_current { " (the current one)" } else { "" };
                write!(formatter, "generation {number}{current} of the profile `{}`", profile.display())
            }
            Self::Temporary(process) => write!(formatter, "{process}, which is about to use it"),
            Self::Build { id, drv, process } => {
                write!(formatter, "the build {id} of `{drv}` in process {process}")
            }
            Self::Process { process, usage } => write!(formatter, "{process}: {usage}"),
            Self::Kernel(path) => write!(formatter, "the kernel, which may run it (`{}`)", path.display()),
            Self::Mount(place) => write!(formatter, "the mount at `{}`", place.display()),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "process {}", self.number)?;
        self.command.iter().try_for_each(|command| write!(formatter, " ({command})"))
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Executable => formatter.write_str("its executable"),
            Self::WorkingDirectory => formatter.write_str("its working directory"),
            Self::RootDirectory => formatter.write_str("its root directory"),
            Self::OpenFile(file) => write!(formatter, "the open file `{}`", file.display()),
            Self::MappedFile(file) => write!(formatter, "the mapped file `{}`", file.display()),
            Self::Environment(name) => write!(formatter, "its environment (`{name}`)"),
            Self::Mount(place) => write!(formatter, "the mount at `{}`", place.display()),
        }
    }
}
