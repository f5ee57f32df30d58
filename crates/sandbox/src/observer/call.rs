//! What a call asks for: which of its arguments say so, and what they point at.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::observation::How;
use crate::sys::{self, Heard};

/// Longest path that the kernel takes, with its end.
const PATH_MAX: usize = 4096;

/// What is read of a packet; questions are shorter.
const MOST_OF_PACKET: usize = 512;

/// `AUDIT_ARCH_*` has this bit for 64-bit code.
pub(super) const IS_64_BIT: u32 = 0x8000_0000;

/// What a call asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// For a file.
    Path(AskedPath),
    /// For somebody on a network, with what is sent there at once.
    Address(SocketAddr, Vec<u8>),
    /// For somebody whom a socket is connected to already, with the beginning of what is sent.
    Message(Vec<u8>),
    /// For nothing that could be missing.
    Nothing,
}

/// A path as the process says it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AskedPath {
    pub(super) path: PathBuf,
    /// The descriptor of what it starts from; `None` for the working directory.
    pub(super) at: Option<i32>,
    pub(super) how: How,
    /// Whether a symlink at its end stands for what it points at.
    pub(super) follow: bool,
}

/// Where a call has what it asks for.
#[derive(Clone, Copy)]
enum Shape {
    Path { at: Option<usize>, path: usize, how: How, nofollow: NoFollow },
    Address { address: usize, length: usize, data: Option<(usize, usize)> },
    Messages { messages: usize },
}

/// When a symlink at the end of a path is not followed.
#[derive(Clone, Copy)]
enum NoFollow {
    Never,
    Always,
    /// When that argument has `AT_SYMLINK_NOFOLLOW`.
    Flag(usize),
}

fn shape(name: &str) -> Option<Shape> {
    use How::{Look, Open, Run};
    use NoFollow::{Always, Flag, Never};
    let path = |at, path, how, nofollow| Some(Shape::Path { at, path, how, nofollow });
    match name {
        "open" => path(None, 0, Open, Never),
        "openat" | "openat2" => path(Some(0), 1, Open, Never),
        "stat" | "stat64" | "oldstat" | "access" => path(None, 0, Look, Never),
        "lstat" | "lstat64" | "oldlstat" | "readlink" => path(None, 0, Look, Always),
        "newfstatat" | "fstatat64" => path(Some(0), 1, Look, Flag(3)),
        "statx" => path(Some(0), 1, Look, Flag(2)),
        "faccessat" => path(Some(0), 1, Look, Never),
        "faccessat2" => path(Some(0), 1, Look, Flag(3)),
        "readlinkat" => path(Some(0), 1, Look, Always),
        "execve" => path(None, 0, Run, Never),
        "execveat" => path(Some(0), 1, Run, Flag(4)),
        "connect" => Some(Shape::Address { address: 1, length: 2, data: None }),
        "sendto" => Some(Shape::Address { address: 4, length: 5, data: Some((1, 2)) }),
        "sendmmsg" => Some(Shape::Messages { messages: 1 }),
        _ => None,
    }
}

/// What `call`, which is called `name`, asks for.
pub(super) fn asked(call: &Heard, name: &str) -> rustix::io::Result<Asked> {
    let argument = |index: usize| call.arguments[index];
    match shape(name) {
        None => Ok(Asked::Nothing),
        Some(Shape::Messages { messages }) => Ok(Asked::Message(first_message(call, argument(messages))?)),
        Some(Shape::Path { at, path, how, nofollow }) => {
            let path = read_path(call.pid, argument(path))?;
            let follow = match nofollow {
                NoFollow::Never => true,
                NoFollow::Always => false,
                NoFollow::Flag(flags) => argument(flags) as i32 & libc::AT_SYMLINK_NOFOLLOW == 0,
            };
            // The kernel looks at the lower half.
            let at = at.map(|at| argument(at) as i32).filter(|at| *at != libc::AT_FDCWD);
            Ok(match path.as_os_str().is_empty() {
                true => Asked::Nothing,
                false => Asked::Path(AskedPath { path, at, how, follow }),
            })
        }
        Some(Shape::Address { address, length, data }) => {
            let mut bytes = vec![0; (argument(length) as u32 as usize).min(128)];
            let filled = sys::read_memory(call.pid, argument(address), &mut bytes)?;
            let data = data.map(|(at, length)| (argument(at), argument(length) as usize));
            Ok(match socket_address(&bytes[..filled]) {
                Some(Named::Network(address)) => Asked::Address(address, question(call.pid, address, data)),
                Some(Named::File(path)) => {
                    Asked::Path(AskedPath { path, at: None, how: How::Connect, follow: true })
                }
                None => Asked::Nothing,
            })
        }
    }
}

/// Reads a path: a little first, since most are short.
fn read_path(pid: u32, address: u64) -> rustix::io::Result<PathBuf> {
    let mut buffer = [0; PATH_MAX];
    for most in [256, PATH_MAX] {
        let length = sys::read_memory(pid, address, &mut buffer[..most])?;
        if let Some(end) = buffer[..length].iter().position(|byte| *byte == 0) {
            return Ok(PathBuf::from(OsStr::from_bytes(&buffer[..end])));
        }
    }
    // The kernel refuses it, too.
    Err(Errno::NAMETOOLONG)
}

