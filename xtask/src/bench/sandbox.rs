//! What a sandbox costs, set-up and tear-down together: ours, the bare system calls, and bubblewrap with the same mounts.
//!
//! Each way runs in a process of its own that makes sandboxes one after the other and prints how many seconds all of
//! them took; what it starts with is not counted, as a call of `store` starts once for all its builds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sandbox::{
    Access, BuildUser, BuildUsers, Exec, ExitStatus, Filter, Identity, Ids, Isolation, Launcher, Limits,
    Network, Op, Plan, Program, UserChoice,
};

use super::Bench;
use super::measure::{Contender, this_part};
use super::stores::SHELL;

/// The bare system calls; see the head of that file.
const BARE: &str = include_str!("bare.c");

/// Sandboxes that a way makes in one process.
pub(super) const COUNT: usize = 100;

/// More arguments than this bubblewrap does not take.
const MOST_FOR_BUBBLEWRAP: usize = 2000;

/// Ours first.
pub(super) fn contenders(bench: &Bench, inputs: usize) -> Result<Vec<Contender>> {
    let directory = furnish(bench.scratch.path(), inputs)?;
    let bare = compile(bench.scratch.path())?;
    let told = |name, make: Box<dyn Fn() -> Result<Command>>| Contender {
        tells: true,
        ..Contender::plain(name, make)
    };
    let arguments = [COUNT.to_string(), directory.to_string_lossy().into_owned(), inputs.to_string()];
    let part = |name: &'static str| {
        let arguments = arguments.clone();
        told(
            name,
            Box::new(move || {
                let mut command = this_part(name)?;
                command.args(&arguments);
                Ok(command)
            }),
        )
    };
    let (given, bare_arguments) = (part("sandboxes"), arguments.clone());
    let mut contenders = vec![given];
    contenders.push(told(
        "bare",
        Box::new(move || {
            let mut command = Command::new(&bare);
            command.args(&bare_arguments);
            Ok(command)
        }),
    ));
    if inputs <= MOST_FOR_BUBBLEWRAP && Command::new("bwrap").arg("--version").output().is_ok() {
        contenders.push(part("bubblewrap"));
    }
    Ok(contenders)
}

/// Makes what the sandboxes show, unless it is there.
fn furnish(scratch: &Path, inputs: usize) -> Result<PathBuf> {
    let directory = scratch.join(format!("sandbox-{inputs}"));
    if !directory.exists() {
        for name in ["base", "inputs", "build", "tmp"] {
            fs::create_dir_all(directory.join(name))?;
        }
        for number in 0..inputs {
            fs::create_dir(directory.join("inputs").join(format!("{number:032}-input")))?;
        }
        ensure!(Path::new(SHELL).exists(), "a sandbox without libraries needs a static shell, `{SHELL}`");
        fs::copy(SHELL, directory.join("shell"))?;
        // Builders of root are other users.
        fs::set_permissions(scratch, fs::Permissions::from_mode(0o755))?;
    }
    Ok(directory)
}

fn compile(scratch: &Path) -> Result<PathBuf> {
    let (source, program) = (scratch.join("bare.c"), scratch.join("bare"));
    fs::write(&source, BARE)?;
    let mut compiler = Command::new("cc");
    let status =
        compiler.arg("-O2").arg("-o").arg(&program).arg(&source).status().context("cannot run `cc`")?;
    ensure!(status.success(), "`cc` does not compile `{}`", source.display());
    Ok(program)
}

/// Runs `one` once, and then that many times against the clock; prints what `count` times would take.
fn tell(times: usize, count: usize, one: impl Fn() -> Result<()>) -> Result<()> {
    one()?;
    let start = Instant::now();
    (0..times).try_for_each(|_| one())?;
    println!("{}", start.elapsed().as_secs_f64() * count as f64 / times as f64);
    Ok(())
}

/// Makes sandboxes with the launcher that `store build` uses.
pub(super) fn ours(count: usize, directory: &Path, inputs: usize) -> Result<()> {
    let launcher = Launcher::start()?;
    let users = BuildUsers::find(&UserChoice { allocate: true, ..UserChoice::default() })?;
    let user =
        users.map(|users| launcher.take_user(&users, Ids::One, None, &mut || {})).transpose()?.flatten();
    let plan = plan(directory, inputs, user.as_ref());
    tell(count, count, || {
        let exit = launcher.run_as(&plan, user.as_ref())?.follow(&mut |_| {}, &mut |_| {})?;
        ensure!(exit.status == ExitStatus::Code(0), "a sandbox ended with {:?}", exit.status);
        Ok(())
    })
}

