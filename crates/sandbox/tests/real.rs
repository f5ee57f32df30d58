//! Sandboxes for real: everything is observed from inside a build.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "tests look at the host from outside")]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use sandbox::{
    Access, Allowance, BuildUser, BuildUsers, Error, Exec, Exit, ExitStatus, Filter, HostProgram, Identity,
    Ids, Isolation, Launcher, Limits, Network, Notice, Op, Overrun, Plan, Program, Resource, Step,
    UserChoice,
};
use test_support::{Scratch, Trial, main_with_launcher};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(SHOW_KEYRING) => {
            tell(&session_keyring().to_string());
            return ExitCode::SUCCESS;
        }
        Some(OUTLIVE) => outlive(),
        _ => {}
    }
    main_with_launcher(
        || sandbox::launcher_main_with(FUNCTIONS),
        vec![
            Trial::test("a_builder_sees_its_own_world_only", || run(sees_its_own_world_only)),
            Trial::test("inputs_and_kernel_settings_cannot_be_written", || run(cannot_write)),
            Trial::test("a_failed_step_is_named_with_its_path", || run(names_the_failed_step)),
            Trial::test("a_program_that_is_absent_is_named", || run(names_the_absent_program)),
            Trial::test("status_signal_and_usage_are_reported", || run(reports_the_end)),
            Trial::test("a_function_runs_in_the_place_of_a_program", || run(runs_functions)),
            Trial::test("dropping_a_running_build_kills_it", || run(dropping_kills)),
            Trial::test("a_builder_writes_to_its_log_by_its_path", || run(writes_to_its_log)),
            Trial::test("a_program_of_the_host_has_its_descriptors_and_ends_when_it_should", || {
                run(runs_on_host)
            }),
            Trial::test("a_builder_has_no_keys_of_the_caller", || {
                has_no_keys();
                Ok(())
            }),
            Trial::test("no_builder_outlives_the_launcher", || run(nothing_outlives)),
            Trial::test("many_builds_run_at_once", || run(many_at_once)),
            Trial::test("chroot_isolation_undoes_its_mounts", || run(chroot_undoes)),
            Trial::test("without_isolation_nothing_survives_the_build", || run(none_leaves_nothing)),
        ],
    )
}

fn on_host(script: &str, patience: Duration) -> HostProgram {
    let exec = Exec {
        path: "/bin/sh".into(),
        args: ["sh", "-c", script].map(|word| word.as_bytes().to_vec()).to_vec(),
        env: vec![(b"WORD".to_vec(), b"hello".to_vec())],
        directory: "/".into(),
        personality_32: false,
        old_kernel: false,
    };
    HostProgram { exec, patience, takes_all_along: true, user: None }
}

