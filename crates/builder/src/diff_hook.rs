//! `diff-hook`: a program of the host that looks at two outputs that should have been the same.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::{Allowance, Exec, ExitStatus, HostProgram, HostUser};

use crate::build::Message;
use crate::build_dir;
use crate::observe::Teller;
use crate::outputs::Finished;
use crate::request::chain;
use crate::work::Work;

/// So much of what it says is passed on.
const MOST_OUTPUT: usize = 64 << 10;
/// After SIGTERM, until SIGKILL.
const PATIENCE: Duration = Duration::from_millis(500);
/// What it is given of the caller's variables where it is not the caller.
const VARIABLES: [&[u8]; 5] = [b"PATH", b"LANG", b"LC_ALL", b"TERM", b"TZ"];

/// Whether there is one, and it is to be run.
pub(crate) fn is_wanted(work: &Work<'_>) -> bool {
    let settings = work.context.settings;
    settings.run_diff_hook && settings.diff_hook.is_some()
}

/// Runs the hook, if that is wanted, and returns what it has said. That it fails changes nothing, and is told.
///
/// As root, it runs as the user that the builder was: outputs are made by whoever wrote the derivation, and what looks at
/// them may be made to do anything.
pub(crate) fn run(
    work: &Work<'_>,
    finished: &Finished,
    before: &Path,
    now: &Path,
    tell: &mut Teller<'_>,
) -> Vec<u8> {
    let Some(program) = work.context.settings.diff_hook.as_ref().filter(|_| is_wanted(work)) else {
        return Vec::new();
    };
    let mut said = Vec::new();
    let problem = match follow(work, finished, (program, before, now), &mut said) {
        Ok(ExitStatus::Code(0)) => return said,
        Ok(ExitStatus::Code(code)) => format!("it returned {code}"),
        Ok(ExitStatus::Signal(signal)) => format!("it was killed by signal {signal}"),
        Ok(ExitStatus::Overran(_) | ExitStatus::GivenUp) => "it took too long".to_owned(),
        Err(error) => chain(&error),
    };
    tell(Message::Warning(format!("the `diff-hook` `{}` failed: {problem}", program.display())));
    said
}

fn follow(
    work: &Work<'_>,
    finished: &Finished,
    (program, before, now): (&Path, &Path, &Path),
    said: &mut Vec<u8>,
) -> Result<ExitStatus, sandbox::Error> {
    let user = finished.prepared.user.as_ref();
    let build_dir = finished.prepared.build_dir.as_path();
    if user.is_some() {
        // The build directory is that user's, and nobody else can look into it; what it is in is ours. If this fails, the
        // hook finds out.
        let _ = build_dir::set_mode(finished.prepared.top.path(), 0o711);
    }
    let drv = work.context.store.store_dir().print(work.request.drv);
    let name = program.file_name().unwrap_or_default();
    let args = [name, before.as_os_str(), now.as_os_str(), OsStr::new(&drv), build_dir.as_os_str()];
    let is_given = |name: &[u8]| user.is_none() || VARIABLES.contains(&name);
    let variables = work.context.host.environment.iter().filter(|(name, _)| is_given(name));
    let description = HostProgram {
        exec: Exec {
            path: program.to_owned(),
            args: args.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
            env: variables.map(|(name, value)| (name.clone(), value.clone())).collect(),
            directory: PathBuf::from("/"),
            personality_32: false,
            old_kernel: false,
        },
        patience: PATIENCE,
        takes_all_along: true,
        user: user.map(|user| HostUser { uid: user.ids().0, gid: user.ids().1, groups: Vec::new() }),
    };
    let (output, their_output) = io::pipe().map_err(|source| sandbox::Error::Talk { source })?;
    let descriptors = [(1, their_output.as_fd()), (2, their_output.as_fd())];
    let process = work.context.launcher.run_on_host(&description, &descriptors)?;
    drop(their_output);
    process.follow(vec![output.into()], Allowance::default(), None, &mut |_, bytes| {
        said.extend_from_slice(&bytes[..bytes.len().min(MOST_OUTPUT - said.len())]);
    })
}
