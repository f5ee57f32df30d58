//! What a build may use of the machine, and what enforces it here.

use std::fmt;

use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroup, Controller, Hierarchies};
use crate::error::{Error, Step};
use crate::given::{Limited, Unlimited};
use crate::wire::{Exited, Failure};
use rustix::io::Errno;

/// What a build may use at most; nothing is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Whether control groups enforce it.
    pub cgroups: Cgroups,
    /// Bytes of memory, all its processes together.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Its share of the processors beside others, who have 100.
    pub cpu_weight: Option<u64>,
}

/// When a build is put into control groups of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cgroups {
    /// When a limit is wanted that they can enforce here.
    #[default]
    Auto,
    /// Always; a build that cannot be is refused.
    Always,
    /// Never.
    Never,
}

/// What enforces the limits of a build on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// By control groups.
    pub(crate) groups: Vec<(Controller, Option<u64>)>,
    /// By a limit of each process.
    pub(crate) process_memory: Option<u64>,
    /// By a limit of each user.
    pub(crate) user_pids: Option<u64>,
}

impl Limits {
    /// Decides what enforces them here.
    ///
    /// # Errors
    /// [`Error::Limit`] for one that nothing can enforce.
    pub fn enforcement(&self) -> Result<Enforcement, Error> {
        let found = if self.are_none() { Hierarchies::default() } else { Hierarchies::find() };
        self.enforced_by(&|controller| found.has(controller))
    }

    /// Whether there is nothing to enforce.
    pub(crate) fn are_none(&self) -> bool {
        let limits = [self.memory, self.pids, self.cpu_weight];
        self.cgroups != Cgroups::Always && limits.iter().all(Option::is_none)
    }

    /// As [`Limits::enforcement`], for hierarchies that were looked for before.
    pub(crate) fn enforced_within(&self, hierarchies: &Hierarchies) -> Result<Enforcement, Failure> {
        self.enforced_by(&|controller| hierarchies.has(controller))
            .map_err(|_| Failure::new(Step::Limit, "control group", Errno::NOTSUP))
    }

    fn enforced_by(&self, has: &dyn Fn(Controller) -> bool) -> Result<Enforcement, Error> {
        let can = |controller| self.cgroups != Cgroups::Never && has(controller);
        let mut enforcement = Enforcement::default();
        for (controller, limit) in [
            (Controller::Memory, self.memory),
            (Controller::Pids, self.pids),
            (Controller::Cpu, self.cpu_weight),
        ] {
            match (can(controller), controller) {
                (true, _) if limit.is_some() || self.cgroups == Cgroups::Always => {
                    enforcement.groups.push((controller, limit));
                }
                (true, _) => {}
                (false, Controller::Memory) if self.cgroups != Cgroups::Always => {
                    enforcement.process_memory = limit;
                }
                (false, Controller::Pids) if self.cgroups != Cgroups::Always => enforcement.user_pids = limit,
                (false, _) if limit.is_some() => return Err(self.impossible(controller)),
                (false, _) => {}
            }
        }
        if self.cgroups == Cgroups::Always && enforcement.groups.is_empty() {
            return Err(self.impossible(Controller::Memory));
        }
        Ok(enforcement)
    }

    fn impossible(&self, controller: Controller) -> Error {
        let remedy = match self.cgroups {
            Cgroups::Never => "set `use-cgroups` to `auto`",
            _ if rustix::process::geteuid().is_root() => {
                "mount the control groups writable (in a container: with a delegated cgroup), or unset the limit"
            }
            _ => {
                "run below `systemd-run --user --scope -p Delegate=yes`, which gives you control groups of your own, \
                 or unset the limit"
            }
        };
        Error::Limit { what: controller.name(), setting: controller.setting(), remedy }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cgroups {
            Cgroups::Auto => {}
            Cgroups::Always => writeln!(f, "control groups always")?,
            Cgroups::Never => writeln!(f, "control groups never")?,
        }
        let limits =
            [("memory", self.memory), ("processes", self.pids), ("processor weight", self.cpu_weight)];
        let mut set = limits.into_iter().filter_map(|(what, limit)| Some((what, limit?)));
        set.try_for_each(|(what, limit)| writeln!(f, "at most {what} {limit}"))
    }
}

