//! Subordinate ids: users and groups that `/etc/subuid` and `/etc/subgid` hold for an ordinary user, for its builders.
//!
//! Two setuid programs of the host map them (`newuidmap`, `newgidmap`). They have to be started from outside the new
//! user namespace, so the launcher forks a process that waits, enters its namespace, and lets that process go on:
//!
//! ```text
//!  inside   0       1 … COUNT
//!  outside  CALLER  START … START + COUNT - 1
//! ```
//!
//! The caller, having made that namespace, may signal and look into all that runs below it, so nothing about ending
//! builds is different. Only files are: what belongs to a subordinate id is the caller's no more than anybody else's,
//! and `ownership` takes it back.

#![expect(clippy::disallowed_methods, reason = "reads the ranges of ids that the caller has")]

use std::collections::hash_map::RandomState;
use std::ffi::{CStr, CString};
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Signal;

use crate::accounts::{extents, rows};
use crate::error::Step;
use crate::ids;
use crate::sys::{self, Cloned};
use crate::wire::Failure;

/// Where distributions have the programs that map ids.
const PLACES: [&str; 5] = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/run/wrappers/bin"];

/// How the process that starts both ends when the first of them has refused; they themselves say 1.
const USERS_REFUSED: i32 = 2;

/// Ids in a row, on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

/// What an ordinary user can give to builders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subordinates {
    users: Range,
    groups: Range,
    newuidmap: PathBuf,
    newgidmap: PathBuf,
}

/// How many subordinate users and groups builds of the caller can have; 0 as root, who needs none.
pub fn subordinate_ids() -> u32 {
    Subordinates::find().map_or(0, |found| found.count())
}

impl Subordinates {
    /// Looks what the caller has been given, and whether it can be mapped here.
    pub(crate) fn find() -> Option<Self> {
        let uid = rustix::process::geteuid();
        if uid.is_root() {
            return None;
        }
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let names = names(&read("/etc/passwd"), uid.as_raw());
        let users = largest(&read("/etc/subuid"), &names, &read("/proc/self/uid_map"))?;
        let groups = largest(&read("/etc/subgid"), &names, &read("/proc/self/gid_map"))?;
        Some(Self { users, groups, newuidmap: program("newuidmap")?, newgidmap: program("newgidmap")? })
    }

    fn count(&self) -> u32 {
        self.users.count.min(self.groups.count)
    }

    /// What one of them is on the host.
    pub(crate) fn on_host(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        (self.users.first + (uid - 1), self.groups.first + (gid - 1))
    }

    /// Chooses `count` ids for a build, by their numbers inside. Those of builds that run (`taken`: first and count)
    /// are passed over if there are others; other launchers begin elsewhere, as chance has it.
    pub(crate) fn choose(&self, count: u32, taken: &[(u32, u32)]) -> Option<(u32, u32)> {
        let places = self.count().checked_div(count).filter(|places| *places > 0)?;
        let start = (RandomState::new().build_hasher().finish() % u64::from(places)) as u32;
        let is_free = |first: &u32| {
            taken.iter().all(|(other, others)| first + count <= *other || other + others <= *first)
        };
        let candidate = |step: u32| 1 + (u64::from(start) + u64::from(step)) as u32 % places * count;
        let free = (0..places).map(candidate).find(is_free);
        let first = free.unwrap_or_else(|| candidate(0));
        Some((first, first))
    }

    /// Makes this (one-threaded) process root in a user namespace of its own that has these ids, too.
    ///
    /// `Ok(Some(_))` says why it has not: then it has that of [`ids::enter_own`].
    pub(crate) fn enter(&self, caller: (u32, u32)) -> Result<Option<Failure>, Failure> {
        let mapper = Mapper::start(self, caller);
        sys::new_user_namespace().map_err(|errno| Failure::new(Step::Namespaces, "/", errno))?;
        let mapped = mapper.and_then(|mapper| mapper.map(self)).and_then(|()| {
            // None of them is anybody's inside, and the kernel would let builders use them.
            sys::set_groups(&[])
                .map_err(|errno| Failure::new(Step::MapSubordinates, "/proc/self/setgroups", errno))
        });
        match mapped {
            Ok(()) => Ok(None),
            Err(failure) => ids::map_own(caller).map(|()| Some(failure)),
        }
    }
}

/// The process that stays outside until there is something to map.
struct Mapper {
    pid: i32,
    go_on: OwnedFd,
}

impl Mapper {
    fn start(ranges: &Subordinates, caller: (u32, u32)) -> Result<Self, Failure> {
        let fail = |errno| Failure::new(Step::MapSubordinates, &ranges.newuidmap, errno);
        let launcher = rustix::process::getpid().as_raw_nonzero().to_string();
        let users = Call::new(&ranges.newuidmap, &launcher, caller.0, ranges.users).map_err(fail)?;
        let groups = Call::new(&ranges.newgidmap, &launcher, caller.1, ranges.groups).map_err(fail)?;
        let (wait, go_on) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
        match sys::clone3(0).map_err(|error| fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)))? {
            Cloned::Parent { pid, .. } => Ok(Self { pid, go_on }),
            Cloned::Child => {
                drop(go_on);
                sys::exit_now(run(&wait, &users, &groups).unwrap_or(1))
            }
        }
    }

    fn map(self, ranges: &Subordinates) -> Result<(), Failure> {
        let fail = |program: &Path, errno| Failure::new(Step::MapSubordinates, program, errno);
        let told = rustix::io::write(&self.go_on, &[1]);
        drop(self.go_on);
        let (_, exited) = sys::wait4(self.pid).map_err(|errno| fail(&ranges.newuidmap, errno))?;
        told.map_err(|errno| fail(&ranges.newuidmap, errno))?;
        match libc::WEXITSTATUS(exited.status) {
            0 if exited.status == 0 => Ok(()),
            USERS_REFUSED => Err(fail(&ranges.newuidmap, Errno::PERM)),
            _ => Err(fail(&ranges.newgidmap, Errno::PERM)),
        }
    }
}

