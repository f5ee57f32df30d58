//! The program that connects a build's own network to the outside: which one, and what it is told.
//!
//! `pasta` and `slirp4netns` do the same: they have the other end of an interface of the build's network
//! namespace, and make of every connection one of their own from the host's network. So the build has what the
//! host reaches by its interfaces, its own addresses there too, and neither its loopback, nor its abstract sockets,
//! nor other builds.
//!
//! Addresses in the build are from the ranges kept for documentation, the same on every host and under both
//! helpers: nobody's, so none that a build wants to reach.

#![expect(
    clippy::disallowed_methods,
    reason = "looks for the helper, and at the host's routes and name servers"
)]

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::probe::Lack;

/// A kind of program that connects a network namespace to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Helper {
    /// `pasta`, of the package `passt`.
    Pasta,
    /// `slirp4netns`.
    Slirp4netns,
}

/// Why a build that would be connected to the outside is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withheld {
    /// There is no helper.
    NoHelper,
    /// `/dev/net/tun` cannot be opened.
    NoDevice,
    /// The host reaches nothing itself.
    NoRoute,
}

/// What connects builds to the outside on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// The kind of program.
    pub helper: Helper,
    /// The program.
    pub program: PathBuf,
    /// Whether the host reaches anything by IPv6.
    pub ipv6: bool,
    /// Whom a build asks for names.
    pub name_servers: Vec<IpAddr>,
}

/// Why nothing connects builds to the outside on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// As it is recorded.
    pub why: Withheld,
    /// As people are told.
    pub lack: Lack,
}

/// Where programs are, whatever the caller's `PATH` says.
const PLACES: &[&str] = &[
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/usr/sbin",
    "/sbin",
    "/usr/local/sbin",
    "/run/current-system/sw/bin",
];

const DEVICE: &str = "/dev/net/tun";

/// The network of a build, and what is the gateway, the servant for names and the build itself in it.
const NETWORK: &str = "198.51.100.0/24";
const GATEWAY: &str = "198.51.100.2";
const NAMES: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);
const BUILD: &str = "198.51.100.100";
/// The same for IPv6 by `pasta`; `slirp4netns` has a network of its own that cannot be chosen.
const GATEWAY_6: &str = "2001:db8:51::2";
const NAMES_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 3);
const BUILD_6: &str = "2001:db8:51::64";
const SLIRP_NAMES_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);

/// What the interface is called in a build.
pub(crate) const INTERFACE: &str = "eth0";

/// Finds what connects builds to the outside: `program`, or else one in the usual places.
///
/// # Errors
/// A [`Closed`] says what is missing.
pub fn find_uplink(program: Option<&Path>) -> Result<Uplink, Closed> {
    let (helper, program) = find_program(program)?;
    let routes = Routes::of_host();
    if !routes.ipv4 && !routes.ipv6 {
        return Err(Closed {
            why: Withheld::NoRoute,
            lack: Lack {
                cause: "this machine has no default route, by IPv4 or IPv6".to_owned(),
                remedy: format!("connect this machine, or {INSTEAD}"),
            },
        });
    }
    let name_servers = name_servers(helper, routes);
    Ok(Uplink { helper, program, ipv6: routes.ipv6, name_servers })
}

const INSTEAD: &str = "set `fod-network = host` to give such builds the whole network of the host";

fn find_program(program: Option<&Path>) -> Result<(Helper, PathBuf), Closed> {
    let found = match program {
        Some(program) => is_program(program).then(|| (Helper::of(program), program.to_owned())),
        None => [Helper::Pasta, Helper::Slirp4netns].into_iter().find_map(|helper| {
            let paths = PLACES.iter().map(|place| Path::new(place).join(helper.name()));
            Some((helper, paths.into_iter().find(|path| is_program(path))?))
        }),
    };
    let Some(found) = found else {
        let cause = match program {
            Some(program) => {
                format!("there is no program `{}` (setting `network-helper`)", program.display())
            }
            None => "neither `pasta` nor `slirp4netns` is installed".to_owned(),
        };
        let first = if program.is_some() { "correct `network-helper`, or empty it and " } else { "" };
        let remedy = format!("{first}install the Debian package `passt` (or `slirp4netns`), or {INSTEAD}");
        return Err(Closed { why: Withheld::NoHelper, lack: Lack { cause, remedy } });
    };
    match rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Ok(found),
        Err(errno) => Err(Closed { why: Withheld::NoDevice, lack: no_device(errno) }),
    }
}

