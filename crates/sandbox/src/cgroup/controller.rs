//! What control groups limit, where the kernel has that, and in which files it wants the limits.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A kind of resource that control groups limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "processes",
            Self::Cpu => "weight of processor time",
        }
    }

    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Memory => "max-build-memory",
            Self::Pids => "max-build-pids",
            Self::Cpu => "build-cpu-weight",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        if self == Self::Memory { " bytes" } else { "" }
    }

    pub(super) fn kernel_name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }

    /// The files that hold a limit, and what to write; those that are marked need not exist.
    pub(super) fn settings(self, version: Version, limit: u64) -> Vec<(&'static str, String, bool)> {
        let text = limit.to_string();
        match (self, version) {
            (Self::Memory, Version::Two) => vec![
                ("memory.max", text, true),
                ("memory.swap.max", "0".to_owned(), false),
                ("memory.oom.group", "1".to_owned(), false),
            ],
            (Self::Memory, Version::One) => vec![
                ("memory.limit_in_bytes", text.clone(), true),
                ("memory.memsw.limit_in_bytes", text, false),
            ],
            (Self::Pids, _) => vec![("pids.max", text, true)],
            (Self::Cpu, Version::Two) => vec![("cpu.weight", text, true)],
            // 1024 is what everybody has.
            (Self::Cpu, Version::One) => {
                vec![("cpu.shares", (limit * 1024 / 100).clamp(2, 262_144).to_string(), true)]
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// The directories that a line of mountinfo offers for a controller, best first.
pub(super) fn places(mount: &str, own: &str, controller: Controller) -> Vec<(Version, PathBuf)> {
    let Some((before, after)) = mount.split_once(" - ") else { return Vec::new() };
    let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
    let (Some(root), Some(at)) = (before.next(), before.next()) else { return Vec::new() };
    let (kind, options) = (after.next(), after.nth(1).unwrap_or_default());
    let has = |list: &str, name| list.split(',').any(|word| word == name);
    let version = match kind {
        Some("cgroup2") => Version::Two,
        Some("cgroup") if has(options, controller.kernel_name()) => Version::One,
        _ => return Vec::new(),
    };
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let is_it = match version {
            Version::One => has(controllers, controller.kernel_name()),
            Version::Two => controllers.is_empty(),
        };
        is_it.then_some(path)
    });
    let below = path.and_then(|path| Path::new(path).strip_prefix(root).ok()).unwrap_or(Path::new(""));
    let own = Path::new(at).join(below);
    // A group that has processes has no limited groups below it (version 2), so one beside it will do too.
    let beside = (version == Version::Two && own != Path::new(at)).then(|| own.parent().map(Path::to_owned));
    std::iter::once(own).chain(beside.flatten()).map(|place| (version, place)).collect()
}

/// The groups of a kind that this process is in.
pub(crate) fn own_groups(mounts: &str, own: &str, controller: Controller) -> Vec<(Version, PathBuf)> {
    mounts.lines().filter_map(|mount| places(mount, own, controller).into_iter().next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_each_version_wants_them() {
        let cpu = |version, weight| Controller::Cpu.settings(version, weight)[0].clone();
        assert_eq!(cpu(Version::One, 100), ("cpu.shares", "1024".to_owned(), true));
        assert_eq!(cpu(Version::One, 10_000), ("cpu.shares", "102400".to_owned(), true));
        assert_eq!(cpu(Version::Two, 50), ("cpu.weight", "50".to_owned(), true));
        let memory = Controller::Memory.settings(Version::Two, 5);
        assert_eq!(memory[0], ("memory.max", "5".to_owned(), true));
        assert!(memory.iter().any(|(file, text, _)| *file == "memory.oom.group" && text == "1"));
    }
}
