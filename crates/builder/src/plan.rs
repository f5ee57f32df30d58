//! The sandbox of a build as a plan: a pure function of what the build may see.

mod etc;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sandbox::{
    Access, Exec, Filter, Identity, Ids, Isolation, Network, Op, Plan, Program, Resource, Subordinate, Uplink,
};
use settings::{Settings, Variation, Variations};
use store_path::StorePath;

use self::etc::etc_ops;
use crate::host::Host;
use crate::job_server::INSIDE;
use crate::{limits, vary};

/// The user that every builder is, as it sees itself.
const UID: u32 = 1000;
/// Its group.
const GID: u32 = 100;

/// Device nodes that every builder has.
const DEVICES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];

/// What a build may see, and where that is on the host.
pub(crate) struct View<'a> {
    pub(crate) settings: &'a Settings,
    /// What is to be different from other builds.
    pub(crate) varied: &'a Variations,
    /// Where the build directory is seen.
    pub(crate) inside: PathBuf,
    /// The logical store directory.
    pub(crate) store_dir: &'a str,
    /// The directory that holds the store's files.
    pub(crate) real_store: &'a Path,
    /// The closure of the inputs.
    pub(crate) inputs: &'a BTreeSet<StorePath>,
    /// Where those of them are that are in no directory with the others.
    pub(crate) elsewhere: &'a BTreeMap<StorePath, PathBuf>,
    /// Whether later builds have the same store directory, in which what is mounted stays.
    pub(crate) shares: bool,
    /// Becomes the store directory; the outputs are made in it.
    pub(crate) scratch: &'a Path,
    /// Becomes the build directory.
    pub(crate) build_dir: &'a Path,
    /// Becomes `/tmp`.
    pub(crate) tmp: &'a Path,
    /// Becomes the root under `build-isolation = chroot`.
    pub(crate) root: &'a Path,
    pub(crate) host: &'a Host,
    /// What this build asks to see of the host.
    pub(crate) host_deps: &'a [Op],
    /// What `pre-build-hook` wants it to be shown.
    pub(crate) hooked: &'a [Op],
    /// Whom the builder is outside, as root.
    pub(crate) user: Option<Outside<'a>>,
    /// How many users it wants.
    pub(crate) ids: Ids,
    /// Whether the build shares the host's network.
    pub(crate) network: Network,
    /// The fifo of the job server, if there is one.
    pub(crate) job_server: Option<&'a Path>,
    /// What runs; its directory and path are those inside.
    pub(crate) program: Exec,
}

/// Whom a builder is outside its sandbox.
#[derive(Clone, Copy)]
pub(crate) struct Outside<'a> {
    pub(crate) ids: (u32, u32),
    /// Further groups.
    pub(crate) groups: &'a [u32],
}

