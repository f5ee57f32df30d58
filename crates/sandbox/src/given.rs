//! What a started build really has: filled in as each step succeeds, never from what was asked for.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::{Isolation, Network, Plan};

/// The isolation of a build that runs. As data it is stable: what was written is read again later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Given {
    /// Which scheme keeps the build apart.
    pub scheme: Scheme,
    /// The namespaces that are its own.
    pub namespaces: BTreeSet<Namespace>,
    /// Whether its mounts belong to a user namespace in which it has no power.
    pub mounts_locked: bool,
    /// Whether no program that it runs can gain privileges, and it has none.
    pub unprivileged: bool,
    /// Whether its session keyring is its own.
    pub own_keyring: bool,
    /// Digest of the system-call filter in force.
    pub filter: Option<String>,
    /// Version of the Landlock interface whose scopes are in force.
    pub landlock: Option<u32>,
    /// What it reaches.
    pub network: Network,
    /// User and group id outside, where they are not the caller's own.
    pub outer: Option<(u32, u32)>,
    /// Limits in force, by the name of what they limit.
    pub limits: Vec<Limited>,
    /// Limits that could not be had.
    pub unlimited: Vec<Unlimited>,
    /// What it sees of the caller, who may not set it otherwise, each for people.
    #[serde(default)]
    pub inherited: Vec<String>,
    /// What the scheme cannot give, as [`Plan::lacks`] says it.
    pub lacks: Vec<String>,
}

/// A scheme of isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Namespaces and a root of its own.
    Namespaces,
    /// A root of its own below the host's mounts.
    Chroot,
    /// Nothing.
    None,
}

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    /// Users and groups.
    User,
    /// Mounts.
    Mount,
    /// Processes.
    Process,
    /// Network.
    Network,
    /// Message queues and shared memory.
    Ipc,
    /// Host and domain name.
    HostName,
    /// Control groups.
    Cgroup,
}

/// A limit in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limited {
    /// What is limited.
    pub what: String,
    /// To how much, with its unit.
    pub to: String,
    /// What enforces it.
    pub by: String,
}

/// A limit that could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unlimited {
    /// What is not limited.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl Namespace {
    /// Every kind, with its `CLONE_NEW*` flag and its name.
    const ALL: [(Self, i32, &'static str); 7] = [
        (Self::User, libc::CLONE_NEWUSER, "user"),
        (Self::Mount, libc::CLONE_NEWNS, "mount"),
        (Self::Process, libc::CLONE_NEWPID, "process"),
        (Self::Network, libc::CLONE_NEWNET, "network"),
        (Self::Ipc, libc::CLONE_NEWIPC, "ipc"),
        (Self::HostName, libc::CLONE_NEWUTS, "host-name"),
        (Self::Cgroup, libc::CLONE_NEWCGROUP, "cgroup"),
    ];
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, ..)| kind == self).map_or("", |(.., name)| name);
        f.write_str(name)
    }
}

impl Given {
    /// What a process has that was just born into `namespaces` (`CLONE_NEW*`); the rest is yet to come.
    pub(crate) fn born(plan: &Plan, namespaces: i32) -> Self {
        let own = Namespace::ALL.into_iter().filter(|(_, flag, _)| namespaces & flag != 0);
        Self {
            scheme: match plan.isolation {
                Isolation::Namespaces => Scheme::Namespaces,
                Isolation::Chroot { .. } => Scheme::Chroot,
                Isolation::None => Scheme::None,
            },
            namespaces: own.map(|(kind, ..)| kind).collect(),
            mounts_locked: false,
            unprivileged: false,
            own_keyring: false,
            filter: None,
            landlock: None,
            network: match plan.network {
                Network::Loopback | Network::Withheld(_) if namespaces & libc::CLONE_NEWNET != 0 => {
                    plan.network
                }
                // One that is private is yet to come.
                _ => Network::Host,
            },
            outer: None,
            limits: Vec::new(),
            unlimited: Vec::new(),
            inherited: Vec::new(),
            lacks: plan.lacks().into_iter().map(str::to_owned).collect(),
        }
    }

    /// What keeps this from being full isolation, a sentence each; empty when nothing does.
    pub fn shortfalls(&self) -> Vec<String> {
        let mut found = self.lacks.clone();
        if self.scheme == Scheme::Namespaces {
            let absent = Namespace::ALL.into_iter().filter(|(kind, ..)| !self.namespaces.contains(kind));
            // A network that is the host's is told as that.
            let told = absent.filter(|(kind, ..)| *kind != Namespace::Network);
            found.extend(told.map(|(kind, ..)| format!("no {kind} namespace of its own")));
            if self.network == Network::Host {
                found.push("the network is the host's".to_owned());
            }
            if !self.mounts_locked {
                found.push("its mounts are not locked against being undone".to_owned());
            }
        }
        if !self.unprivileged {
            found.push("programs may gain privileges".to_owned());
        }
        if self.filter.is_none() {
            found.push("no filter of system calls".to_owned());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network_helper::Helper;
    use crate::plan::{Identity, Program};

    fn plan(isolation: Isolation, network: Network) -> Plan {
        Plan {
            isolation,
            network,
            identity: Identity::one(1000, 100, None),
            limits: crate::Limits::default(),
            filter: None,
            new_privileges: false,
            ops: Vec::new(),
            program: Program::Function { name: "absent".to_owned(), input: Vec::new() },
        }
    }

    fn full() -> Given {
        let every = Namespace::ALL.iter().fold(0, |flags, (_, flag, _)| flags | flag);
        Given {
            mounts_locked: true,
            unprivileged: true,
            own_keyring: true,
            filter: Some("abc".to_owned()),
            ..Given::born(&plan(Isolation::Namespaces, Network::Loopback), every)
        }
    }

    #[test]
    fn everything_is_full_and_each_thing_less_is_named() {
        assert_eq!(full().shortfalls(), Vec::<String>::new());
        let mut less = full();
        less.namespaces.remove(&Namespace::Cgroup);
        less.filter = None;
        less.network = Network::Host;
        let told = less.shortfalls().join(", ");
        assert_eq!(
            told,
            "no cgroup namespace of its own, the network is the host's, no filter of system calls"
        );
    }

    #[test]
    fn a_network_is_private_only_with_a_namespace() {
        let given = Given::born(&plan(Isolation::Namespaces, Network::Loopback), libc::CLONE_NEWNS);
        assert_eq!(given.network, Network::Host);
        let wanted = plan(Isolation::Namespaces, Network::Private(Helper::Pasta));
        // It is joined after that.
        assert_eq!(Given::born(&wanted, libc::CLONE_NEWNS).network, Network::Host);
        let told = Given::born(&plan(Isolation::None, Network::Host), 0).shortfalls();
        assert!(told[0].contains("every file, process and network"), "{told:?}");
    }
}
