//! What the host says about user and group ids: accounts, groups, subordinate ids, and which ids exist here at all.

#![expect(clippy::disallowed_methods, reason = "reads the id maps and accounts of the host")]

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;

/// `nobody`, and what unmapped ids look like.
const OVERFLOW: u32 = 65_534;

/// The account files and id maps of this host, as text.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    passwd: String,
    group: String,
    /// Ranges that were given to accounts: `/etc/subuid` and `/etc/subgid`.
    subordinate: String,
    uid_map: String,
    gid_map: String,
}

/// An account that builders may run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Its other groups, such as `kvm`.
    pub(crate) groups: Vec<u32>,
}

/// Why a group cannot give users to builders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoMembers {
    /// There is no such group.
    Absent,
    /// It has no members.
    Empty,
    /// It has a member that is no account, or that no builder may be.
    Unusable(String),
}

impl Accounts {
    pub(crate) fn of_this_host() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
            subordinate: read("/etc/subuid") + "\n" + &read("/etc/subgid"),
            uid_map: read("/proc/self/uid_map"),
            gid_map: read("/proc/self/gid_map"),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_text(passwd: &str, group: &str, map: &str) -> Self {
        let (uid_map, gid_map) = (map.to_owned(), map.to_owned());
        Self {
            passwd: passwd.to_owned(),
            group: group.to_owned(),
            subordinate: String::new(),
            uid_map,
            gid_map,
        }
    }

    /// The members of a group, in the order it lists them.
    pub(crate) fn members(&self, group: &str) -> Result<Vec<Member>, NoMembers> {
        let line = rows(&self.group).find(|row| row[0] == group).ok_or(NoMembers::Absent)?;
        let gid: u32 = line.get(2).and_then(|text| text.parse().ok()).ok_or(NoMembers::Absent)?;
        let names = line.get(3).copied().unwrap_or_default().split(',').filter(|name| !name.is_empty());
        let members = names.map(|name| self.member(name, gid).ok_or(NoMembers::Unusable(name.to_owned())));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        if members.is_empty() { Err(NoMembers::Empty) } else { Ok(members) }
    }

    fn member(&self, name: &str, gid: u32) -> Option<Member> {
        let row = rows(&self.passwd).find(|row| row[0] == name)?;
        let uid = row.get(2)?.parse().ok()?;
        let usable = uid != 0 && gid != 0 && self.exist(uid, gid, 1);
        let groups = rows(&self.group).filter_map(|row| {
            let has = row.get(3)?.split(',').any(|member| member == name);
            row.get(2)?.parse().ok().filter(|other| has && *other != gid)
        });
        usable.then(|| Member { name: name.to_owned(), uid, gid, groups: groups.collect() })
    }

    /// Whether `count` ids from these on exist in this user namespace.
    fn exist(&self, uid: u32, gid: u32, count: u32) -> bool {
        let within = |map: &str, first: u32| {
            let last = first.saturating_add(count - 1);
            extents(map).any(|extent| extent.contains(&first) && extent.contains(&last))
        };
        within(&self.uid_map, uid) && within(&self.gid_map, gid)
    }

    /// Whether `count` ids from `first` on, of users and of groups, exist here and are nobody's.
    pub(crate) fn are_free(&self, first: u32, count: u32) -> bool {
        let ids = first..=first.saturating_add(count - 1);
        let held = |text: &str| {
            rows(text)
                .any(|row| row.get(2).and_then(|id| id.parse().ok()).is_some_and(|id| ids.contains(&id)))
        };
        let given = rows(&self.subordinate).any(|row| {
            let mut numbers = row[1..].iter().map(|text| text.parse::<u32>());
            let (Some(Ok(start)), Some(Ok(count))) = (numbers.next(), numbers.next()) else { return false };
            count > 0 && start <= *ids.end() && start.saturating_add(count - 1) >= *ids.start()
        });
        !ids.contains(&0)
            && !ids.contains(&OVERFLOW)
            && !given
            && !held(&self.passwd)
            && !held(&self.group)
            && self.exist(first, first, count)
    }

    /// Which of `firsts` begin `count` free ids.
    pub(crate) fn free_among(
        &self,
        firsts: impl Iterator<Item = u32>,
        count: u32,
    ) -> impl Iterator<Item = u32> {
        firsts.filter(move |first| self.are_free(*first, count))
    }
}

/// The lines of an account file, cut at the colons; a line has at least one field.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| !line.is_empty()).map(|line| line.split(':').collect())
}

