//! What a build is said to have is what it sees that it has.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "tests look at the host from outside")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use sandbox::{
    Access, BuildUser, BuildUsers, Exec, Filter, Given, Identity, Ids, Isolation, Launcher, Limits,
    Namespace, Network, Op, Plan, Program, Scheme, UserChoice, Withheld,
};
use test_support::{Scratch, Trial, main_with_launcher};

/// As root, the user of every build here, which this process has to itself.
fn builder_ids() -> Option<(u32, u32)> {
    static USER: OnceLock<Option<BuildUser>> = OnceLock::new();
    let take = || {
        let users = BuildUsers::find(&UserChoice { allocate: true, ..UserChoice::default() }).unwrap()?;
        users.try_take(Ids::One).unwrap()
    };
    USER.get_or_init(take).as_ref().map(BuildUser::ids)
}

/// With this argument this program is the builder, and prints what it is in.
const LOOK: &str = "--look";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(LOOK) {
        std::io::stdout().write_all(look().as_bytes()).unwrap();
        return ExitCode::SUCCESS;
    }
    main_with_launcher(
        sandbox::launcher_main,
        vec![
            Trial::test("namespaces_are_those_that_the_builder_is_in", || run(namespaces)),
            Trial::test("the_host_s_network_is_told", || run(host_network)),
            Trial::test("a_private_network_is_told_with_what_connects_it", || run(private_network)),
            Trial::test("a_network_that_is_withheld_is_told_with_why", || run(withheld_network)),
            Trial::test("chroot_has_no_namespaces", || run(chroot)),
            Trial::test("no_isolation_is_told_as_none", || run(none)),
        ],
    )
}

fn run(test: fn(&Launcher)) -> Result<(), libtest_mimic::Failed> {
    test(&Launcher::start()?);
    Ok(())
}

/// Kinds of namespaces by the name that the kernel has for them.
const KINDS: &[(&str, Namespace)] = &[
    ("user", Namespace::User),
    ("mnt", Namespace::Mount),
    ("pid", Namespace::Process),
    ("net", Namespace::Network),
    ("ipc", Namespace::Ipc),
    ("uts", Namespace::HostName),
    ("cgroup", Namespace::Cgroup),
];

/// Namespaces and privileges of this process, a line each.
fn look() -> String {
    let mut text = String::new();
    for (name, _) in KINDS {
        let link = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
        text += &format!("{name} {}\n", link.display());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of_interest = |line: &&str| line.starts_with("NoNewPrivs") || line.starts_with("Seccomp:");
    text.extend(status.lines().filter(of_interest).map(|line| format!("{line}\n")));
    text
}

fn bind(source: &Path, target: &Path, access: Access) -> Op {
    Op::Bind { source: source.to_owned(), target: target.to_owned(), access, optional: false }
}

fn plan(isolation: Isolation, network: Network) -> Plan {
    let mut ops = vec![Op::Proc { target: "/proc".into() }];
    let is_open = isolation == Isolation::None;
    if is_open {
        ops.clear();
    } else {
        let null = Path::new("/dev/null");
        ops.push(bind(null, null, Access::Device));
        let files = sandbox::program(Path::new("/proc/self/exe"), Path::new("/bin/this")).unwrap();
        ops.extend(files.iter().map(|file| bind(&file.source, &file.target, Access::ReadOnly)));
    }
    let this = if is_open { std::env::current_exe().unwrap() } else { PathBuf::from("/bin/this") };
    Plan {
        isolation,
        network,
        identity: Identity::one(1000, 100, builder_ids()),
        limits: Limits::default(),
        filter: Some(Filter { nested_user_namespaces: false, socketcall: false }),
        new_privileges: false,
        ops,
        program: Program::Exec(Exec {
            path: this,
            args: vec![b"this".to_vec(), LOOK.into()],
            env: Vec::new(),
            directory: "/".into(),
            personality_32: false,
            old_kernel: false,
        }),
    }
}

/// What the build was given, and what it saw.
fn start(launcher: &Launcher, plan: &Plan) -> (Given, String) {
    let running = launcher.run(plan).unwrap();
    let given = running.given().clone();
    let mut seen = Vec::new();
    running.follow(&mut |bytes| seen.extend_from_slice(bytes), &mut |_| {}).unwrap();
    (given, String::from_utf8(seen).unwrap())
}

/// The namespaces in which the builder was and this process is not.
fn own(seen: &str) -> BTreeSet<Namespace> {
    let here = look();
    let of = |text: &str, name: &str| {
        text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned)).unwrap()
    };
    let is_own = |name: &str| of(seen, name) != of(&here, name);
    KINDS.iter().filter(|(name, _)| is_own(name)).map(|(_, kind)| *kind).collect()
}

