//! The canary: whether a sandbox holds, looked at from inside one.
//!
//! That every step of setting a sandbox up has succeeded is what the kernel says. Filters of containers, emulations of
//! Linux and kernels with mistakes say so and do nothing. So a function of this program, run in a sandbox like any
//! builder, tries what a builder must not be able to do (`inside`, `mounts`), and names what it could.
//!
//! What it costs is spent once for [`circumstances`] and a plan; who remembers that is up to the caller.

#![expect(clippy::disallowed_methods, reason = "reads what the kernel and the host say about themselves")]

mod inside;
mod mounts;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::allowance::Allowance;
use crate::error::Error;
use crate::launcher::Launcher;
use crate::plan::{Plan, Program};
use crate::running::{ExitStatus, Notice};
use crate::sys;
use crate::users::BuildUser;
use crate::wire::{self, byte_path};

/// The function that tries from inside.
pub(crate) const INSIDE: &str = "canary";

pub(crate) use inside::inside;

/// The last line that it prints.
const END: &str = "that was all";

/// Far more than it takes anywhere.
const LONGEST: Duration = Duration::from_secs(60);

/// What was promised to a builder, and what it must not come upon.
#[derive(Serialize, Deserialize)]
struct Promise {
    plan: Plan,
    /// A file in a read-only mount that its owner and mode let everybody write to.
    #[serde(with = "byte_path")]
    input: PathBuf,
    host: Host,
}

/// What of the host could be recognised.
#[derive(Serialize, Deserialize)]
struct Host {
    /// Device and number of its root directory.
    root: (u64, u64),
    /// Its namespaces: kind, and what the kernel calls it.
    namespaces: Vec<(String, String)>,
    /// The caller's session keyring.
    keyring: Option<i32>,
    /// An abstract socket that somebody listens on.
    socket: Vec<u8>,
}

/// Runs a sandbox of that plan, in which the program is replaced, and returns what does not hold in it; each completes
/// the sentence "it does not hold that".
///
/// `input` is a file in a read-only mount of the plan that its owner and mode let everybody write to.
///
/// # Errors
/// As [`Launcher::run_as`]: then the kernel has refused to make the sandbox, which is no less safe.
pub fn look_inside(
    launcher: &Launcher,
    plan: &Plan,
    input: &Path,
    user: Option<&BuildUser>,
    on_notice: &mut dyn FnMut(Notice),
) -> Result<Vec<String>, Error> {
    let (_listener, socket) = listen().map_err(|errno| Error::Talk { source: errno.into() })?;
    let promise = Promise { plan: plan.clone(), input: input.to_owned(), host: Host::look(socket) };
    let program = Program::Function { name: INSIDE.to_owned(), input: wire::encode(&promise) };
    let plan = Plan { program, ..plan.clone() };
    let running = launcher.run_as(&plan, user)?;
    let running = running.within(Allowance { time: Some(LONGEST), ..Allowance::default() });
    // On a network that is shared, only scopes hide them, which not every kernel has.
    let hides_sockets = promise.hides_sockets() || running.given().landlock.is_some();
    let mut said = Vec::new();
    let exit = running.follow(&mut |bytes| said.extend_from_slice(bytes), on_notice)?;
    let mut broken = broken(&String::from_utf8_lossy(&said), exit.status);
    broken.retain(|line| hides_sockets || line != inside::SOCKETS);
    Ok(broken)
}

/// What does not hold, as it was told from inside; silence is no proof.
fn broken(said: &str, status: ExitStatus) -> Vec<String> {
    let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
    if status == ExitStatus::Code(0) && lines.pop_if(|last| last == END).is_some() {
        return lines;
    }
    lines.push("whoever looks from inside comes to an end".to_owned());
    lines
}

/// What a proof is about beside the plan: the boot, the kernel, this very program, who it runs as and what it is confined
/// by. `None` where the host does not say which boot it is, so that nothing can be remembered.
pub fn circumstances() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let program = fs::metadata("/proc/self/exe").ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let confined = ["Uid:", "Gid:", "Groups:", "Seccomp", "NoNewPrivs:", "Cap"];
    let confined = status.lines().filter(|line| confined.iter().any(|word| line.starts_with(word)));
    let label = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    let mut lines = vec![boot.trim().to_owned(), label];
    let kernel = rustix::system::uname();
    lines.push(format!("{:?} {:?}", kernel.release(), kernel.version()));
    lines.push(format!(
        "{} {} {} {} {}",
        program.dev(),
        program.ino(),
        program.size(),
        program.mtime(),
        program.mtime_nsec()
    ));
    lines.extend(confined.map(str::to_owned));
    lines.extend(namespaces().into_iter().map(|(_, name)| name));
    Some(lines.join("\n"))
}

impl Host {
    fn look(socket: Vec<u8>) -> Self {
        Self {
            root: identity(Path::new("/")).unwrap_or_default(),
            namespaces: namespaces(),
            keyring: sys::session_keyring().ok(),
            socket,
        }
    }
}

/// Device and number of a file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The namespaces of this process that a build does not share: kind, and what the kernel calls it.
fn namespaces() -> Vec<(String, String)> {
    let kinds = ["user", "mnt", "pid", "net", "ipc", "uts"];
    let name = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).ok();
    let named = kinds
        .iter()
        .filter_map(|kind| Some(((*kind).to_owned(), name(kind)?.to_string_lossy().into_owned())));
    named.collect()
}

/// An abstract socket whose name the kernel has chosen.
fn listen() -> Result<(OwnedFd, Vec<u8>), Errno> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_unnamed())?;
    rustix::net::listen(&socket, 1)?;
    let address = SocketAddrUnix::try_from(rustix::net::getsockname(&socket)?)?;
    let name = address.abstract_name().ok_or(Errno::ADDRNOTAVAIL)?.to_vec();
    Ok((socket, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_came_to_its_end_is_one() {
        let none: [&str; 0] = [];
        assert_eq!(broken("that was all\n", ExitStatus::Code(0)), none);
        assert_eq!(broken("a\nthat was all\n", ExitStatus::Code(0)), ["a"]);
        let end = "whoever looks from inside comes to an end";
        assert_eq!(broken("", ExitStatus::Code(0)), [end]);
        assert_eq!(broken("a\n", ExitStatus::Code(0)), ["a", end]);
        assert_eq!(broken("that was all\n", ExitStatus::Signal(9)), ["that was all", end]);
    }

    #[test]
    fn the_same_process_is_in_the_same_circumstances() {
        let text = circumstances().unwrap();
        assert_eq!(Some(&text), circumstances().as_ref());
        for word in ["Seccomp:", "CapEff:", "mnt:["] {
            assert!(text.contains(word), "{text}");
        }
    }
}
