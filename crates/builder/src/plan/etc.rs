//! Files in `/etc` of a sandbox: who its users are, and how names are looked up.

use std::path::Path;

use sandbox::{Identity, Network, Op, Uplink};
use settings::Variation;

use super::{View, is_listed};
use crate::vary;

/// What a build finds there, save what the user lists for the same place.
pub(super) fn etc_ops(view: &View<'_>, Identity { uid, gid, .. }: &Identity) -> Vec<Op> {
    let home = view.inside.display();
    let passwd = format!(
        "root:x:0:0:Nix build user:{home}:/noshell\n\
         nixbld:x:{uid}:{gid}:Nix build user:{home}:/noshell\n\
         nobody:x:65534:65534:Nobody:/:/noshell\n"
    );
    let group = format!("root:x:0:\nnixbld:!:{gid}:\nnogroup:x:65534:\n");
    let mut ops = vec![etc_file("passwd", &passwd), etc_file("group", &group)];
    ops.extend(network_ops(view));
    // What the user lists for the same place goes first.
    ops.retain(
        |op| !matches!(op, Op::File { target, .. } | Op::Bind { target, .. } if is_listed(view, target)),
    );
    ops
}

/// What programs look up names and services in.
///
/// A private network has the host's list of services, which is the same everywhere, but not its names: those may be of
/// its loopback.
fn network_ops(view: &View<'_>) -> Vec<Op> {
    let own = if view.varied.has(Variation::HostName) {
        format!("127.0.0.1 {}\n", vary::HOST_NAME)
    } else {
        String::new()
    };
    let hosts = etc_file("hosts", &format!("127.0.0.1 localhost\n::1 localhost\n{own}"));
    let switch = etc_file("nsswitch.conf", "hosts: files dns\nservices: files\n");
    let files = view.host.network_files.iter().cloned();
    match (view.network, &view.host.uplink) {
        (Network::Host, _) => [switch].into_iter().chain(files).collect(),
        (Network::Private(_), Some(Ok(uplink))) => {
            let services = Path::new("/etc/services");
            let services =
                files.filter(|op| matches!(op, Op::Bind { target, .. } if target.as_path() == services));
            let resolver = etc_file("resolv.conf", &resolver(uplink));
            [hosts, switch, resolver].into_iter().chain(services).collect()
        }
        _ => vec![hosts],
    }
}

fn resolver(uplink: &Uplink) -> String {
    let servers = uplink.name_servers.iter().map(|server| format!("nameserver {server}\n"));
    // Long answers by one packet too: not every helper passes on other questions.
    servers.chain(["options edns0\n".to_owned()]).collect()
}

fn etc_file(name: &str, contents: &str) -> Op {
    Op::File { target: Path::new("/etc").join(name), contents: contents.into(), mode: 0o444 }
}
