//! Control groups of builds: found where `store` may make them, one set for each build, removed after it.
//!
//! A group is its maker's as long as that holds a lock on its directory. The kernel lets go of the lock with the
//! process, and of the processes in the group with the build; what remains is an empty directory that nobody
//! has locked, and that whoever makes groups beside it next removes.

#![expect(clippy::disallowed_methods, reason = "control groups are directories")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::Timespec;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::error::Step;
use crate::wire::Failure;

mod controller;
mod counted;

use controller::places;
pub(crate) use controller::{Controller, Version, own_groups};
pub(crate) use counted::{counted, counter};

/// What the names of our groups begin with.
const PREFIX: &str = "store-build-";

/// Where groups for builds can be made.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// A directory for each controller that there is one for.
    found: Vec<(Controller, Version, PathBuf)>,
}

impl Hierarchies {
    /// Looks where this process is and whether it may make groups there.
    pub(crate) fn find() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (mounts, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
        let usable = |controller, version, place: &Path| match version {
            Version::One => is_writable(place),
            Version::Two => is_writable(place) && delegates(place, controller),
        };
        Self::among(&mounts, &own, &usable)
    }

    fn among(mounts: &str, own: &str, usable: &dyn Fn(Controller, Version, &Path) -> bool) -> Self {
        let mut found = Vec::new();
        for controller in [Controller::Memory, Controller::Pids, Controller::Cpu] {
            let places = mounts.lines().flat_map(|mount| places(mount, own, controller));
            let place = { places }.find(|(version, place)| usable(controller, *version, place));
            found.extend(place.map(|(version, place)| (controller, version, place)));
        }
        Self { found }
    }

    /// Removes the groups whose makers are dead.
    pub(crate) fn sweep(&self) {
        self.found.iter().for_each(|(.., place)| sweep(place));
    }

    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.found.iter().any(|(found, ..)| *found == controller)
    }

    /// Says for people where groups with that controller are made, and of which version they are.
    pub(crate) fn place(&self, controller: Controller) -> Option<String> {
        let (_, version, place) = self.found.iter().find(|(found, ..)| *found == controller)?;
        let version = if *version == Version::One { 1 } else { 2 };
        let place: PathBuf = place.components().collect();
        Some(format!("version {version}, in {}", place.display()))
    }
}

fn is_writable(place: &Path) -> bool {
    let may = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    may(place) && may(&place.join("cgroup.procs"))
}

/// Whether groups below `place` have the controller, or have it from now on.
fn delegates(place: &Path, controller: Controller) -> bool {
    let control = place.join("cgroup.subtree_control");
    let has = || {
        let enabled = fs::read_to_string(&control).unwrap_or_default();
        enabled.split_whitespace().any(|name| name == controller.kernel_name())
    };
    has() || fs::write(&control, format!("+{}", controller.kernel_name())).is_ok() && has()
}

/// The groups of one build. Dropping it leaves them to be removed by the next who makes some.
pub(crate) struct Cgroup {
    groups: Vec<Group>,
}

struct Group {
    path: PathBuf,
    version: Version,
    controllers: Vec<(Controller, Option<u64>)>,
    /// Locked.
    #[expect(dead_code, reason = "is there to be open")]
    directory: File,
    /// A process that writes 0 there is in the group.
    procs: OwnedFd,
}

/// What the groups of a build have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// The most memory at one time, in bytes.
    pub(crate) peak: Option<u64>,
    /// The limit of memory, if processes were killed for it.
    pub(crate) out_of_memory: Option<u64>,
}