/// The plan of an isolated build.
pub(crate) fn isolated(view: View<'_>) -> Plan {
    let identity = identity(&view);
    let mut ops = store_ops(&view);
    ops.extend(work_ops(&view));
    if view.settings.build_chroot_dirs.private_dev() {
        ops.extend(device_ops(view.settings));
    }
    if view.settings.build_chroot_dirs.private_proc() {
        ops.push(Op::Proc { target: "/proc".into() });
        ops.push(Op::ReadOnly { target: "/proc/sys".into() });
        // The keys of whoever calls, for whom an ordinary user's builder would pass.
        ops.extend(["/proc/keys", "/proc/key-users"].map(|file| Op::Mask { target: file.into() }));
    }
    ops.extend(etc_ops(&view, &identity));
    ops.extend_from_slice(&view.host.binds);
    ops.extend(
        view.host_deps
            .iter()
            .chain(view.hooked)
            .filter(|op| matches!(op, Op::Bind { target, .. } if !is_listed(&view, target)))
            .cloned(),
    );
    // What is read and written there is in no file, so it is read-only as everything else of the host.
    let job_server = view.job_server.map(|fifo| bind(fifo, Path::new(INSIDE), Access::ReadOnly));
    ops.extend(job_server);
    // After the last entry: a user may bind something below it.
    ops.extend(root_ops(&view));
    ops.push(Op::HostName { host: host_name(view.varied).to_owned(), domain: "(none)".to_owned() });
    if view.network != Network::Host {
        ops.push(Op::Loopback);
    }
    if let (Network::Private(_), Some(Ok(Uplink { helper, program, ipv6, .. }))) =
        (view.network, &view.host.uplink)
    {
        ops.push(Op::Connect { helper: *helper, program: program.clone(), ipv6: *ipv6 });
    }
    ops.push(no_core_files());
    if view.ids == Ids::One {
        ops.push(Op::ReadOnly { target: "/".into() });
    }
    Plan {
        isolation: match view.settings.build_isolation {
            settings::Isolation::Namespaces => Isolation::Namespaces,
            settings::Isolation::Chroot => Isolation::Chroot { root: view.root.to_owned() },
        },
        network: view.network,
        identity,
        limits: limits::limits(view.settings),
        filter: filter(view.settings, &view.program, view.ids),
        new_privileges: view.settings.allow_new_privileges,
        ops,
        program: Program::Exec(view.program),
    }
}

/// The plan of a build that sees the host: only its limits and its directory are its own.
pub(crate) fn open(settings: &Settings, program: Exec) -> Plan {
    Plan {
        isolation: Isolation::None,
        network: Network::Host,
        identity: Identity::one(UID, GID, None),
        limits: limits::limits(settings),
        filter: filter(settings, &program, Ids::One),
        new_privileges: settings.allow_new_privileges,
        ops: vec![no_core_files()],
        program: Program::Exec(program),
    }
}

/// The same plan, with a builder that is part of this program if there is one.
pub(crate) fn running(plan: Plan, builtin: Option<Program>) -> Plan {
    let program = builtin.unwrap_or_else(|| plan.program.clone());
    Plan { program, ..plan }
}

/// The host name that the builder sees.
pub(crate) fn host_name(varied: &Variations) -> &'static str {
    if varied.has(Variation::HostName) { vary::HOST_NAME } else { "localhost" }
}

/// The user and the group that the builder is in its sandbox.
pub(crate) const IDS: (u32, u32) = (UID, GID);

/// Without a user namespace, the builder sees the ids that it has on the host.
fn identity(view: &View<'_>) -> Identity {
    let outer = view.user.map(|user| user.ids);
    let (uid, gid) = match (view.settings.build_isolation, outer) {
        (settings::Isolation::Chroot, Some(ids)) => ids,
        _ if view.varied.has(Variation::Uid) => vary::IDS,
        _ => (UID, GID),
    };
    let groups = view.user.map(|user| user.groups.to_vec()).unwrap_or_default();
    let subordinate = subordinate(view);
    if view.ids == Ids::Range {
        return Identity { count: view.ids.count(), groups, subordinate, ..Identity::one(0, 0, outer) };
    }
    Identity { groups, subordinate, ..Identity::one(uid, gid, outer) }
}

/// A build that wants many users is not done with one.
fn subordinate(view: &View<'_>) -> Subordinate {
    match (view.ids, view.host.subordinate) {
        (Ids::Range, Subordinate::IfPossible) => Subordinate::Needed,
        (_, subordinate) => subordinate,
    }
}

/// What has many users runs systems in containers, which make namespaces.
fn filter(settings: &Settings, program: &Exec, ids: Ids) -> Option<Filter> {
    settings.filter_syscalls.then_some(Filter {
        nested_user_namespaces: settings.nested_user_namespaces || ids == Ids::Range,
        socketcall: program.personality_32,
    })
}

