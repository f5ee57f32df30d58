//! Users for builders, as root: one for each running build, never shared with another build on this machine.
//!
//! Who has locked its file has a user. The files are those of Nix, in the state directory that Nix uses whatever
//! store it works on, so that both programs never use one user at the same time. A lock ends with the processes
//! that hold it, so a crash leaves nothing to undo.

#![expect(clippy::disallowed_methods, reason = "lock files are on disk")]

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use crate::accounts::{self, Accounts, Member, NoMembers};
use crate::error::Error;

/// Ids in a block, and in a sandbox that wants many.
pub(crate) const RANGE: u32 = 65_536;

/// Where Nix keeps the locks, whatever store it works on.
const STATE: &str = "/nix/var/nix";
/// Where they are when nobody can write there, Nix included.
const OTHER_STATE: &str = "/run/store-builders";

/// Single ids that are taken where a container has no blocks: above those of accounts, below `nobody`.
const SINGLES: std::ops::Range<u32> = 60_000..65_534;

/// The group that is used if it is there and has members, and is no error otherwise.
const USUAL_GROUP: &str = "nixbld";

/// Which users builders may run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserChoice<'a> {
    /// The group whose members they are; when empty, ids that no account holds.
    pub group: &'a str,
    /// Whether to take ids that no account holds in any case.
    pub allocate: bool,
    /// Where those begin.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl Default for UserChoice<'_> {
    /// What Nix uses.
    fn default() -> Self {
        Self { group: USUAL_GROUP, allocate: false, first: 0x3400_0000, count: 128 * RANGE }
    }
}

/// The users that builders may run as.
#[derive(Debug)]
pub struct BuildUsers {
    state: PathBuf,
    members: Vec<Member>,
    /// First ids of free blocks, with their numbers.
    blocks: Vec<(u32, u32)>,
    singles: Vec<u32>,
    boot: String,
    /// User ids that had processes when that was first asked for.
    running: OnceLock<BTreeSet<u32>>,
}

/// How many ids a build wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// One user and one group.
    One,
    /// 65536 of each (`uid-range`).
    Range,
}

impl Ids {
    /// How many users, and how many groups.
    pub fn count(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Range => RANGE,
        }
    }
}

/// A user that is one build's alone, as long as this value or the build lives.
#[derive(Debug)]
#[must_use = "dropping a BuildUser gives it to the next build"]
pub struct BuildUser {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Whether processes that it has when a build starts were left by another build.
    has_left_overs: bool,
    is_allocated: bool,
    lock: File,
}

impl BuildUsers {
    /// Finds out which users builders can have, or `None` for an ordinary user, whose builders can only be itself.
    ///
    /// # Errors
    /// As root, when privileges are missing, the group is not what it should be or no id is free: builders
    /// never run as uid 0.
    pub fn find(choice: &UserChoice<'_>) -> Result<Option<Self>, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        check_privileges()?;
        let state = state_directory(&[Path::new(STATE), Path::new(OTHER_STATE)])?;
        let users = Self::among(choice, &Accounts::of_this_host(), state)?;
        Ok(Some(users))
    }