/// The operations of a build without any configuration.
fn plan(directory: &Path, inputs: usize, user: Option<&BuildUser>) -> Plan {
    let bind = |source: &Path, target: &str, access| Op::Bind {
        source: source.to_owned(),
        target: target.into(),
        access,
        optional: false,
    };
    let mut ops = vec![
        Op::Gather {
            base: directory.join("base"),
            target: "/nix/store".into(),
            from: directory.join("inputs"),
            names: (0..inputs).map(|number| format!("{number:032}-input")).collect(),
        },
        bind(&directory.join("tmp"), "/tmp", Access::ReadWrite),
        bind(&directory.join("build"), "/build", Access::ReadWrite),
    ];
    for device in ["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"] {
        ops.push(bind(Path::new(device), device, Access::Device));
    }
    let links = ["fd", "stdin", "stdout", "stderr", "ptmx"];
    ops.extend(
        links.map(|name| Op::Symlink {
            target: Path::new("/dev").join(name),
            points_at: "/proc/self/fd".into(),
        }),
    );
    let file = |name: &str| Op::File {
        target: Path::new("/etc").join(name),
        contents: b"nobody:x:65534:65534:Nobody:/:/noshell\n".to_vec(),
        mode: 0o444,
    };
    ops.extend([
        Op::Tmpfs { target: "/dev/shm".into(), mode: 0o1777, size: Some("50%".to_owned()) },
        Op::DevPts { target: "/dev/pts".into() },
        Op::Proc { target: "/proc".into() },
        Op::ReadOnly { target: "/proc/sys".into() },
        Op::Mask { target: "/proc/keys".into() },
        Op::Mask { target: "/proc/key-users".into() },
        file("passwd"),
        file("group"),
        file("hosts"),
        bind(&directory.join("shell"), "/bin/sh", Access::ReadOnly),
        Op::HostName { host: "localhost".to_owned(), domain: "(none)".to_owned() },
        Op::Loopback,
        Op::ReadOnly { target: "/".into() },
    ]);
    Plan {
        isolation: Isolation::Namespaces,
        network: Network::Loopback,
        identity: Identity::one(1000, 100, user.map(BuildUser::ids)),
        limits: Limits::default(),
        filter: Some(Filter { nested_user_namespaces: false, socketcall: false }),
        new_privileges: false,
        ops,
        program: Program::Exec(Exec {
            path: "/bin/sh".into(),
            args: ["sh", "-c", ":"].map(|word| word.as_bytes().to_vec()).to_vec(),
            env: Vec::new(),
            directory: "/build".into(),
            personality_32: false,
            old_kernel: false,
        }),
    }
}

/// Makes sandboxes with bubblewrap, which is started for each.
pub(super) fn bubblewrap(count: usize, directory: &Path, inputs: usize) -> Result<()> {
    let at = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let mut words: Vec<String> =
        ["--unshare-all", "--hostname", "localhost", "--clearenv", "--die-with-parent"]
            .map(str::to_owned)
            .to_vec();
    let mut add = |flag: &str, source: &str, target: &str| {
        words.extend([flag, source, target].map(str::to_owned));
    };
    add("--bind", &at("base"), "/nix/store");
    for number in 0..inputs {
        let name = format!("{number:032}-input");
        add("--ro-bind", &at(&format!("inputs/{name}")), &format!("/nix/store/{name}"));
    }
    add("--bind", &at("tmp"), "/tmp");
    add("--bind", &at("build"), "/build");
    add("--ro-bind", &at("shell"), "/bin/sh");
    words.extend(
        ["--dev", "/dev", "--proc", "/proc", "--chdir", "/build", "/bin/sh", "-c", ":"].map(str::to_owned),
    );
    // Its time grows with the square of the mounts; what some take is told as if it were all.
    let some = if inputs < 100 { count } else { count.div_ceil(20) };
    tell(some, count, || {
        let status = Command::new("bwrap").args(&words).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "bubblewrap ended with {status}");
        Ok(())
    })
}