/// The root, as far as it is no mount: a builder of many users is at home in it, another one is not.
fn root_ops(view: &View<'_>) -> Vec<Op> {
    let etc = PathBuf::from("/etc");
    let is_ours = !is_listed(view, &etc);
    match view.ids {
        Ids::Range => {
            let mut ops = vec![Op::Sys { target: "/sys".into() }, Op::Own { target: "/".into() }];
            ops.extend(is_ours.then_some(Op::Own { target: etc }));
            ops
        }
        Ids::One => is_ours.then_some(Op::Dir { target: etc, mode: 0o555 }).into_iter().collect(),
    }
}

/// Where the build works; its directory comes after `/tmp`, below which it may be.
fn work_ops(view: &View<'_>) -> [Op; 2] {
    let (tmp, target) = (PathBuf::from("/tmp"), view.inside.clone());
    match view.settings.max_build_dir_size {
        0 => [bind(view.tmp, &tmp, Access::ReadWrite), bind(view.build_dir, &target, Access::ReadWrite)],
        size => [
            Op::Memory { source: view.tmp.to_owned(), target: tmp, bytes: size as u64 },
            Op::Memory { source: view.build_dir.to_owned(), target, bytes: size as u64 },
        ],
    }
}

fn store_ops(view: &View<'_>) -> Vec<Op> {
    let store_dir = Path::new(view.store_dir);
    if view.shares {
        return vec![Op::Gather {
            base: view.scratch.to_owned(),
            target: store_dir.to_owned(),
            from: view.real_store.to_owned(),
            names: view.inputs.iter().map(StorePath::to_string).collect(),
        }];
    }
    let mut ops = vec![bind(view.scratch, store_dir, Access::ReadWrite)];
    ops.extend(view.inputs.iter().map(|path| {
        let base = path.to_string();
        let source = view.elsewhere.get(path).cloned().unwrap_or_else(|| view.real_store.join(&base));
        bind(&source, &store_dir.join(&base), Access::ReadOnly)
    }));
    ops
}

fn device_ops(settings: &Settings) -> Vec<Op> {
    let dev = Path::new("/dev");
    let mut ops: Vec<Op> =
        DEVICES.iter().map(|name| bind(&dev.join(name), &dev.join(name), Access::Device)).collect();
    if settings.system_features.iter().any(|feature| feature == "kvm") {
        let kvm = PathBuf::from("/dev/kvm");
        ops.push(Op::Bind { source: kvm.clone(), target: kvm, access: Access::Device, optional: true });
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "/dev/pts/ptmx"),
    ];
    ops.extend(links.map(|(name, to)| Op::Symlink { target: dev.join(name), points_at: to.into() }));
    let size = settings.sandbox_dev_shm_size.as_str().to_owned();
    ops.push(Op::Tmpfs { target: dev.join("shm"), mode: 0o1777, size: Some(size) });
    ops.push(Op::DevPts { target: dev.join("pts") });
    ops
}

/// Whether an entry of the user's shows `target`, or a directory above it.
fn is_listed(view: &View<'_>, target: &Path) -> bool {
    view.host.binds.iter().any(|op| matches!(op, Op::Bind { target: bound, .. } if target.starts_with(bound)))
}

fn bind(source: &Path, target: &Path, access: Access) -> Op {
    Op::Bind { source: source.to_owned(), target: target.to_owned(), access, optional: false }
}

