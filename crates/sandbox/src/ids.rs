//! User and group ids: who a builder is outside its sandbox, and the maps that say so.

#![expect(
    clippy::disallowed_methods,
    reason = "reads the id maps and accounts of the host, writes the maps of a build"
)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use crate::error::{Error, Step};
use crate::plan::Identity;
use crate::wire::Failure;

/// Where ids for builders are looked for first: Nix's own default for ids that no account holds.
const PREFERRED: u32 = 0x3400_0000;

/// Ids below this are left to accounts, also when no account file lists them.
const FIRST_FREE: u32 = 60_000;

/// `nobody`, and what unmapped ids look like.
const OVERFLOW: u32 = 65_534;

/// The ids that builders get outside their sandbox, or `None` for an ordinary user, whose builders
/// can only be itself.
///
/// # Errors
/// As root, when privileges are missing or no id is free: builders never run as uid 0.
pub fn builder_ids() -> Result<Option<(u32, u32)>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let has = rustix::thread::capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
    let needed = [
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
        (CapabilitySet::SETUID, "CAP_SETUID"),
        (CapabilitySet::SETGID, "CAP_SETGID"),
        (CapabilitySet::CHOWN, "CAP_CHOWN"),
        (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
        (CapabilitySet::FOWNER, "CAP_FOWNER"),
    ];
    if let Some((_, missing)) = needed.into_iter().find(|(capability, _)| !has.contains(*capability)) {
        return Err(Error::Unprivileged { missing });
    }
    let free = |map: &str, accounts: &str| {
        let map = fs::read_to_string(map).unwrap_or_default();
        let accounts = fs::read_to_string(accounts).unwrap_or_default();
        free_id(&map, &accounts)
    };
    let uid = free("/proc/self/uid_map", "/etc/passwd").ok_or(Error::NoBuilderIds)?;
    let gid = free("/proc/self/gid_map", "/etc/group").ok_or(Error::NoBuilderIds)?;
    Ok(Some((uid, gid)))
}

/// An id that `map` contains and no line of `accounts` (third field) holds.
fn free_id(map: &str, accounts: &str) -> Option<u32> {
    let held: Vec<u32> =
        accounts.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).chain([OVERFLOW]).collect();
    let extents: Vec<(u32, u32)> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse::<u32>);
            let (first, _, count) = (fields.next()?.ok()?, fields.next()?.ok()?, fields.next()?.ok()?);
            Some((first, first.saturating_add(count.checked_sub(1)?)))
        })
        .collect();
    let contained = |id: &u32| extents.iter().any(|(first, last)| (first..=last).contains(&id));
    (PREFERRED..=PREFERRED + 1024).chain(FIRST_FREE..OVERFLOW).filter(contained).find(|id| !held.contains(id))
}

/// As an ordinary user, inside the new user namespace: maps the identity to the caller.
///
/// `caller` was asked for before: without a map, a process reads its own ids as the overflow id.
pub(crate) fn map_self(identity: Identity, (uid, gid): (u32, u32)) -> Result<(), Failure> {
    // A group map may be written without privilege only once groups can no longer be dropped.
    write("/proc/self/setgroups", "deny", Step::MapGroup)?;
    write("/proc/self/uid_map", &format!("{} {uid} 1", identity.uid), Step::MapUser)?;
    write("/proc/self/gid_map", &format!("{} {gid} 1", identity.gid), Step::MapGroup)
}

/// As root, for a child that has just entered its user namespace.
pub(crate) fn map_child(pid: i32, identity: Identity) -> Result<(), Failure> {
    let (uid, gid) = identity.outer.unwrap_or((0, 0));
    if uid == 0 || gid == 0 {
        return Err(Failure::new(Step::MapUser, "/", Errno::PERM));
    }
    write(format!("/proc/{pid}/uid_map"), &format!("{} {uid} 1", identity.uid), Step::MapUser)?;
    write(format!("/proc/{pid}/gid_map"), &format!("{} {gid} 1", identity.gid), Step::MapGroup)
}

fn write(path: impl Into<PathBuf>, text: &str, step: Step) -> Result<(), Failure> {
    let path = path.into();
    fs::write(&path, text).map_err(|error| failure(step, &path, &error))
}

fn failure(step: Step, path: &Path, error: &io::Error) -> Failure {
    Failure::new(step, path, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_the_range_that_nix_uses() {
        assert_eq!(free_id("0 0 4294967295\n", "root:x:0:0\n"), Some(PREFERRED));
        let taken = format!("builder:x:{PREFERRED}:1::/:/bin/sh\n");
        assert_eq!(free_id("0 0 4294967295\n", &taken), Some(PREFERRED + 1));
    }

    #[test]
    fn stays_inside_the_map_of_a_container() {
        assert_eq!(free_id("0 100000 65536\n", "a:x:60000:1\n"), Some(60_001));
        assert_eq!(free_id("0 1000 1\n", ""), None);
        assert_eq!(free_id("", ""), None);
        assert_eq!(free_id("nonsense", ""), None);
    }
}
