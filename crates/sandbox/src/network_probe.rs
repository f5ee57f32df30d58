//! Whether this machine can give fixed-output builds a network of their own: tried by a build that does nothing.

use std::net::UdpSocket;

use crate::error::Error;
use crate::launcher::Launcher;
use crate::limits::Limits;
use crate::network_helper::{Uplink, Withheld, find_uplink};
use crate::plan::{Identity, Isolation, Network, Op, Plan, Program};
use crate::probe::Lack;
use crate::running::ExitStatus;
use crate::users::BuildUser;

/// The function that looks around from inside.
pub(crate) const INSIDE: &str = "network probe";

/// What builds miss without it.
pub(crate) const WHAT: &str = "a network of their own for fixed-output builds (`fod-network = private`)";

/// What keeps builds from such a network. A machine that is connected to nothing lacks nothing that helps.
pub(crate) fn lack(launcher: &Launcher, user: Option<&BuildUser>) -> Option<Lack> {
    match find_uplink(None) {
        Ok(uplink) => attempt(launcher, user, &uplink).err(),
        Err(closed) if closed.why == Withheld::NoRoute => None,
        Err(closed) => Some(closed.lack),
    }
}

fn attempt(launcher: &Launcher, user: Option<&BuildUser>, uplink: &Uplink) -> Result<(), Lack> {
    let Uplink { helper, program, ipv6, .. } = uplink.clone();
    let plan = Plan {
        isolation: Isolation::Namespaces,
        network: Network::Private(helper),
        identity: Identity::one(1000, 100, user.map(BuildUser::ids)),
        limits: Limits::default(),
        filter: None,
        new_privileges: false,
        ops: vec![Op::Loopback, Op::Connect { helper, program, ipv6 }],
        program: Program::Function { name: INSIDE.to_owned(), input: Vec::new() },
    };
    let exit = launcher.run_as(&plan, user).and_then(|running| running.follow(&mut |_| {}, &mut |_| {}));
    let cause = match exit {
        Ok(exit) if exit.status == ExitStatus::Code(0) => return Ok(()),
        Ok(_) => format!("`{}` runs, but there is no way to the outside", uplink.program.display()),
        Err(error @ (Error::NetworkHelper { .. } | Error::NetworkLost { .. })) => error.to_string(),
        // That builds cannot be started is told elsewhere.
        Err(_) => return Ok(()),
    };
    let remedy =
        "name another helper in `network-helper` (`pasta` or `slirp4netns`), or set `fod-network = host`";
    Err(Lack { cause, remedy: remedy.to_owned() })
}

/// Looks for a way to the outside, without sending anything: 0 when there is one.
pub(crate) fn inside(_: &[u8]) -> i32 {
    let leads = |from: &str, to: &str| UdpSocket::bind(from).and_then(|socket| socket.connect(to)).is_ok();
    if leads("0.0.0.0:0", "192.0.2.1:9") || leads("[::]:0", "[2001:db8::1]:9") { 0 } else { 1 }
}