impl Cgroup {
    /// Makes groups with these limits, after removing those of the dead.
    pub(crate) fn make(
        hierarchies: &Hierarchies,
        wanted: &[(Controller, Option<u64>)],
    ) -> Result<Self, Failure> {
        // Process numbers are not unique among those who see a tree of groups.
        let source = Path::new("/proc/sys/kernel/random/uuid");
        let name = fs::read_to_string(source).map_err(failed(Step::Cgroup, source))?;
        let name = name.trim();
        let mut made = Self { groups: Vec::new() };
        for (controller, limit) in wanted {
            let place = hierarchies.found.iter().find(|(found, ..)| found == controller);
            let Some((_, version, parent)) = place else {
                return Err(Failure::new(Step::Limit, controller.name(), Errno::NOTSUP));
            };
            let path = parent.join(format!("{PREFIX}{name}"));
            if !made.groups.iter().any(|group| group.path == path) {
                sweep(parent);
                let group = Group::make(&path, *version).map_err(failed(Step::Cgroup, &path));
                made.groups.push(group.inspect_err(|_| drop(fs::remove_dir(&path)))?);
            }
            let group = made.groups.iter_mut().find(|group| group.path == path).expect("it was just made");
            group.controllers.push((*controller, *limit));
            for (file, text, is_needed) in limit.map_or(Vec::new(), |to| controller.settings(*version, to)) {
                let written = write(&path.join(file), &text);
                if let (Err(error), true) = (written, is_needed) {
                    let failure = failed(Step::Limit, &path.join(file))(error);
                    made.groups.iter().for_each(|group| drop(fs::remove_dir(&group.path)));
                    return Err(failure);
                }
            }
        }
        Ok(made)
    }

    /// Moves this process into them.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        self.groups.iter().try_for_each(|group| {
            let entered = rustix::io::write(&group.procs, b"0").map(drop);
            entered.map_err(|errno| Failure::new(Step::Cgroup, &group.path, errno))
        })
    }

    /// What was counted until now.
    pub(crate) fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for group in &self.groups {
            let Some((_, limit)) = group.controllers.iter().find(|(one, _)| *one == Controller::Memory)
            else {
                continue;
            };
            let (peak, events) = match group.version {
                Version::One => ("memory.max_usage_in_bytes", "memory.oom_control"),
                Version::Two => ("memory.peak", "memory.events"),
            };
            let read = |file| fs::read_to_string(group.path.join(file)).unwrap_or_default();
            usage.peak = read(peak).trim().parse().ok();
            let kills = counter(&read(events), "oom_kill").unwrap_or_default();
            usage.out_of_memory = limit.filter(|_| kills > 0);
        }
        usage
    }

    /// Kills what is still in the groups, and removes them.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        self.groups.iter().try_for_each(|group| {
            remove(&group.path).map_err(|errno| Failure::new(Step::Cgroup, &group.path, errno))
        })
    }
}

impl Group {
    fn make(path: &Path, version: Version) -> io::Result<Self> {
        let directory = claim(path)?;
        let procs = OpenOptions::new().write(true).open(path.join("cgroup.procs"))?.into();
        Ok(Self { path: path.to_owned(), version, controllers: Vec::new(), directory, procs })
    }
}

/// Makes a directory that is there and locked, also while others sweep its parent.
fn claim(path: &Path) -> io::Result<File> {
    /// A sweeper is on its way for as long as [`remove`] takes.
    const MOST_TRIES: usize = 1_000;
    let locked = || {
        // What is there already is the one of a former try, or the lock tells whose it is.
        fs::create_dir(path).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })?;
        let directory = File::open(path)?;
        rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        let (now, own) = (fs::metadata(path)?, directory.metadata()?);
        // Whoever swept it away before it was locked took it for a dead one's.
        let is_there = (own.dev(), own.ino()) == (now.dev(), now.ino());
        if is_there { Ok(directory) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    for _ in 1..MOST_TRIES {
        match locked() {
            Err(error) if is_of_a_sweeper(&error) => pause(),
            other => return other,
        }
    }
    locked()
}

/// Whether it comes from somebody who opened, locked or removed a directory before its maker had the lock.
fn is_of_a_sweeper(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock)
}

fn pause() {
    let _ = rustix::event::poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 }));
}

fn failed(step: Step, path: &Path) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::new(step, path, Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Files of control groups exist or not; none is ever made.
fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// Removes the groups in `parent` whose makers are dead. What cannot be removed is left to the next.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_ours && let Ok(directory) = File::open(entry.path()) {
            let locked = rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive);
            let _ = locked.and_then(|()| remove(&entry.path()));
        }
    }
}

