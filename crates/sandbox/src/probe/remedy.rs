//! Why something was refused, and what to do about it: a pure function of what the host says about itself.

#![expect(clippy::disallowed_methods, reason = "reads the kernel's settings")]

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Lack;
use crate::error::{Error, Step};

/// What the host says that has to do with refusing sandboxes.
#[derive(Clone, Debug, Default)]
pub(super) struct Circumstances {
    /// Limits below `/proc/sys/user` that are zero, as `sysctl` names them.
    zeros: Vec<String>,
    /// Whether a setting of Debian's kernels forbids user namespaces to all but root.
    only_root: bool,
    /// Whether a setting of Ubuntu's kernels takes the power in user namespaces from programs without a profile.
    apparmor: bool,
    /// Whether this process runs under a filter of system calls.
    filtered: bool,
    /// Places below `/proc` that something is mounted over.
    covered: Vec<PathBuf>,
    /// This program.
    program: PathBuf,
}

impl Circumstances {
    pub(super) fn of_this_process() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let sysctl = |name: &str| read(&format!("/proc/sys/{name}")).trim().to_owned();
        let kinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
        let zeros = kinds.into_iter().filter(|kind| sysctl(&format!("user/max_{kind}_namespaces")) == "0");
        let status = read("/proc/self/status");
        Self {
            zeros: zeros.map(sysctl_of).collect(),
            only_root: sysctl("kernel/unprivileged_userns_clone") == "0",
            apparmor: sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1",
            filtered: status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2')),
            covered: covered(&read("/proc/self/mountinfo")),
            program: fs::read_link("/proc/self/exe").unwrap_or_default(),
        }
    }

    /// Why a namespace could not be made, with its part of the names of the kernel's settings.
    pub(super) fn namespace_refused(&self, kind: &str, errno: Errno) -> Lack {
        let source = io::Error::from(errno);
        Lack { cause: format!("the kernel refused it: {source}"), remedy: self.about_namespace(kind, errno) }
    }

    /// Why setting up a sandbox failed.
    pub(super) fn explain(&self, error: &Error) -> Lack {
        let mut cause = error.to_string();
        let mut next = std::error::Error::source(error);
        while let Some(source) = next {
            cause += &format!(": {source}");
            next = source.source();
        }
        let errno = |source: &io::Error| Errno::from_io_error(source).unwrap_or(Errno::IO);
        let remedy = match error {
            Error::Setup { step, source, .. } => self.about_step(*step, errno(source)),
            Error::Launch { source } => self.about_errno(errno(source)),
            Error::Null { .. }
            | Error::BuildGroup { .. }
            | Error::NoBuilderIds
            | Error::Unprivileged { .. } => "do what the cause says".to_owned(),
            Error::UserLock { source, .. } => self.about_errno(errno(source)),
            _ => "run `store doctor` again; if this stays, report it".to_owned(),
        };
        Lack { cause, remedy }
    }

    fn about_namespace(&self, kind: &str, errno: Errno) -> String {
        let zero = sysctl_of(kind);
        match errno {
            _ if self.zeros.contains(&zero) => format!(
                "as root: sysctl {zero}=15000, and the same as a line in a file below /etc/sysctl.d to keep it so"
            ),
            Errno::NOSPC | Errno::USERS => format!(
                "too many namespaces exist, or they are nested too deeply: as root raise {zero}, or run outside of them"
            ),
            Errno::INVAL | Errno::NOSYS => format!("a kernel with CONFIG_{}_NS is needed", kind.to_uppercase()),
            Errno::PERM | Errno::ACCESS if kind == "user" && self.only_root => {
                "as root: sysctl kernel.unprivileged_userns_clone=1, and the same as a line in a file below /etc/sysctl.d \
                 to keep it so"
                    .to_owned()
            }
            errno => self.about_errno(errno),
        }
    }

    fn about_step(&self, step: Step, errno: Errno) -> String {
        let is_refusal = matches!(errno, Errno::PERM | Errno::ACCESS);
        let text = match step {
            Step::MountProc if is_refusal && !self.covered.is_empty() => return self.about_covered(),
            Step::Filter if !crate::filter::can_filter() => {
                "build on x86-64 or aarch64, or set `filter-syscalls = false` to build without the filter"
            }
            Step::Filter => {
                "inside a container: its own filter forbids `seccomp`; start it with a profile that allows it \
                 (Docker, Podman: --security-opt seccomp=unconfined); else the kernel needs CONFIG_SECCOMP_FILTER"
            }
            Step::Keyring => {
                "a filter of system calls around this process says that `keyctl` has succeeded and lets it do nothing; it \
                 has to refuse the call or to let it through"
            }
            _ => return self.about_errno(errno),
        };
        text.to_owned()
    }

    /// What is in the way whatever was to be done.
    fn about_errno(&self, errno: Errno) -> String {
        let text = match errno {
            Errno::PERM | Errno::ACCESS if self.apparmor => return profile(&self.program),
            Errno::PERM | Errno::ACCESS | Errno::NOSYS if self.filtered => {
                "this process runs under a filter of system calls that forbids it. In a container: start it with a \
                 profile that allows `unshare`, `clone3`, `mount_setattr` and `move_mount` (Docker, Podman: \
                 --security-opt seccomp=unconfined); in a service of systemd: without `RestrictNamespaces=` and \
                 `SystemCallFilter=`"
            }
            Errno::PERM | Errno::ACCESS => {
                "a security module or a chroot is in the way: as root, `dmesg` may say which; nobody makes a user \
                 namespace from within a chroot"
            }
            Errno::NOSYS => "a kernel of Linux 5.6 or later is needed",
            Errno::NOSPC => "a limit of the kernel is reached: as root raise those below /proc/sys/user",
            Errno::AGAIN => {
                "this user may not have more processes: allow more by `ulimit -u`, or in a container by its limit of them"
            }
            Errno::MFILE | Errno::NFILE => "this process may not open more files: allow more by `ulimit -n`",
            Errno::NOMEM => "memory is short: free some, or raise the limit of this session or container",
            Errno::ROFS => "make that file system writable; `--store DIR` takes another place for the store",
            _ => "see the cause; as root, `dmesg` may say more",
        };
        text.to_owned()
    }

    fn about_covered(&self) -> String {
        let mut places: Vec<String> = self.covered.iter().map(|path| path.display().to_string()).collect();
        let more = places.len().saturating_sub(3);
        places.truncate(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "/proc is masked here: {}{more} is mounted over, as in a container, and the kernel shows no second /proc that \
             shows more. Start the container with an unmasked one (Docker: --security-opt systempaths=unconfined; Podman: \
             --security-opt unmask=ALL; Kubernetes: procMount: Unmasked); or set `build-chroot-dirs = /dev -/proc`, which \
             builds without a /proc",
            places.join(", ")
        )
    }
}