/// Reads the first part of the first of several messages, as 64-bit code has them in memory.
fn first_message(call: &Heard, messages: u64) -> rustix::io::Result<Vec<u8>> {
    /// Where `struct mmsghdr` has the address of its parts, each with its own address and length.
    const PARTS: u64 = 16;
    if call.audit & 0x4000_0000 == 0 || call.audit & IS_64_BIT == 0 {
        return Ok(Vec::new());
    }
    let word = |address: u64| -> rustix::io::Result<u64> {
        let mut bytes = [0; 8];
        match sys::read_memory(call.pid, address, &mut bytes)? {
            8 => Ok(u64::from_ne_bytes(bytes)),
            _ => Err(Errno::FAULT),
        }
    };
    let parts = word(messages.wrapping_add(PARTS))?;
    let (start, length) = (word(parts)?, word(parts.wrapping_add(8))?);
    let mut packet = vec![0; (length as usize).min(MOST_OF_PACKET)];
    let filled = sys::read_memory(call.pid, start, &mut packet)?;
    packet.truncate(filled);
    Ok(packet)
}

/// What is sent to a name server.
fn question(pid: u32, to: SocketAddr, data: Option<(u64, usize)>) -> Vec<u8> {
    let Some((address, length)) = data.filter(|_| to.port() == NAME_SERVICE) else { return Vec::new() };
    let mut packet = vec![0; length.min(MOST_OF_PACKET)];
    let filled = sys::read_memory(pid, address, &mut packet).unwrap_or(0);
    packet.truncate(filled);
    packet
}

/// The port of name servers.
pub(super) const NAME_SERVICE: u16 = 53;

/// Whom a socket address is of.
enum Named {
    Network(SocketAddr),
    File(PathBuf),
}

/// Reads a socket address as the kernel does; `None` for what is neither a network's nor a file.
fn socket_address(bytes: &[u8]) -> Option<Named> {
    let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let port = || Some(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
    let address: IpAddr = match family {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?).to_canonical(),
        libc::AF_UNIX => {
            let path = bytes.get(2..)?.split(|byte| *byte == 0).next()?;
            return path.starts_with(b"/").then(|| Named::File(PathBuf::from(OsStr::from_bytes(path))));
        }
        _ => return None,
    };
    Some(Named::Network(SocketAddr::new(address, port()?)))
}

/// The host name that a packet to a name server asks for.
pub(super) fn host_name(packet: &[u8]) -> Option<String> {
    /// Identification, flags and four counts.
    const HEADER: usize = 12;
    // A plain question, and one.
    if packet.get(2)? & 0xf8 != 0 || packet.get(4..6)? != [0, 1] {
        return None;
    }
    let mut rest = packet.get(HEADER..)?;
    let mut labels = Vec::new();
    loop {
        let (length, after) = rest.split_first()?;
        if *length == 0 {
            // Behind it, the kind of address, and that it is of the internet.
            after.get(2..4).filter(|class| *class == [0, 1])?;
            break;
        }
        // A longer one is a pointer, which no first question has.
        let (label, after) = after.split_at_checked(usize::from(*length)).filter(|_| *length < 64)?;
        labels.push(
            std::str::from_utf8(label)
                .ok()
                .filter(|label| label.bytes().all(|byte| byte.is_ascii_graphic()))?,
        );
        rest = after;
    }
    (!labels.is_empty()).then(|| labels.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter;
    use crate::observer::directory;

    #[test]
    fn every_observed_call_has_a_shape() {
        let calls = filter::observed_calls();
        assert!(calls.len() > 20, "{calls:?}");
        for name in calls.values() {
            assert!(shape(name).is_some() || *name == directory::READ, "{name}");
        }
    }

    #[test]
    fn the_name_in_a_question_is_read_and_nothing_else_is() {
        let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let question = |name: &[u8]| [&header[..], name, &[0, 28, 0, 1]].concat();
        assert_eq!(host_name(&question(b"\x05cache\x07example\x00")), Some("cache.example".to_owned()));
        assert_eq!(host_name(&question(b"\x05ca\x1bhe\x00")), None);
        assert_eq!(host_name(&question(b"\xc0\x0c")), None);
        assert_eq!(host_name(&question(b"\x3fshort")), None);
        assert_eq!(host_name(b"HTTP"), None);
        assert_eq!(host_name(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"), None);
    }

    #[test]
    fn addresses_are_read_as_the_kernel_reads_them() {
        let inet = |family: i32, rest: &[u8]| [&(family as u16).to_ne_bytes(), rest].concat();
        let network = |bytes: &[u8]| match socket_address(bytes) {
            Some(Named::Network(address)) => Some(address.to_string()),
            _ => None,
        };
        assert_eq!(network(&inet(libc::AF_INET, &[1, 187, 192, 0, 2, 1])), Some("192.0.2.1:443".to_owned()));
        let six = [&[0, 80, 0, 0, 0, 0][..], &Ipv6Addr::LOCALHOST.octets()].concat();
        assert_eq!(network(&inet(libc::AF_INET6, &six)), Some("[::1]:80".to_owned()));
        assert_eq!(network(&inet(libc::AF_INET, &[1, 187])), None);
        assert!(socket_address(&inet(libc::AF_UNIX, b"\0abstract")).is_none());
        let file = match socket_address(&inet(libc::AF_UNIX, b"/run/x\0y")) {
            Some(Named::File(path)) => Some(path),
            _ => None,
        };
        assert_eq!(file, Some(PathBuf::from("/run/x")));
    }
}