fn runs_on_host(launcher: &Launcher) {
    let (mut input, to) = std::io::pipe().unwrap();
    let ends = |script: &str, patience| {
        let (mut from, output) = std::io::pipe().unwrap();
        let process = launcher.run_on_host(&on_host(script, patience), &[(4, output.as_fd())]).unwrap();
        drop(output);
        let mut first = [0; 1];
        from.read_exact(&mut first).unwrap();
        (process, from, first)
    };
    let long = Duration::from_secs(600);
    // It has what it is given and nothing else.
    let (process, mut from, _) = ends("echo -n .$WORD >&4; test ! -e /dev/fd/3 && exit 7", long);
    assert_eq!(process.wait().unwrap(), ExitStatus::Code(7));
    let mut rest = String::new();
    from.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "hello");
    // Asked to end, it may do so in its own way; if it does not, it is killed, with what it has started.
    let (process, ..) = ends("trap 'exit 3' TERM; echo >&4; while :; do sleep 0.1; done", long);
    process.end();
    assert_eq!(process.wait().unwrap(), ExitStatus::Code(3));
    let (process, mut from, _) = ends("trap '' TERM; echo >&4; sleep 600", Duration::from_millis(50));
    drop(process);
    // Nobody has the other end any more.
    from.read_to_string(&mut rest).unwrap();
    let absent =
        HostProgram { exec: Exec { path: "/absent".into(), ..on_host("", long).exec }, ..on_host("", long) };
    match launcher.run_on_host(&absent, &[]).unwrap_err() {
        Error::Setup { step: Step::Execute, target, .. } => assert_eq!(target, Path::new("/absent")),
        error => panic!("{error}"),
    }
    // What reads from this process sees its end.
    let process = launcher.run_on_host(&on_host("cat; exit 5", long), &[(0, input.as_fd())]).unwrap();
    drop(to);
    assert_eq!(process.wait().unwrap(), ExitStatus::Code(5));
    assert_eq!(input.read(&mut [0]).unwrap(), 0);
    // What comes out of its pipes is passed on until it has ended, or has used up what it may.
    let follows = |script: &str, allowance| {
        let (from, output) = std::io::pipe().unwrap();
        let process = launcher.run_on_host(&on_host(script, long), &[(2, output.as_fd())]).unwrap();
        drop(output);
        let mut heard = Vec::new();
        let end = process.follow(vec![from.into()], allowance, None, &mut |place, bytes| {
            assert_eq!(place, 0);
            heard.extend_from_slice(bytes);
        });
        (end.unwrap(), String::from_utf8(heard).unwrap())
    };
    let (end, heard) = follows("sleep 600 & echo one >&2; echo two >&2; exit 4", Allowance::default());
    assert_eq!((end, heard.as_str()), (ExitStatus::Code(4), "one\ntwo\n"));
    let silent = Allowance { silence: Some(Duration::from_millis(200)), ..Allowance::default() };
    let (end, heard) = follows("echo one >&2; sleep 600", silent);
    assert_eq!((end, heard.as_str()), (ExitStatus::Overran(Overrun::Silence), "one\n"));
    let (process, ..) = ends("echo >&4; sleep 600", long);
    launcher.stop();
    assert_eq!(process.wait().unwrap(), ExitStatus::Signal(15));
    assert!(matches!(launcher.run_on_host(&on_host("", long), &[]), Err(Error::LauncherGone)));
}

/// What runs in a sandbox without being a program.
const FUNCTIONS: &[(&str, sandbox::Function)] = &[
    // The first process of its namespace, and nothing open but what a program has, and the directory that is read.
    ("looks-around", |input| {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        (std::process::id() == 1 && open == 4 && input == b"input").into()
    }),
    ("panics", |_| panic!("on purpose")),
];

fn runs_functions(launcher: &Launcher) {
    // Its descriptors must not reach another one.
    let other = launcher.run(&plan("while :; do :; done")).unwrap();
    for (name, status) in [("looks-around", 1), ("panics", 101), ("unknown", 127)] {
        let program = Program::Function { name: name.to_owned(), input: b"input".to_vec() };
        let running = launcher.run(&Plan { program, ..plan("") }).unwrap();
        let mut said = Vec::new();
        let exit = running.follow(&mut |bytes| said.extend_from_slice(bytes), &mut |_| {}).unwrap();
        assert_eq!(exit.status, ExitStatus::Code(status), "{name}: {}", String::from_utf8_lossy(&said));
    }
    drop(other);
    // It goes on launching.
    let exit = launcher.run(&plan("exit 3")).unwrap().follow(&mut |_| {}, &mut |_| {}).unwrap();
    assert_eq!(exit.status, ExitStatus::Code(3));
}

/// Arguments with which this program is what runs in a sandbox.
const SHOW_KEYRING: &str = "--show-keyring";
const OUTLIVE: &str = "--outlive";

/// A sandbox that runs this program.
fn plan_of_this(argument: &str) -> Plan {
    let mut plan = plan("");
    let at = plan.ops.len() - 1;
    for file in sandbox::program(Path::new("/proc/self/exe"), Path::new("/bin/this")).unwrap() {
        if plan.ops.iter().all(|op| !matches!(op, Op::Bind { target, .. } if *target == file.target)) {
            let (source, target) = (file.source, file.target);
            plan.ops.insert(at, Op::Bind { source, target, access: Access::ReadOnly, optional: false });
        }
    }
    if let Program::Exec(exec) = &mut plan.program {
        exec.path = path("/bin/this");
        exec.args = vec![b"this".to_vec(), argument.as_bytes().to_vec()];
    }
    plan
}