fn namespaces(launcher: &Launcher) {
    let (given, seen) = start(launcher, &plan(Isolation::Namespaces, Network::Loopback));
    assert_eq!(given.scheme, Scheme::Namespaces);
    assert_eq!(given.namespaces, own(&seen), "{seen}");
    assert_eq!(given.unprivileged, seen.contains("NoNewPrivs:\t1"), "{seen}");
    assert!(given.filter.is_some() && seen.contains("Seccomp:\t2"), "{seen}");
    assert!(given.landlock.is_none_or(|version| version >= 6), "{given:?}");
    assert!(given.unprivileged);
    assert_eq!(given.network, Network::Loopback);
    assert_eq!(given.outer, builder_ids());
}

fn host_network(launcher: &Launcher) {
    let (given, seen) = start(launcher, &plan(Isolation::Namespaces, Network::Host));
    assert_eq!(given.namespaces, own(&seen), "{seen}");
    assert_eq!(given.network, Network::Host);
    assert!(given.shortfalls().iter().any(|text| text == "the network is the host's"), "{given:?}");
}

fn private_network(launcher: &Launcher) {
    let uplink = match sandbox::find_uplink(None) {
        Ok(uplink) => uplink,
        Err(closed) => {
            let _ = writeln!(std::io::stderr(), "skipped: private networks: {}", closed.lack.cause);
            return;
        }
    };
    let mut plan = plan(Isolation::Namespaces, Network::Private(uplink.helper));
    plan.ops.push(Op::Connect { helper: uplink.helper, program: uplink.program, ipv6: uplink.ipv6 });
    let (given, seen) = start(launcher, &plan);
    assert_eq!(given.namespaces, own(&seen), "{seen}");
    assert_eq!(given.network, Network::Private(uplink.helper));
    assert_eq!(given.shortfalls(), Vec::<String>::new());
}

fn withheld_network(launcher: &Launcher) {
    let network = Network::Withheld(Withheld::NoHelper);
    let (given, seen) = start(launcher, &plan(Isolation::Namespaces, network));
    assert_eq!(given.namespaces, own(&seen), "{seen}");
    assert_eq!(given.network, network);
}

fn chroot(launcher: &Launcher) {
    if builder_ids().is_none() {
        let _ = writeln!(std::io::stderr(), "skipped: isolation by chroot needs root");
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let (given, seen) = start(launcher, &plan(Isolation::Chroot { root }, Network::Host));
    assert_eq!(given.scheme, Scheme::Chroot);
    assert_eq!(own(&seen), BTreeSet::new(), "{seen}");
    assert_eq!(given.namespaces, BTreeSet::new());
    assert!(given.unprivileged && seen.contains("NoNewPrivs:\t1"), "{seen}");
    assert!(!given.lacks.is_empty());
}

fn none(launcher: &Launcher) {
    let (given, seen) = start(launcher, &plan(Isolation::None, Network::Host));
    assert_eq!((given.scheme, given.namespaces.len()), (Scheme::None, own(&seen).len()), "{seen}");
    assert!(seen.contains("NoNewPrivs:\t1") && given.filter.is_some(), "{seen}");
    // Root without isolation goes on being root.
    assert_eq!(given.unprivileged, builder_ids().is_none());
    let mut open = plan(Isolation::None, Network::Host);
    (open.filter, open.new_privileges) = (None, true);
    let (given, seen) = start(launcher, &open);
    assert!(!given.unprivileged && seen.contains("NoNewPrivs:\t0"), "{seen}");
    assert!(
        given.filter.is_none() && given.shortfalls().iter().any(|text| text.contains("filter")),
        "{given:?}"
    );
}