fn no_device(errno: Errno) -> Lack {
    let remedy = match errno {
        Errno::ACCESS | Errno::PERM => {
            "as root: chmod 666 /dev/net/tun, which most systems do, as it gives nobody any power over the host"
        }
        _ => "as root: modprobe tun; in a container: give it the device (Docker: --device /dev/net/tun)",
    };
    Lack { cause: format!("cannot open `{DEVICE}`: {errno}"), remedy: format!("{remedy}; or {INSTEAD}") }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Whether the host has a way to the rest of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Routes {
    ipv4: bool,
    ipv6: bool,
}

impl Routes {
    fn of_host() -> Self {
        let read = |file| fs::read_to_string(format!("/proc/self/net/{file}")).unwrap_or_default();
        Self { ipv4: has_default_4(&read("route")), ipv6: has_default_6(&read("ipv6_route")) }
    }
}

const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

fn is_used(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & (UP | REJECT) == UP)
}

/// Reads `/proc/net/route`: interface, destination, gateway, flags, three numbers, mask.
pub(crate) fn has_default_4(table: &str) -> bool {
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.any(
        |words| matches!(words[..], [_, "00000000", _, flags, _, _, _, "00000000", ..] if is_used(flags)),
    )
}

/// Reads `/proc/net/ipv6_route`: destination and its length, source and its, gateway, three numbers, flags, interface.
pub(crate) fn has_default_6(table: &str) -> bool {
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.any(|words| match words[..] {
        [to, "00", _, _, _, _, _, _, flags, interface] => {
            to.bytes().all(|digit| digit == b'0') && interface != "lo" && is_used(flags)
        }
        _ => false,
    })
}

/// Whom a build asks for names: the helper, which asks whom the host asks, on its loopback too.
///
/// Where the host has IPv6 only, `pasta` asks nobody by IPv4, not even on the host itself; then a build asks those
/// that the host's own resolver asks.
fn name_servers(helper: Helper, routes: Routes) -> Vec<IpAddr> {
    let (four, six): (IpAddr, IpAddr) = match helper {
        Helper::Pasta => (NAMES.into(), NAMES_6.into()),
        Helper::Slirp4netns => return vec![NAMES.into(), SLIRP_NAMES_6.into()],
    };
    let hosts = read_name_servers("/etc/resolv.conf");
    let asked = |is_4: bool| hosts.iter().any(|server| server.is_ipv4() == is_4);
    let mut servers = Vec::new();
    servers.extend((routes.ipv4 && asked(true)).then_some(four));
    servers.extend((routes.ipv6 && asked(false)).then_some(six));
    if servers.is_empty() {
        let uplinks = read_name_servers("/run/systemd/resolve/resolv.conf").into_iter();
        let reached = |server: &IpAddr| if server.is_ipv4() { routes.ipv4 } else { routes.ipv6 };
        servers.extend(uplinks.filter(|server| !server.is_loopback() && reached(server)).take(3));
    }
    if servers.is_empty() { vec![four, six] } else { servers }
}

fn read_name_servers(file: &str) -> Vec<IpAddr> {
    parse_name_servers(&fs::read_to_string(file).unwrap_or_default())
}

fn parse_name_servers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        // An interface may follow, which means nothing to others.
        address.split('%').next()?.parse().ok()
    });
    servers.collect()
}

impl Helper {
    fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    fn of(program: &Path) -> Self {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        if name.contains(Self::Slirp4netns.name()) { Self::Slirp4netns } else { Self::Pasta }
    }