impl Enforcement {
    /// What is in force, as [`crate::Given`] tells it.
    pub(crate) fn limited(&self) -> Vec<Limited> {
        let limited = |what: &str, to: u64, unit: &str, by: &str| Limited {
            what: what.to_owned(),
            to: format!("{to}{unit}"),
            by: by.to_owned(),
        };
        let mut all: Vec<Limited> = self
            .groups
            .iter()
            .filter_map(|(controller, limit)| {
                Some(limited(controller.name(), (*limit)?, controller.unit(), "control group"))
            })
            .collect();
        all.extend(self.process_memory.map(|to| limited("memory", to, " bytes", "each process")));
        all.extend(self.user_pids.map(|to| limited("processes", to, "", "each user")));
        all
    }

    /// What is less in force than it was wanted, in a sentence each.
    pub fn unlimited(&self) -> Vec<Unlimited> {
        let memory = self.process_memory.map(|_| Unlimited {
            what: "memory of all processes together".to_owned(),
            why:
                "there is no control group of memory that `store` may use; each process is limited by itself"
                    .to_owned(),
        });
        memory.into_iter().collect()
    }

    /// Limits this process, and so what it starts. The last thing before a program runs: it counts itself.
    pub(crate) fn limit_process(&self) -> Result<(), Failure> {
        let wanted = [(Resource::As, self.process_memory), (Resource::Nproc, self.user_pids)];
        for (resource, limit) in wanted {
            let Some(limit) = limit else { continue };
            let old = rustix::process::getrlimit(resource).maximum;
            let limit = Some(old.map_or(limit, |old| old.min(limit)));
            rustix::process::setrlimit(resource, Rlimit { current: limit, maximum: limit })
                .map_err(|errno| Failure::new(Step::Limit, format!("{resource:?}"), errno))?;
        }
        Ok(())
    }
}

/// What bounds one build.
#[derive(Default)]
pub(crate) struct Bounds {
    pub(crate) enforcement: Enforcement,
    pub(crate) cgroup: Option<Cgroup>,
}

impl Bounds {
    /// Puts this process, and what it will start, into its control groups. True if it is in some now.
    pub(crate) fn enter(&self) -> Result<bool, Failure> {
        self.cgroup.as_ref().map_or(Ok(()), Cgroup::enter).map(|()| self.cgroup.is_some())
    }

    /// Adds to how the build's first process ended what all of them have used.
    pub(crate) fn count(&self, exited: &mut Exited) {
        let usage = self.cgroup.as_ref().map(Cgroup::usage).unwrap_or_default();
        exited.peak_bytes = usage.peak.unwrap_or(exited.peak_bytes);
        exited.out_of_memory = usage.out_of_memory;
    }

    /// Ends what is left in its control groups.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        self.cgroup.as_ref().map_or(Ok(()), Cgroup::remove)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { cgroups: Cgroups::Auto, memory: Some(1), pids: Some(2), cpu_weight: None };

    #[test]
    fn control_groups_go_before_limits_of_processes() {
        let all = LIMITS.enforced_by(&|_| true).unwrap();
        assert_eq!(all.groups, [(Controller::Memory, Some(1)), (Controller::Pids, Some(2))]);
        assert!(all.unlimited().is_empty() && all.process_memory.is_none());
        let some = LIMITS.enforced_by(&|controller| controller == Controller::Pids).unwrap();
        assert_eq!((some.groups.len(), some.process_memory, some.user_pids), (1, Some(1), None));
        let none = Limits { cgroups: Cgroups::Never, ..LIMITS }.enforced_by(&|_| true).unwrap();
        assert_eq!((none.groups.len(), none.process_memory, none.user_pids), (0, Some(1), Some(2)));
        let told: Vec<_> =
            none.limited().into_iter().map(|one| format!("{} {} {}", one.what, one.to, one.by)).collect();
        assert_eq!(told, ["memory 1 bytes each process", "processes 2 each user"]);
        assert_eq!(none.unlimited().len(), 1);
    }

    #[test]
    fn what_nothing_enforces_is_refused() {
        let weight = Limits { cpu_weight: Some(10), ..LIMITS };
        let error = weight.enforced_by(&|_| false).unwrap_err().to_string();
        assert!(error.contains("build-cpu-weight"), "{error}");
        let never = Limits { cgroups: Cgroups::Never, ..weight };
        assert!(never.enforced_by(&|_| true).unwrap_err().to_string().contains("`use-cgroups`"));
        let always = Limits { cgroups: Cgroups::Always, ..Limits::default() };
        assert!(always.enforced_by(&|_| false).is_err());
        assert_eq!(always.enforced_by(&|_| true).unwrap().groups.len(), 3);
        assert!(Limits { cgroups: Cgroups::Always, ..LIMITS }.enforced_by(&|_| false).is_err());
    }

    #[test]
    fn nothing_wanted_is_nothing_done() {
        assert_eq!(Limits::default().enforcement().unwrap(), Enforcement::default());
    }
}