    fn among(choice: &UserChoice<'_>, accounts: &Accounts, state: PathBuf) -> Result<Self, Error> {
        let members = if choice.allocate { Vec::new() } else { members(choice.group, accounts)? };
        let firsts = (0..choice.count / RANGE).filter_map(|slot| {
            let first = choice.first.checked_add(slot.checked_mul(RANGE)?)?;
            Some((slot, first))
        });
        let blocks: Vec<_> = firsts.filter(|(_, first)| accounts.are_free(*first, RANGE)).collect();
        let singles: Vec<_> =
            if blocks.is_empty() { accounts.free_among(SINGLES, 1).collect() } else { Vec::new() };
        if members.is_empty() && blocks.is_empty() && singles.is_empty() {
            return Err(Error::NoBuilderIds);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().to_owned();
        Ok(Self { state, members, blocks, singles, boot, running: OnceLock::new() })
    }

    /// Whether a build can have [`Ids::Range`].
    pub fn has_ranges(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Whom a build has while no other one runs: its ids, and further groups.
    pub fn first(&self, ids: Ids) -> Option<((u32, u32), &[u32])> {
        let member = self.members.first().filter(|_| ids == Ids::One);
        if let Some(Member { uid, gid, groups, .. }) = member {
            return Some(((*uid, *gid), groups));
        }
        let single = self.singles.first().filter(|_| ids == Ids::One);
        let first = self.blocks.first().map(|(_, first)| first).or(single)?;
        Some(((*first, *first), &[]))
    }

    /// Takes a user that no other build has; `None` when all are in use.
    ///
    /// # Errors
    /// If its lock file cannot be made.
    pub fn try_take(&self, ids: Ids) -> Result<Option<BuildUser>, Error> {
        if ids == Ids::One {
            for member in &self.members {
                let file = self.state.join(format!("userpool/{}", member.uid));
                if let Some(lock) = lock(&file)? {
                    return Ok(Some(BuildUser {
                        uid: member.uid,
                        gid: member.gid,
                        groups: member.groups.clone(),
                        // It is an account for builders: whatever it runs is a left-over of one.
                        has_left_overs: true,
                        is_allocated: false,
                        lock,
                    }));
                }
            }
            if !self.members.is_empty() {
                return Ok(None);
            }
        }
        self.allocate(ids)
    }

    fn allocate(&self, ids: Ids) -> Result<Option<BuildUser>, Error> {
        let blocks =
            self.blocks.iter().map(|(slot, first)| (format!("userpool2/slot-{slot}"), *first, RANGE));
        let singles = self.singles.iter().map(|uid| (format!("userpool/{uid}"), *uid, 1));
        for (name, first, count) in blocks.chain(singles.filter(|_| ids == Ids::One)) {
            let Some(mut lock) = lock(&self.state.join(name))? else { continue };
            // Whoever ended in order has taken the mark away.
            let has_left_overs = !self.boot.is_empty() && read(&mut lock) == self.boot;
            if !has_left_overs && self.is_foreign(first, count) {
                continue;
            }
            write(&mut lock, &self.boot);
            let groups = Vec::new();
            return Ok(Some(BuildUser {
                uid: first,
                gid: first,
                groups,
                has_left_overs,
                is_allocated: true,
                lock,
            }));
        }
        Ok(None)
    }

    /// Whether somebody who takes no locks, such as a container, has processes with these ids.
    fn is_foreign(&self, first: u32, count: u32) -> bool {
        let within = |running: &BTreeSet<u32>| running.range(first..first + count).next().is_some();
        // Since it was looked, another build may have ended.
        within(self.running.get_or_init(accounts::running)) && within(&accounts::running())
    }
}

impl BuildUser {
    /// Its user and group id.
    pub fn ids(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    /// The other groups it is in.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    pub(crate) fn has_left_overs(&self) -> bool {
        self.has_left_overs
    }

    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

impl Drop for BuildUser {
    fn drop(&mut self) {
        if self.is_allocated {
            write(&mut self.lock, "");
        }
    }
}

/// The groups of an ordinary caller that its builders keep: only root can drop groups.
pub fn kept_groups() -> Vec<u32> {
    if rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let own = rustix::process::getegid();
    let groups = rustix::process::getgroups().unwrap_or_default();
    groups.into_iter().filter(|group| *group != own).map(rustix::process::Gid::as_raw).collect()
}

fn members(group: &str, accounts: &Accounts) -> Result<Vec<Member>, Error> {
    if group.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |problem| Err(Error::BuildGroup { group: group.to_owned(), problem });
    match accounts.members(group) {
        Ok(members) => Ok(members),
        Err(NoMembers::Absent | NoMembers::Empty) if group == USUAL_GROUP => Ok(Vec::new()),
        Err(NoMembers::Absent) => failed("does not exist here".to_owned()),
        Err(NoMembers::Empty) => failed("has no members".to_owned()),
        Err(NoMembers::Unusable(name)) => failed(format!(
            "has the member `{name}`, which is no account, or has ids that a builder cannot have here"
        )),
    }
}

fn check_privileges() -> Result<(), Error> {
    let has = rustix::thread::capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
    let needed = [
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
        (CapabilitySet::SETUID, "CAP_SETUID"),
        (CapabilitySet::SETGID, "CAP_SETGID"),
        (CapabilitySet::CHOWN, "CAP_CHOWN"),
        (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
        (CapabilitySet::FOWNER, "CAP_FOWNER"),
    ];
    match needed.into_iter().find(|(capability, _)| !has.contains(*capability)) {
        Some((_, missing)) => Err(Error::Unprivileged { missing }),
        None => Ok(()),
    }
}

/// The first of these directories in which locks can be made.
fn state_directory(candidates: &[&Path]) -> Result<PathBuf, Error> {
    let mut refused = None;
    for state in candidates {
        let make = |name| DirBuilder::new().recursive(true).mode(0o755).create(state.join(name));
        match make("userpool").and_then(|()| make("userpool2")) {
            Ok(()) => return Ok((*state).to_owned()),
            // Nobody else can lock anything there either.
            Err(source) if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                refused = Some(Error::UserLock { path: (*state).to_owned(), source });
            }
            Err(source) => return Err(Error::UserLock { path: (*state).to_owned(), source }),
        }
    }
    Err(refused.unwrap_or(Error::NoBuilderIds))
}

fn lock(path: &Path) -> Result<Option<File>, Error> {
    let failed = |source| Error::UserLock { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags(libc::O_NOFOLLOW).open(path).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn read(file: &mut File) -> String {
    let mut text = String::new();
    // What cannot be read is no mark.
    let _ = file.read_to_string(&mut text);
    text
}

/// Without the mark, left-overs of a crash are taken for somebody else's, whose ids are left alone.
fn write(file: &mut File, text: &str) {
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_support::Scratch;

    const CHOICE: UserChoice<'_> =
        UserChoice { group: "", allocate: false, first: 0x6100_0000, count: 2 * RANGE };

    fn users(scratch: &Scratch, choice: &UserChoice<'_>) -> Result<BuildUsers, Error> {
        let state = state_directory(&[scratch.path()]).unwrap();
        let accounts = Accounts::of_text(
            "b1:x:901:900::/:/bin/sh\nb2:x:902:900::/:\n",
            "build:x:900:b1,b2\nempty:x:7:\n",
            "0 0 4294967295\n",
        );
        BuildUsers::among(choice, &accounts, state)
    }

    #[test]
    fn members_have_the_lock_files_of_nix() {
        let scratch = Scratch::new();
        let pool = users(&scratch, &UserChoice { group: "build", ..CHOICE }).unwrap();
        let first = pool.try_take(Ids::One).unwrap().unwrap();
        let second = pool.try_take(Ids::One).unwrap().unwrap();
        assert_eq!((first.ids(), second.ids()), ((901, 900), (902, 900)));
        assert!(pool.try_take(Ids::One).unwrap().is_none(), "no third build may have one of two users");
        assert!(scratch.join("userpool/901").exists() && scratch.join("userpool/902").exists());
        drop(first);
        assert_eq!(pool.try_take(Ids::One).unwrap().unwrap().ids().0, 901);
        drop(second);
        // As Nix does it.
        let file = File::options().write(true).open(scratch.join("userpool/901")).unwrap();
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(pool.try_take(Ids::One).unwrap().unwrap().ids().0, 902);
    }

    #[test]
    fn blocks_are_slots_and_a_range_is_never_a_member() {
        let scratch = Scratch::new();
        let pool = users(&scratch, &UserChoice { group: "build", ..CHOICE }).unwrap();
        let range = pool.try_take(Ids::Range).unwrap().unwrap();
        assert_eq!(range.ids(), (0x6100_0000, 0x6100_0000));
        assert!(scratch.join("userpool2/slot-0").exists());
        let next = users(&scratch, &CHOICE).unwrap().try_take(Ids::One).unwrap().unwrap();
        assert_eq!(next.ids(), (0x6101_0000, 0x6101_0000));
        assert!(pool.try_take(Ids::Range).unwrap().is_none());
    }

    #[test]
    fn a_mark_tells_left_overs_from_strangers() {
        let scratch = Scratch::new();
        let pool = users(&scratch, &CHOICE).unwrap();
        let user = pool.try_take(Ids::One).unwrap().unwrap();
        assert!(!user.has_left_overs());
        let slot = scratch.join("userpool2/slot-0");
        assert_eq!(fs::read_to_string(&slot).unwrap(), pool.boot);
        drop(user);
        assert_eq!(fs::read_to_string(&slot).unwrap(), "");
        fs::write(&slot, &pool.boot).unwrap();
        assert!(pool.try_take(Ids::One).unwrap().unwrap().has_left_overs());
        fs::write(&slot, "another boot").unwrap();
        assert!(!pool.try_take(Ids::One).unwrap().unwrap().has_left_overs());
    }

    #[test]
    fn ids_with_processes_of_strangers_are_passed_over() {
        let scratch = Scratch::new();
        let own = rustix::process::getuid().as_raw();
        let pool = users(&scratch, &CHOICE).unwrap();
        assert!(pool.is_foreign(own, 1) && !pool.is_foreign(0x6100_0000, RANGE));
    }

    #[test]
    fn a_group_that_is_named_has_to_be_there() {
        let scratch = Scratch::new();
        for (group, word) in [("absent", "does not exist"), ("empty", "no members")] {
            let error = users(&scratch, &UserChoice { group, ..CHOICE }).unwrap_err().to_string();
            assert!(
                error.contains(group) && error.contains(word) && error.contains("build-users-group"),
                "{error}"
            );
        }
        let usual = users(&scratch, &UserChoice { group: "nixbld", ..CHOICE }).unwrap();
        assert_eq!(usual.try_take(Ids::One).unwrap().unwrap().ids().0, 0x6100_0000);
        let allocated = users(&scratch, &UserChoice { group: "build", allocate: true, ..CHOICE }).unwrap();
        assert_eq!(allocated.try_take(Ids::One).unwrap().unwrap().ids().0, 0x6100_0000);
    }

    #[test]
    fn a_small_container_gives_single_ids() {
        let scratch = Scratch::new();
        let state = state_directory(&[scratch.path()]).unwrap();
        let small = Accounts::of_text("a:x:60000:1\n", "", "0 100000 65536\n");
        let pool = BuildUsers::among(&CHOICE, &small, state.clone()).unwrap();
        assert!(!pool.has_ranges() && pool.try_take(Ids::Range).unwrap().is_none());
        assert_eq!(pool.try_take(Ids::One).unwrap().unwrap().ids(), (60_001, 60_001));
        let none = BuildUsers::among(&CHOICE, &Accounts::of_text("", "", "0 1000 1\n"), state);
        assert!(matches!(none, Err(Error::NoBuilderIds)));
    }
}