    /// Its arguments: the network namespace is its standard input, and `ready` is where it writes once all is set up.
    ///
    /// Neither goes into the background. Of the host's loopback they show nothing, under no address; nothing is
    /// passed on to the build that it has not asked for. They give up
    /// privileges, files and system calls by themselves, `slirp4netns` when told to; `pasta` needs to be told that
    /// it may be root, which it is of nothing else.
    pub(crate) fn arguments(self, ready: i32, ipv6: bool) -> Vec<String> {
        let namespace = "/proc/self/fd/0";
        let words: Vec<&str> = match self {
            Self::Pasta => vec![
                "--foreground",
                "--quiet",
                "--config-net",
                "--ns-ifname",
                INTERFACE,
                "--address",
                BUILD,
                "--netmask",
                "24",
                "--gateway",
                GATEWAY,
                "--address",
                BUILD_6,
                "--gateway",
                GATEWAY_6,
                "--no-map-gw",
                "--tcp-ports",
                "none",
                "--udp-ports",
                "none",
                "--tcp-ns",
                "none",
                "--udp-ns",
                "none",
                "--no-netns-quit",
                "--runas",
                "0:0",
                "--netns-only",
                "--netns",
                namespace,
            ],
            Self::Slirp4netns => vec![
                "--configure",
                "--cidr",
                NETWORK,
                "--mtu=65520",
                "--disable-host-loopback",
                "--enable-sandbox",
                "--enable-seccomp",
                "--netns-type=path",
            ],
        };
        let mut arguments: Vec<String> = [self.name()].into_iter().chain(words).map(str::to_owned).collect();
        match self {
            Self::Pasta => {
                let servants = [NAMES.to_string(), NAMES_6.to_string()];
                arguments.extend(servants.map(|servant| format!("--dns-forward={servant}")));
                arguments.push(format!("--pid=/proc/self/fd/{ready}"));
            }
            Self::Slirp4netns => {
                arguments.push(format!("--ready-fd={ready}"));
                arguments.extend(ipv6.then(|| "--enable-ipv6".to_owned()));
                arguments.extend([namespace, INTERFACE].map(str::to_owned));
            }
        }
        arguments
    }
}

impl fmt::Display for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHelper => "no helper",
            Self::NoDevice => "no device",
            Self::NoRoute => "no route",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_is_one_that_is_used() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let routes = |line: &str| has_default_4(&format!("{head}{line}\n"));
        assert!(routes("eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"));
        assert!(!routes("eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0"));
        assert!(!routes("*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0"));
        let zeros = "0".repeat(32);
        let routes = |rest: &str| has_default_6(&format!("{zeros} 00 {zeros} 00 {rest}\n"));
        assert!(routes("fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0"));
        assert!(!routes("00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo"));
        assert!(!has_default_4("") && !has_default_6(""));
    }

    #[test]
    fn name_servers_are_read_as_the_c_library_reads_them() {
        let text = "# nameserver 192.0.2.1\nsearch nameserver\nnameserver\t127.0.0.53\nnameserver fe80::1%eth0\nnameserver x\n";
        assert_eq!(
            parse_name_servers(text),
            ["127.0.0.53", "fe80::1"].map(|text| text.parse::<IpAddr>().unwrap())
        );
    }

    #[test]
    fn the_kind_follows_from_the_name() {
        assert_eq!(Helper::of(Path::new("/opt/bin/slirp4netns")), Helper::Slirp4netns);
        assert_eq!(Helper::of(Path::new("/opt/bin/pasta.avx2")), Helper::Pasta);
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_what_to_install() {
        let closed = find_uplink(Some(Path::new("/no/such/pasta"))).unwrap_err();
        assert_eq!(closed.why, Withheld::NoHelper);
        assert!(closed.lack.cause.contains("/no/such/pasta"), "{closed:?}");
        assert!(
            closed.lack.remedy.contains("`passt`") && closed.lack.remedy.contains("fod-network"),
            "{closed:?}"
        );
    }

    #[test]
    fn nothing_of_the_hosts_loopback_is_shown() {
        let pasta = Helper::Pasta.arguments(1, true).join(" ");
        for word in ["--no-map-gw", "--tcp-ns none", "--udp-ns none", "--tcp-ports none", "--udp-ports none"]
        {
            assert!(pasta.contains(word), "{pasta}");
        }
        let slirp = Helper::Slirp4netns.arguments(3, false).join(" ");
        assert!(slirp.contains("--disable-host-loopback") && !slirp.contains("ipv6"), "{slirp}");
    }
}
