//! A plan as text: one operation a line.

use std::fmt;
use std::os::unix::ffi::OsStrExt;

use super::{Access, Filter, Identity, Isolation, Network, Op, Plan, Program, Resource, Subordinate};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.isolation {
            Isolation::Namespaces => writeln!(f, "isolation namespaces")?,
            Isolation::Chroot { root } => writeln!(f, "isolation chroot {}", root.display())?,
            Isolation::None => writeln!(f, "isolation none")?,
        }
        match self.network {
            Network::Loopback => writeln!(f, "network loopback")?,
            Network::Private(_) => writeln!(f, "network private")?,
            Network::Withheld(why) => writeln!(f, "network loopback, as the outside is withheld: {why}")?,
            Network::Host => writeln!(f, "network host")?,
        }
        writeln!(f, "{}", self.identity)?;
        write!(f, "{}", self.limits)?;
        match self.filter {
            Some(Filter { nested_user_namespaces, socketcall }) => {
                let nested = if nested_user_namespaces { " nested" } else { "" };
                writeln!(f, "filter{nested}{}", if socketcall { " 32-bit" } else { "" })?;
            }
            None => writeln!(f, "filter none")?,
        }
        if self.new_privileges {
            writeln!(f, "new privileges")?;
        }
        for op in &self.ops {
            writeln!(f, "{op}")?;
        }
        writeln!(f, "{}", self.program)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "identity {}:{} as ", self.uid, self.gid)?;
        match self.outer {
            Some((uid, gid)) => write!(f, "{uid}:{gid}")?,
            None => f.write_str(match self.subordinate {
                Subordinate::Never => "the caller",
                Subordinate::IfPossible => "a subordinate id of the caller if possible",
                Subordinate::Needed => "a subordinate id of the caller",
            })?,
        }
        if self.count > 1 {
            write!(f, " with {} ids", self.count)?;
        }
        self.groups.iter().try_for_each(|group| write!(f, " and group {group}"))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir { target, mode } => write!(f, "dir {} {mode:04o}", target.display()),
            Self::Bind { source, target, access, optional } => {
                let access = match access {
                    Access::ReadOnly => "ro",
                    Access::ReadWrite => "rw",
                    Access::Device => "dev",
                };
                write!(f, "bind {access} {}", target.display())?;
                if source != target {
                    write!(f, " from {}", source.display())?;
                }
                if *optional { f.write_str(" if present") } else { Ok(()) }
            }
            Self::Gather { .. } => {
                let parts: Vec<String> = self.parts().iter().map(Self::to_string).collect();
                f.write_str(&parts.join("\n"))
            }
            Self::File { target, contents, mode } => {
                write!(f, "file {} {mode:04o} \"{}\"", target.display(), contents.escape_ascii())
            }
            Self::Symlink { target, points_at } => {
                write!(f, "symlink {} -> {}", target.display(), points_at.display())
            }
            Self::Tmpfs { target, mode, size } => {
                write!(f, "tmpfs {} {mode:04o}", target.display())?;
                size.iter().try_for_each(|size| write!(f, " size {size}"))
            }
            Self::Memory { source, target, bytes } => {
                write!(f, "memory {} from {} size {bytes}", target.display(), source.display())
            }
            Self::Proc { target } => write!(f, "proc {}", target.display()),
            Self::DevPts { target } => write!(f, "devpts {}", target.display()),
            Self::ReadOnly { target } => write!(f, "read-only {}", target.display()),
            Self::Sys { target } => write!(f, "sys {}", target.display()),
            Self::Own { target } => write!(f, "own {}", target.display()),
            Self::Mask { target } => write!(f, "mask {}", target.display()),
            Self::Loopback => f.write_str("loopback up"),
            Self::Connect { helper, program, ipv6 } => {
                write!(f, "connect by {helper} {}", program.display())?;
                if *ipv6 { f.write_str(" with IPv6") } else { Ok(()) }
            }
            Self::HostName { host, domain } => write!(f, "host name {host} {domain}"),
            Self::Limit { resource: Resource::Core, soft, hard } => {
                write!(f, "limit core {} {}", limit(*soft), limit(*hard))
            }
        }
    }
}

fn limit(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec(exec) => {
                let path = exec.path.as_os_str().as_bytes().escape_ascii();
                write!(f, "exec {path} in {}", exec.directory.display())?;
                if exec.personality_32 {
                    f.write_str(" as 32-bit")?;
                }
                if exec.old_kernel {
                    f.write_str(" with the version of an old kernel")?;
                }
                for argument in &exec.args {
                    write!(f, "\n  arg \"{}\"", argument.escape_ascii())?;
                }
                for (name, value) in &exec.env {
                    write!(f, "\n  env {}=\"{}\"", name.escape_ascii(), value.escape_ascii())?;
                }
                Ok(())
            }
            Self::Function { name, .. } => write!(f, "call {name}"),
        }
    }
}