pub(crate) fn extents(map: &str) -> impl Iterator<Item = RangeInclusive<u32>> {
    map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        let (first, _, count) = (fields.next()?.ok()?, fields.next()?.ok()?, fields.next()?.ok()?);
        Some(first..=first.saturating_add(count.checked_sub(1)?))
    })
}

/// The user ids that the processes of this process namespace have, real, effective, saved or for files. Those that have
/// ended and are not reaped yet do nothing any more.
pub(crate) fn running() -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_process = entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        if let Some(status) =
            is_process.then(|| fs::read_to_string(entry.path().join("status")).ok()).flatten()
            && !has_ended(&status)
        {
            found.extend(uids(&status));
        }
    }
    found
}

/// Whether that is the `status` file of a process without a thread that runs; the first one may end before others.
fn has_ended(status: &str) -> bool {
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    field("State:").starts_with('Z') && field("Threads:") == "1"
}

/// The user ids in the `status` file of a process.
pub(crate) fn uids(status: &str) -> impl Iterator<Item = u32> + '_ {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_whitespace().filter_map(|uid| uid.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_runs_nothing() {
        let status =
            |state, threads| format!("Name:\tx\nState:\t{state}\nUid:\t1\t1\t1\t1\nThreads:\t{threads}\n");
        assert!(has_ended(&status("Z (zombie)", 1)));
        assert!(
            !has_ended(&status("S (sleeping)", 1)) && !has_ended(&status("Z (zombie)", 2)) && !has_ended("")
        );
    }

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0::/:/bin/sh\nb1:x:901:900::/:/bin/sh\nb2:x:902:900::/:\nfull:x:70000:1::/:\n".into(),
            group: "root:x:0:\nbuild:x:900:b1,b2\nkvm:x:108:qemu,b2\nbad:x:9:b1,gone\nroots:x:8:root\nnone:x:7:\n"
                .into(),
            subordinate: "b1:100000:65536\n\nother:400000:10\n".into(),
            uid_map: "0 0 4294967295\n".into(),
            gid_map: "0 0 4294967295\n".into(),
        }
    }

    #[test]
    fn members_come_with_their_groups() {
        let members = accounts().members("build").unwrap();
        let short: Vec<_> = members.iter().map(|one| (one.name.as_str(), one.uid, one.gid)).collect();
        assert_eq!(short, [("b1", 901, 900), ("b2", 902, 900)]);
        assert_eq!((&members[0].groups, &members[1].groups), (&vec![9], &vec![108]));
        assert_eq!(accounts().members("none"), Err(NoMembers::Empty));
        assert_eq!(accounts().members("absent"), Err(NoMembers::Absent));
        assert_eq!(accounts().members("bad"), Err(NoMembers::Unusable("gone".into())));
        assert_eq!(accounts().members("roots"), Err(NoMembers::Unusable("root".into())));
    }

    #[test]
    fn only_ids_that_are_nobodys_are_free() {
        let host = accounts();
        assert!(host.are_free(0x3400_0000, 65_536));
        assert!(!host.are_free(0, 1) && !host.are_free(65_534, 1) && !host.are_free(900, 1));
        assert!(!host.are_free(65_536, 65_536), "an account is in the middle of it");
        assert!(!host.are_free(131_072, 65_536), "it overlaps what was given to an account");
        assert!(host.are_free(399_999, 1) && !host.are_free(399_999, 2));
        assert!(!host.are_free(u32::MAX - 3, 65_536));
    }

    #[test]
    fn a_container_has_the_ids_of_its_map() {
        let small =
            Accounts { uid_map: "0 100000 65536\n".into(), gid_map: "0 1 65536\n".into(), ..accounts() };
        assert!(small.are_free(60_000, 1) && !small.are_free(60_000, 65_536) && !small.are_free(65_536, 1));
        let one = Accounts { uid_map: "0 1000 1\n".into(), ..accounts() };
        assert!(!one.are_free(1, 1) && one.members("build").is_err());
        let absurd = Accounts { uid_map: "nonsense\n5 5 0\n".into(), ..accounts() };
        assert!(!absurd.are_free(5, 1));
    }

    #[test]
    fn the_ids_of_a_process_are_four() {
        assert_eq!(uids("Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t9\n").collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(uids("").count(), 0);
        let own = rustix::process::getuid().as_raw();
        assert!(running().contains(&own));
    }
}