fn sysctl_of(kind: &str) -> String {
    format!("user.max_{kind}_namespaces")
}

/// What is mounted below `/proc`, in which the kernel ignores what is mounted on directories that are always empty.
fn covered(mountinfo: &str) -> Vec<PathBuf> {
    let always_empty = ["/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd", "/proc/sys/fs/mqueue"];
    let places = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    let below = places.filter(|place| place.starts_with("/proc/") && !always_empty.contains(place));
    below.map(PathBuf::from).collect()
}

/// The text of an AppArmor profile for `program`, and how to load it.
fn profile(program: &Path) -> String {
    let mut path = Vec::new();
    for byte in program.as_os_str().as_bytes() {
        // It is a pattern, in quotes.
        if b"\\\"*?[]{}^".contains(byte) {
            path.push(b'\\');
        }
        path.push(*byte);
    }
    let path = OsStr::from_bytes(&path).to_string_lossy();
    format!(
        "AppArmor lets no program make such namespaces without a profile; as root, give this one a profile:\n\
         cat > /etc/apparmor.d/store-builds <<'END'\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         profile store-builds \"{path}\" flags=(unconfined) {{\n  \
           userns,\n  \
           include if exists <local/store-builds>\n\
         }}\n\
         END\n\
         apparmor_parser --replace /etc/apparmor.d/store-builds\n\
         (or, for every program: sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(step: Step, errno: Errno) -> Error {
        Error::Setup { step, target: "/proc".into(), source: errno.into() }
    }

    #[test]
    fn a_namespace_that_is_refused_has_a_remedy_of_its_own() {
        let open = Circumstances::default();
        let root_only = Circumstances { only_root: true, ..open.clone() };
        let none = Circumstances { zeros: vec!["user.max_net_namespaces".to_owned()], ..open.clone() };
        let filtered = Circumstances { filtered: true, ..open.clone() };
        let table = [
            (&open, "user", Errno::NOSPC, "raise user.max_user_namespaces"),
            (&none, "net", Errno::NOSPC, "sysctl user.max_net_namespaces=15000"),
            (&none, "mnt", Errno::NOSPC, "raise user.max_mnt_namespaces"),
            (&root_only, "user", Errno::PERM, "sysctl kernel.unprivileged_userns_clone=1"),
            (&filtered, "user", Errno::PERM, "seccomp=unconfined"),
            (&open, "user", Errno::PERM, "from within a chroot"),
            (&open, "ipc", Errno::INVAL, "CONFIG_IPC_NS"),
            (&open, "user", Errno::AGAIN, "`ulimit -u`"),
        ];
        for (circumstances, kind, errno, wanted) in table {
            let lack = circumstances.namespace_refused(kind, errno);
            assert!(lack.remedy.contains(wanted), "{kind}: {}", lack.remedy);
        }
    }

    #[test]
    fn a_step_that_fails_has_a_remedy_of_its_own() {
        let open = Circumstances::default();
        let masked = Circumstances { covered: vec!["/proc/kcore".into()], filtered: true, ..open.clone() };
        let table = [
            (&masked, Step::MountProc, Errno::PERM, "systempaths=unconfined"),
            (&open, Step::MountProc, Errno::PERM, "a security module"),
            (&masked, Step::Bind, Errno::PERM, "filter of system calls that forbids it"),
            (&open, Step::Bind, Errno::NOSYS, "Linux 5.6"),
            (&open, Step::OpenSource, Errno::MFILE, "`ulimit -n`"),
            (&open, Step::Filter, Errno::PERM, "its own filter forbids `seccomp`"),
        ];
        for (circumstances, step, errno, wanted) in table {
            let lack = circumstances.explain(&setup(step, errno));
            assert!(lack.remedy.contains(wanted), "{step:?}: {}", lack.remedy);
            assert!(lack.cause.contains("`/proc`: "), "{}", lack.cause);
        }
    }

    #[test]
    fn a_profile_is_for_this_very_program() {
        let circumstances =
            Circumstances { apparmor: true, program: "/opt/my [store]".into(), ..Circumstances::default() };
        let remedy = circumstances.namespace_refused("user", Errno::PERM).remedy;
        test_support::check("cli/apparmor.txt", remedy + "\n");
    }

    #[test]
    fn what_is_mounted_over_a_part_of_proc_counts() {
        let mounts = "22 1 0:20 / /proc rw - proc proc rw\n23 22 0:21 / /proc/sys/fs/binfmt_misc rw - autofs x rw\n\
                      24 22 0:22 / /proc/acpi ro - tmpfs tmpfs ro\n25 1 0:23 / /process rw - tmpfs t rw\n";
        assert_eq!(covered(mounts), [Path::new("/proc/acpi")]);
    }
}
