//! A plan as JSON. Names and shapes are stable: others read them.
//!
//! Paths and other bytes are strings; what is not UTF-8 is `{ "bytes": [...] }`, so that nothing is lost.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sandbox::{Access, Cgroups, Exec, Isolation, Network, Op, Plan, Program, Resource, Subordinate};
use serde_json::{Value, json};

/// Returns all of a plan.
pub(crate) fn plan(plan: &Plan) -> Value {
    let identity = &plan.identity;
    json!({
        "isolation": match &plan.isolation {
            Isolation::Namespaces => json!({ "scheme": "namespaces" }),
            Isolation::Chroot { root } => json!({ "scheme": "chroot", "root": path(root) }),
            Isolation::None => json!({ "scheme": "none" }),
        },
        "lacks": plan.lacks(),
        "network": match plan.network {
            Network::Loopback => json!("loopback"),
            Network::Private(helper) => json!({ "private": helper.to_string() }),
            Network::Withheld(why) => json!({ "withheld": why.to_string() }),
            Network::Host => json!("host"),
        },
        "identity": {
            "uid": identity.uid,
            "gid": identity.gid,
            "outer": identity.outer.map(|(uid, gid)| json!({ "uid": uid, "gid": gid })),
            "count": identity.count,
            "groups": identity.groups,
            "subordinate": match identity.subordinate {
                Subordinate::Never => "never",
                Subordinate::IfPossible => "if-possible",
                Subordinate::Needed => "needed",
            },
        },
        "limits": {
            "cgroups": match plan.limits.cgroups {
                Cgroups::Auto => "auto",
                Cgroups::Always => "always",
                Cgroups::Never => "never",
            },
            "memory": plan.limits.memory,
            "pids": plan.limits.pids,
            "cpu-weight": plan.limits.cpu_weight,
        },
        "filter": plan.filter.map(|filter| json!({
            "nested-user-namespaces": filter.nested_user_namespaces,
            "socketcall": filter.socketcall,
        })),
        "new-privileges": plan.new_privileges,
        "operations": ops(&plan.ops),
        "program": match &plan.program {
            Program::Exec(program) => exec(program),
            Program::Function { name, .. } => json!({ "function": name }),
        },
    })
}

fn ops(ops: &[Op]) -> Vec<Value> {
    let mut list = Vec::new();
    ops.iter().for_each(|op| add(op, &mut list));
    list
}

/// Adds one operation. What is mounted for several builds at once is shown as what each of them sees.
fn add(op: &Op, list: &mut Vec<Value>) {
    let value = match op {
        Op::Gather { .. } => return op.parts().iter().for_each(|part| add(part, list)),
        Op::Dir { target, mode } => json!({ "op": "dir", "target": path(target), "mode": mode }),
        Op::Bind { source, target, access, optional } => json!({
            "op": "bind",
            "source": path(source),
            "target": path(target),
            "access": match access {
                Access::ReadOnly => "read-only",
                Access::ReadWrite => "read-write",
                Access::Device => "device",
            },
            "optional": optional,
        }),
        Op::File { target, contents, mode } => {
            json!({ "op": "file", "target": path(target), "contents": text(contents), "mode": mode })
        }
        Op::Symlink { target, points_at } => {
            json!({ "op": "symlink", "target": path(target), "points-at": path(points_at) })
        }
        Op::Tmpfs { target, mode, size } => {
            json!({ "op": "tmpfs", "target": path(target), "mode": mode, "size": size })
        }
        Op::Memory { source, target, bytes } => {
            json!({ "op": "memory", "source": path(source), "target": path(target), "bytes": bytes })
        }
        Op::Proc { target } => json!({ "op": "proc", "target": path(target) }),
        Op::DevPts { target } => json!({ "op": "devpts", "target": path(target) }),
        Op::Sys { target } => json!({ "op": "sys", "target": path(target) }),
        Op::Own { target } => json!({ "op": "own", "target": path(target) }),
        Op::ReadOnly { target } => json!({ "op": "read-only", "target": path(target) }),
        Op::Mask { target } => json!({ "op": "mask", "target": path(target) }),
        Op::Loopback => json!({ "op": "loopback" }),
        Op::Connect { helper, program, ipv6 } => {
            json!({ "op": "connect", "helper": helper.to_string(), "program": path(program), "ipv6": ipv6 })
        }
        Op::HostName { host, domain } => json!({ "op": "host-name", "host": host, "domain": domain }),
        Op::Limit { resource: Resource::Core, soft, hard } => {
            json!({ "op": "limit", "resource": "core", "soft": soft, "hard": hard })
        }
    };
    list.push(value);
}

fn exec(exec: &Exec) -> Value {
    json!({
        "path": path(&exec.path),
        "arguments": exec.args.iter().map(|word| text(word)).collect::<Value>(),
        "environment": exec
            .env
            .iter()
            .map(|(name, value)| json!({ "name": text(name), "value": text(value) }))
            .collect::<Value>(),
        "directory": path(&exec.directory),
        "personality-32": exec.personality_32,
    })
}

fn path(path: &Path) -> Value {
    text(path.as_os_str().as_bytes())
}

fn text(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| json!({ "bytes": bytes }), |text| json!(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_of_what_is_no_text() {
        assert_eq!(text(b"plain"), json!("plain"));
        assert_eq!(text(b"\xff"), json!({ "bytes": [255] }));
    }
}