fn no_core_files() -> Op {
    Op::Limit { resource: Resource::Core, soft: Some(0), hard: None }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sandbox::Helper;
    use settings::Origin;

    use super::*;

    fn host(binds: Vec<Op>) -> Host {
        let network_files =
            vec![bind(Path::new("/etc/resolv.conf"), Path::new("/etc/resolv.conf"), Access::ReadOnly)];
        Host {
            binds,
            files: crate::shown::HostFiles::default(),
            network_files,
            uplink: None,
            environment: BTreeMap::new(),
            users: None,
            subordinate: Subordinate::Never,
            subordinate_ids: 0,
            cores: 2,
            unlimited: Vec::new(),
            broken: std::sync::Mutex::default(),
            job_server: std::sync::Mutex::default(),
        }
    }

    fn settings(changes: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in changes {
            settings.set(key, value, &Origin::flag(*key)).unwrap();
        }
        settings
    }

    fn print(
        settings: &Settings,
        host: &Host,
        network: Network,
        user: Option<Outside<'_>>,
        ids: Ids,
    ) -> String {
        let inputs = ["00000000000000000000000000000000-dash", "11111111111111111111111111111111-source"];
        let program = Exec {
            path: "/nix/store/00000000000000000000000000000000-dash/bin/dash".into(),
            args: vec![b"dash".to_vec(), b"-c".to_vec(), b"echo \"hello\" > $out".to_vec()],
            env: vec![(b"out".to_vec(), b"/nix/store/22222222222222222222222222222222-hello".to_vec())],
            directory: settings.sandbox_build_dir.clone(),
            personality_32: false,
            old_kernel: false,
        };
        let view = View {
            settings,
            varied: &Variations::default(),
            inside: settings.sandbox_build_dir.clone(),
            store_dir: "/nix/store",
            real_store: Path::new("/srv/nix/store"),
            inputs: &inputs.iter().map(|path| path.parse().unwrap()).collect(),
            elsewhere: &BTreeMap::new(),
            shares: network == Network::Loopback,
            scratch: Path::new("/srv/nix/store/hello.drv.chroot/store"),
            build_dir: Path::new("/srv/nix/var/nix/builds/nix-1-0/build"),
            tmp: Path::new("/srv/nix/var/nix/builds/nix-1-0/tmp"),
            root: Path::new("/srv/nix/var/nix/builds/nix-1-0/root"),
            host,
            host_deps: &[],
            hooked: &[],
            user,
            ids,
            network,
            job_server: None,
            program,
        };
        isolated(view).to_string()
    }

    #[test]
    fn without_any_configuration() {
        let shell = bind(Path::new("/usr/bin/busybox"), Path::new("/bin/sh"), Access::ReadOnly);
        let plan = print(&settings(&[]), &host(vec![shell]), Network::Loopback, None, Ids::One);
        test_support::check("plans/default.txt", plan);
    }

    #[test]
    fn with_settings_that_change_it() {
        let settings = settings(&[
            ("build-chroot-dirs", "-/dev /etc/hosts"),
            ("build-isolation", "chroot"),
            ("sandbox-build-dir", "/tmp/work"),
            ("max-build-dir-size", "1M"),
            ("nested-user-namespaces", "true"),
            ("allow-new-privileges", "true"),
        ]);
        let user = Outside { ids: (30001, 30001), groups: &[108] };
        let hosts = bind(Path::new("/etc/hosts"), Path::new("/etc/hosts"), Access::ReadOnly);
        let plan = print(&settings, &host(vec![hosts]), Network::Host, Some(user), Ids::One);
        test_support::check("plans/chosen.txt", plan);
    }

    #[test]
    fn with_a_private_network() {
        let helper = Helper::Pasta;
        let name_servers = ["198.51.100.3", "2001:db8:51::3"].map(|text| text.parse().unwrap()).to_vec();
        let uplink = Uplink { helper, program: "/usr/bin/pasta".into(), ipv6: true, name_servers };
        let mut host = host(vec![]);
        let services = Path::new("/etc/services");
        host.network_files.push(bind(services, services, Access::ReadOnly));
        host.uplink = Some(Ok(uplink));
        let plan = print(&settings(&[]), &host, Network::Private(helper), None, Ids::One);
        test_support::check("plans/private-network.txt", plan);
    }

    #[test]
    fn with_many_users() {
        let user = Outside { ids: (0x3400_0000, 0x3400_0000), groups: &[] };
        let plan = print(&settings(&[]), &host(vec![]), Network::Loopback, Some(user), Ids::Range);
        test_support::check("plans/uid-range.txt", plan);
    }
}