/// Waits, then runs both programs, the second one in place of this process.
fn run(wait: &OwnedFd, users: &Call, groups: &Call) -> rustix::io::Result<i32> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // What they complain of is told in our own words. Standard output leads nowhere, the input is the launcher's.
    rustix::stdio::dup2_stderr(rustix::stdio::stdout())?;
    rustix::stdio::dup2_stdin(wait)?;
    if rustix::io::read(wait, &mut [0][..])? == 0 {
        return Ok(1);
    }
    match sys::clone3(0).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))? {
        Cloned::Child => {
            users.execute();
            Ok(1)
        }
        Cloned::Parent { pid, .. } if sys::wait4(pid)?.1.status != 0 => Ok(USERS_REFUSED),
        Cloned::Parent { .. } => {
            groups.execute();
            Ok(1)
        }
    }
}

/// A program with its arguments, made before the fork.
struct Call {
    program: CString,
    args: Vec<CString>,
}

impl Call {
    fn new(program: &Path, launcher: &str, own: u32, range: Range) -> Result<Self, Errno> {
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Errno::INVAL);
        let (own, first, count) = (own.to_string(), range.first.to_string(), range.count.to_string());
        let args = [launcher, "0", &own, "1", "1", &first, &count];
        let program = text(program.as_os_str().as_bytes())?;
        let args = args.iter().map(|arg| text(arg.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { args: [vec![program.clone()], args].concat(), program })
    }

    /// Returns only on failure.
    fn execute(&self) {
        let args: Vec<&CStr> = self.args.iter().map(CString::as_c_str).collect();
        let _ = sys::execve(&self.program, &args, &[]);
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let may_run = |path: &PathBuf| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    PLACES.iter().map(|place| Path::new(place).join(name)).find(may_run)
}

/// What a user may be called in the lists of ranges.
fn names(passwd: &str, uid: u32) -> Vec<String> {
    let uid = uid.to_string();
    let named = rows(passwd).filter(|row| row.get(2) == Some(&uid.as_str())).map(|row| row[0].to_owned());
    named.chain([uid.clone()]).collect()
}

/// The largest of the ranges that a list has for one of `names`, all of which exists in this user namespace.
fn largest(list: &str, names: &[String], map: &str) -> Option<Range> {
    let ranges = rows(list).filter(|row| names.iter().any(|name| name == row[0])).filter_map(|row| {
        let range = Range { first: row.get(1)?.parse().ok()?, count: row.get(2)?.trim().parse().ok()? };
        let last = range.first.checked_add(range.count.checked_sub(1)?)?;
        let exists = extents(map).any(|extent| extent.contains(&range.first) && extent.contains(&last));
        (range.first > 0 && exists).then_some(range)
    });
    ranges.max_by_key(|range| range.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(users: u32, groups: u32) -> Subordinates {
        let range = |first, count| Range { first, count };
        let (newuidmap, newgidmap) = ("/x/newuidmap".into(), "/x/newgidmap".into());
        Subordinates { users: range(100_000, users), groups: range(200_000, groups), newuidmap, newgidmap }
    }

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let names = names("root:x:0:0::/:\nann:x:1000:1000::/:\nalso-ann:x:1000:1::/:\n", 1000);
        assert_eq!(names, ["ann", "also-ann", "1000"]);
        let all = "0 0 4294967295\n";
        let found = |list, map| largest(list, &names, map).map(|range| (range.first, range.count));
        assert_eq!(found("bob:5:9\nann:100000:65536\n1000:300000:70000\n", all), Some((300_000, 70_000)));
        assert_eq!(found("bob:100000:65536\n", all), None);
        assert_eq!(found("ann:100000:0\nann:x:1\nann:4294967295:9\nann:0:10\nann\n", all), None);
        assert_eq!(found("ann:100000:65536\n", "0 0 65536\n"), None, "a container without these ids");
    }

    #[test]
    fn builds_that_run_have_different_ids() {
        let ids = with(3, 4);
        assert_eq!(ids.choose(1, &[(1, 1), (3, 1)]), Some((2, 2)));
        assert_eq!(ids.on_host((2, 2)), (100_001, 200_001));
        // More builds than ids share some.
        assert!(ids.choose(1, &[(1, 3)]).is_some_and(|(uid, _)| (1..=3).contains(&uid)));
        assert_eq!(ids.choose(4, &[]), None);
        let ids = with(131_075, 200_000);
        assert_eq!(ids.choose(65_536, &[(5, 1)]), Some((65_537, 65_537)));
        assert!(ids.choose(1, &[(1, 131_072)]).is_some_and(|(uid, _)| (131_073..=131_075).contains(&uid)));
    }
}