/// Prints a line, which is what a builder is for here.
fn tell(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The number of this thread's session keyring, made if it has none; negative where there are none.
#[expect(unsafe_code, reason = "no safe wrapper for keyrings")]
fn session_keyring() -> i64 {
    // SAFETY: the call takes integers only.
    unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_GET_KEYRING_ID, libc::KEY_SPEC_SESSION_KEYRING, 1) }
}

/// What a builder does that wants to go on when its launcher has died.
#[expect(unsafe_code, reason = "no safe wrapper among what tests depend on")]
fn outlive() -> ! {
    // SAFETY: the call takes integers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
    tell(OUTLIVE);
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

fn run(test: fn(&Launcher)) -> Result<(), libtest_mimic::Failed> {
    test(&Launcher::start()?);
    Ok(())
}

/// As root, the user of every build here that does not end all that its user runs.
fn builder_ids() -> Option<(u32, u32)> {
    static USER: OnceLock<Option<BuildUser>> = OnceLock::new();
    USER.get_or_init(own_user).as_ref().map(BuildUser::ids)
}

/// As root, a user that one build has to itself.
fn own_user() -> Option<BuildUser> {
    let users = BuildUsers::find(&UserChoice { allocate: true, ..UserChoice::default() }).unwrap()?;
    users.try_take(Ids::One).unwrap()
}

fn path(text: &str) -> PathBuf {
    PathBuf::from(text)
}

/// A sandbox with the shell of the host.
fn plan(script: &str) -> Plan {
    let mut ops = vec![
        Op::Dir { target: path("/work"), mode: 0o755 },
        Op::Tmpfs { target: path("/tmp"), mode: 0o1777, size: None },
        Op::Bind {
            source: path("/dev/null"),
            target: path("/dev/null"),
            access: Access::Device,
            optional: false,
        },
        Op::Proc { target: path("/proc") },
        Op::ReadOnly { target: path("/proc/sys") },
        Op::HostName { host: "localhost".into(), domain: "(none)".into() },
        Op::Loopback,
        Op::Limit { resource: Resource::Core, soft: Some(0), hard: None },
    ];
    let shell = sandbox::find_shell().expect("tests need a shell");
    for file in sandbox::program(&shell, Path::new("/bin/sh")).unwrap() {
        ops.push(Op::Bind {
            source: file.source,
            target: file.target,
            access: Access::ReadOnly,
            optional: false,
        });
    }
    ops.push(Op::ReadOnly { target: path("/") });
    Plan {
        isolation: Isolation::Namespaces,
        network: Network::Loopback,
        identity: Identity::one(1000, 100, builder_ids()),
        limits: Limits::default(),
        filter: Some(Filter { nested_user_namespaces: false, socketcall: false }),
        new_privileges: false,
        ops,
        program: Program::Exec(Exec {
            path: path("/bin/sh"),
            args: vec![b"sh".to_vec(), b"-c".to_vec(), script.as_bytes().to_vec()],
            env: vec![(b"A".to_vec(), b"1".to_vec())],
            directory: path("/"),
            personality_32: false,
            old_kernel: false,
        }),
    }
}

fn output(launcher: &Launcher, plan: &Plan) -> (Exit, String) {
    let mut output = Vec::new();
    let exit = launcher
        .run(plan)
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
        .follow(&mut |bytes| output.extend_from_slice(bytes), &mut no_warning)
        .unwrap();
    (exit, String::from_utf8_lossy(&output).into_owned())
}

fn sees_its_own_world_only(launcher: &Launcher) {
    let script = "echo /*; echo pid $$; read name </proc/sys/kernel/hostname; echo host $name; \
        while read a b c; do case $a in Cap*|NoNew*|Uid*|Gid*) echo $a $b;; esac; done </proc/self/status; \
        for p in /proc/[0-9]*; do echo $p; done; while read a b; do echo net $a; done </proc/net/dev; \
        for f in /proc/self/fd/*; do echo $f; done";
    let (exit, text) = output(launcher, &plan(script));
    assert_eq!(exit.status, ExitStatus::Code(0), "{text}");
    let has = |line: &str| assert!(text.lines().any(|l| l == line), "no `{line}` in:\n{text}");
    has("pid 1");
    has("host localhost");
    has("CapEff: 0000000000000000");
    has("CapBnd: 0000000000000000");
    has("CapPrm: 0000000000000000");
    has("NoNewPrivs: 1");
    has("Uid: 1000");
    has("Gid: 100");
    assert_eq!(text.lines().filter(|l| l.starts_with("/proc/") && !l.contains("/fd/")).count(), 1, "{text}");
    assert_eq!(text.lines().filter(|l| l.starts_with("net ") && l.ends_with(':')).count(), 1, "{text}");
    assert!(!text.contains("/usr") && !text.contains("/home"), "{text}");
    for stray in 3..20 {
        // The shell's own descriptor of the directory it lists, and of the file it reads, are its own.
        assert!(stray >= 10 || stray == 3 || !text.contains(&format!("/fd/{stray}\n")), "{text}");
    }
}

fn cannot_write(launcher: &Launcher) {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.join("input")).unwrap();
    std::fs::write(scratch.join("input/file"), "x").unwrap();
    std::os::unix::fs::chown(scratch.join("input/file"), builder_ids().map(|ids| ids.0), None).unwrap();
    let mut plan = plan(
        "for f in /input/new /input/file /new /proc/sys/kernel/hostname /proc/sys/vm/overcommit_memory; do \
         (: >>$f) 2>/dev/null && echo wrote $f; done; : > /tmp/ok && echo done",
    );
    let at = plan.ops.len() - 1;
    plan.ops.insert(
        at,
        Op::Bind {
            source: scratch.join("input"),
            target: path("/input"),
            access: Access::ReadOnly,
            optional: false,
        },
    );
    let (_, text) = output(launcher, &plan);
    assert_eq!(text, "done\n");
}