/// Kills every process in a group and removes it.
fn remove(path: &Path) -> Result<(), Errno> {
    /// Processes that end are in their group until the last moment.
    const MOST_TRIES: usize = 200;
    for _ in 0..MOST_TRIES {
        match rustix::fs::rmdir(path) {
            Err(Errno::BUSY) => {}
            Err(Errno::NOENT) => return Ok(()),
            other => return other,
        }
        if write(&path.join("cgroup.kill"), "1").is_err() {
            let processes = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            for pid in processes.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        pause();
    }
    Err(Errno::BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_support::Scratch;

    const ONE: &str = "31 28 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                       32 28 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                       33 28 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const OWN: &str = "4:memory:/a/b\n3:cpu,cpuacct:/\n1:name=systemd:/x\n0::/u/own\n";

    #[test]
    fn version_one_is_below_the_own_group() {
        let found = Hierarchies::among(ONE, OWN, &|_, version, _| version == Version::One);
        let memory = (Controller::Memory, Version::One, PathBuf::from("/sys/fs/cgroup/memory/a/b"));
        let cpu = (Controller::Cpu, Version::One, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(found.found, [memory, cpu]);
        assert!(!found.has(Controller::Pids));
    }

    #[test]
    fn version_two_is_below_the_own_group_or_beside_it() {
        let two = |usable: &dyn Fn(Controller, Version, &Path) -> bool| Hierarchies::among(ONE, OWN, usable);
        let below = two(&|_, version, _| version == Version::Two);
        assert_eq!(below.found[1].2, Path::new("/sys/fs/cgroup/unified/u/own"));
        let beside = two(&|_, version, place| version == Version::Two && !place.ends_with("own"));
        assert_eq!(beside.found[1].2, Path::new("/sys/fs/cgroup/unified/u"));
        // In a container that sees a part of the tree.
        let part = ONE.replace("0:29 / ", "0:29 /u ");
        let part = Hierarchies::among(&part, OWN, &|_, version, _| version == Version::Two);
        assert_eq!(part.found[0].2, Path::new("/sys/fs/cgroup/unified/own"));
        assert_eq!(Hierarchies::among("", OWN, &|_, _, _| true), Hierarchies::default());
        assert_eq!(Hierarchies::among("a b - cgroup\nx\n", "", &|_, _, _| true), Hierarchies::default());
    }

    /// A tree of plain files takes limits as a real one does.
    #[test]
    fn a_delegated_tree_of_version_two() {
        let scratch = Scratch::new();
        let control = scratch.join("cgroup.subtree_control");
        fs::write(scratch.join("cgroup.procs"), "").unwrap();
        fs::write(&control, "cpu pids\n").unwrap();
        assert!(is_writable(scratch.path()) && delegates(scratch.path(), Controller::Pids));
        assert!(
            !is_writable(&scratch.join("absent")) && !delegates(&scratch.join("absent"), Controller::Pids)
        );
    }

    #[test]
    fn only_groups_of_the_dead_are_swept() {
        let scratch = Scratch::new();
        let (living, dead) = (scratch.join("store-build-1"), scratch.join("store-build-2"));
        let foreign = scratch.join("other");
        for path in [&living, &dead, &foreign] {
            fs::create_dir(path).unwrap();
        }
        let lock = File::open(&living).unwrap();
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        sweep(scratch.path());
        assert!(living.exists() && foreign.exists() && !dead.exists());
    }

    /// The sweeper came between the making of a group and the lock on it.
    #[test]
    fn a_group_is_made_also_while_others_sweep() {
        let scratch = Scratch::new();
        let path = scratch.join("store-build-1");
        fs::create_dir(&path).unwrap();
        let sweeper = File::open(&path).unwrap();
        rustix::fs::flock(&sweeper, FlockOperation::NonBlockingLockExclusive).unwrap();
        let claimed = std::thread::scope(|scope| {
            let claimed = scope.spawn(|| claim(&path));
            pause();
            fs::remove_dir(&path).unwrap();
            drop(sweeper);
            claimed.join().unwrap().unwrap()
        });
        let is_same = claimed.metadata().unwrap().ino() == fs::metadata(&path).unwrap().ino();
        assert!(is_same);
        sweep(scratch.path());
        assert!(path.exists());
    }
}
