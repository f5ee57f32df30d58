//! What runs in the place of a builder: a command, or a shell that is looked for where the builder would see it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sandbox::{Exec, Op, Plan};

use crate::failure::BuildFailure;
use crate::work::Work;

/// Programs that read commands.
const SHELLS: [&str; 10] =
    ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "busybox", "busybox-static"];

/// What runs in the place of a builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// A shell: this file of the sandbox, or one that is there.
    Shell(Option<PathBuf>),
    /// A command with its arguments, looked for in the `PATH` of the builder's environment.
    Command(Vec<Vec<u8>>),
}

/// Returns what is to run, with all else as the builder has it.
pub(crate) fn exec(work: &Work<'_>, plan: &Plan, builder: &Exec, runs: &Runs) -> Result<Exec, BuildFailure> {
    let sight = Sight { work, plan };
    let (path, args) = match runs {
        Runs::Shell(Some(shell)) => (shell.clone(), vec![name(shell)]),
        Runs::Shell(None) => {
            let shell = sight.shell(&builder.path);
            let shell = shell.ok_or_else(|| BuildFailure::NoShell { drv: work.request.drv.clone() })?;
            let name = name(&shell);
            (shell, vec![name])
        }
        Runs::Command(words) => (sight.command(builder, words)?, words.clone()),
    };
    Ok(Exec { path, args, ..builder.clone() })
}

/// What a shell is called. That of a program of many names is the one it is wanted for.
fn name(shell: &Path) -> Vec<u8> {
    let name = shell.file_name().unwrap_or_default().as_bytes();
    if name.starts_with(b"busybox") { b"sh".to_vec() } else { name.to_vec() }
}

/// What can be seen from inside.
struct Sight<'a> {
    work: &'a Work<'a>,
    plan: &'a Plan,
}

impl Sight<'_> {
    /// The first shell there is: that of the sandbox, the builder, one of its inputs.
    fn shell(&self, builder: &Path) -> Option<PathBuf> {
        let is_shell = builder.file_name().is_some_and(|name| SHELLS.iter().any(|shell| name == *shell));
        let builder = is_shell.then(|| builder.to_owned());
        let of_inputs = ["bin/bash", "bin/sh"].into_iter().flat_map(|shell| {
            let store_dir = self.work.context.store.store_dir();
            self.work.inputs.iter().map(move |input| Path::new(&store_dir.print(input)).join(shell))
        });
        let sh = PathBuf::from("/bin/sh");
        [sh].into_iter().chain(builder).chain(of_inputs).find(|path| self.is_there(path))
    }

    /// The file that a command means, as a shell would find it.
    fn command(&self, builder: &Exec, words: &[Vec<u8>]) -> Result<PathBuf, BuildFailure> {
        let command = Path::new(OsStr::from_bytes(words.first().map(Vec::as_slice).unwrap_or_default()));
        if command.as_os_str().as_bytes().contains(&b'/') {
            return Ok(command.to_owned());
        }
        let path = builder.env.iter().find(|(name, _)| name == b"PATH");
        let path = path.map(|(_, value)| value.as_slice()).unwrap_or_default();
        let directories = path.split(|byte| *byte == b':').map(|text| Path::new(OsStr::from_bytes(text)));
        let mut candidates = directories.map(|directory| directory.join(command));
        candidates.find(|file| self.is_there(file)).ok_or_else(|| BuildFailure::NoCommand {
            drv: self.work.request.drv.clone(),
            command: command.to_string_lossy().into_owned(),
            path: String::from_utf8_lossy(path).into_owned(),
        })
    }

    fn is_there(&self, inside: &Path) -> bool {
        self.on_host(inside).is_some_and(|path| fs::symlink_metadata(path).is_ok())
    }

    /// Where on the host a file is that is seen at `inside`.
    fn on_host(&self, inside: &Path) -> Option<PathBuf> {
        let store = self.work.context.store;
        if let Ok(below) = inside.strip_prefix(store.store_dir().as_str()) {
            let mut names = below.iter();
            let base = names.next()?.to_str()?.parse().ok()?;
            let place = || store.place_of(&base);
            // Joining an empty path would add a slash.
            let found = || names.fold(place(), |path, name| path.join(name));
            return self.work.inputs.contains(&base).then(found);
        }
        let binds = self.plan.ops.iter().filter_map(|op| match op {
            Op::Bind { source, target, .. } => Some((target, source, inside.strip_prefix(target).ok()?)),
            _ => None,
        });
        let (_, source, rest) = binds.max_by_key(|(target, ..)| target.components().count())?;
        // Joining an empty path would add a slash.
        Some(if rest.as_os_str().is_empty() { source.clone() } else { source.join(rest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_of_many_names_is_called_by_the_one_it_is_wanted_for() {
        assert_eq!(name(Path::new("/nix/store/x/bin/busybox-static")), b"sh");
        assert_eq!(name(Path::new("/bin/bash")), b"bash");
    }
}