fn names_the_failed_step(launcher: &Launcher) {
    let mut plan = plan("true");
    let missing = path("/nowhere/at/all");
    plan.ops.insert(
        0,
        Op::Bind { source: missing.clone(), target: path("/x"), access: Access::ReadOnly, optional: false },
    );
    match launcher.run(&plan).err() {
        Some(Error::Setup { step: Step::OpenSource, target, source }) => {
            assert_eq!(target, missing);
            assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
}

fn names_the_absent_program(launcher: &Launcher) {
    let mut plan = plan("true");
    if let Program::Exec(exec) = &mut plan.program {
        exec.path = path("/bin/absent");
    }
    match launcher.run(&plan).err() {
        Some(Error::Setup { step: Step::Execute, target, .. }) => assert_eq!(target, path("/bin/absent")),
        other => panic!("{other:?}"),
    }
}

fn reports_the_end(launcher: &Launcher) {
    assert_eq!(output(launcher, &plan("exit 7")).0.status, ExitStatus::Code(7));
    let exit = output(launcher, &plan("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")).0;
    assert!(exit.user_time.as_micros() > 0 && exit.peak_memory_bytes > 0, "{exit:?}");
    let mut large = plan("i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo line $i of a long text; done");
    large.network = Network::Host;
    large.ops.retain(|op| *op != Op::Loopback);
    assert_eq!(output(launcher, &large).1.lines().count(), 5000);
}

fn dropping_kills(launcher: &Launcher) {
    let scratch = Scratch::new();
    let mut plan = plan("echo $$ > /out/pid; while :; do : dropped; done");
    let at = plan.ops.len() - 1;
    std::os::unix::fs::chown(scratch.path(), builder_ids().map(|ids| ids.0), None).unwrap();
    plan.ops.insert(
        at,
        Op::Bind {
            source: scratch.path().to_owned(),
            target: path("/out"),
            access: Access::ReadWrite,
            optional: false,
        },
    );
    let running = launcher.run(&plan).unwrap();
    wait_until(|| scratch.join("pid").exists());
    drop(running);
    wait_until(|| processes_running("do : dropped") == 0);
}

fn writes_to_its_log(launcher: &Launcher) {
    let script = "echo out > /proc/self/fd/1; echo error > /proc/self/fd/2";
    let (exit, text) = output(launcher, &plan(script));
    assert_eq!((exit.status, text.as_str()), (ExitStatus::Code(0), "out\nerror\n"));
}

fn has_no_keys() {
    let own = session_keyring();
    if own < 0 {
        let _ = writeln!(std::io::stderr(), "skipped: no keyrings here");
        return;
    }
    let mut plan = plan_of_this(SHOW_KEYRING);
    // Which would say that there are none.
    plan.filter = None;
    let (_, text) = output(&Launcher::start().unwrap(), &plan);
    let seen: i64 = text.trim().parse().unwrap();
    assert!(seen > 0 && seen != own, "{seen} is the caller's");
}

fn nothing_outlives(launcher: &Launcher) {
    let running = launcher.run(&plan_of_this(OUTLIVE)).unwrap();
    let builder = running_with(&format!("this\0{OUTLIVE}")).pop().expect("it was started");
    let status = std::fs::read_to_string(builder.join("status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    let parent: i32 = parent.trim().parse().unwrap();
    let mut killed = false;
    let ended = running.follow(
        &mut |_| {
            // It has said that it is ready.
            killed = true;
            kill(parent);
        },
        &mut no_warning,
    );
    assert!(killed && matches!(ended, Err(Error::LauncherGone)), "{ended:?}");
    // What is left of a dead process has no command line.
    assert_eq!(std::fs::read(builder.join("cmdline")).unwrap_or_default(), b"");
}

#[expect(unsafe_code, reason = "no safe wrapper among what tests depend on")]
fn kill(pid: i32) {
    // SAFETY: the call takes integers only.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it did not happen");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn processes_running(text: &str) -> usize {
    running_with(text).len()
}

/// The directories in `/proc` of processes with this text in their command line.
fn running_with(text: &str) -> Vec<PathBuf> {
    let has_text = |directory: &PathBuf| {
        let line = std::fs::read(directory.join("cmdline")).unwrap_or_default();
        line.windows(text.len()).any(|window| window == text.as_bytes())
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(has_text)
        .collect()
}

fn many_at_once(launcher: &Launcher) {
    std::thread::scope(|scope| {
        for worker in 0..8 {
            scope.spawn(move || {
                for round in 0..10 {
                    let (exit, text) = output(launcher, &plan(&format!("echo {worker} {round}")));
                    assert_eq!((exit.status, text), (ExitStatus::Code(0), format!("{worker} {round}\n")));
                }
            });
        }
    });
}

fn no_warning(notice: Notice) {
    assert!(matches!(notice, Notice::Detail(_)), "{notice:?}");
}

fn mount_table() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn chroot_undoes(launcher: &Launcher) {
    if builder_ids().is_none() {
        let _ = writeln!(std::io::stderr(), "skipped: isolation by chroot is for root");
        return;
    }
    let before = mount_table();
    let root = Scratch::new();
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut plan = plan("echo /*; (: > /bin/sh) 2>/dev/null && echo wrote; (while :; do :; done)& exit 3");
    plan.isolation = Isolation::Chroot { root: root.path().to_owned() };
    let user = own_user();
    plan.identity = Identity::one(1000, 100, user.as_ref().map(BuildUser::ids));
    let (exit, text) = output(launcher, &plan);
    assert_eq!(exit.status, ExitStatus::Code(3), "{text}");
    assert!(text.starts_with("/bin ") && !text.contains("/usr") && !text.contains("wrote"), "{text}");
    assert_eq!(mount_table(), before);
    let mut running = plan.clone();
    if let Program::Exec(exec) = &mut running.program {
        exec.args[2] = b"while :; do : here; done".to_vec();
    }
    drop(launcher.run(&running).unwrap());
    wait_until(|| mount_table() == before && processes_running("do : here") == 0);
}

fn none_leaves_nothing(launcher: &Launcher) {
    let mut plan = plan("(while :; do : survivor; done)& exit 0");
    plan.isolation = Isolation::None;
    let user = own_user();
    plan.identity = Identity::one(1000, 100, user.as_ref().map(BuildUser::ids));
    let (exit, _) = output(launcher, &plan);
    assert_eq!(exit.status, ExitStatus::Code(0));
    assert_eq!(processes_running("do : survivor"), 0);
}
