//! `pre-build-hook`: a program that may show a build more of the host, before its sandbox is made.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use local_store::Wait;
use sandbox::{Access, ExitStatus, Op};

use crate::build::Message;
use crate::control::Control;
use crate::failure::BuildFailure;
use crate::host_program::{Call, told};
use crate::work::Work;

/// Runs the hook, if there is one, and returns what it wants to be shown. `sandbox` is the directory in which the root of
/// an isolated build is made.
pub(crate) fn run(
    work: &Work<'_>,
    sandbox: Option<&Path>,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<Vec<Op>, BuildFailure> {
    let context = work.context;
    let Some(program) = &context.settings.pre_build_hook else { return Ok(Vec::new()) };
    let drv = context.store.store_dir().print(work.request.drv).into_bytes();
    let sandbox = sandbox.map(|path| path.as_os_str().as_bytes().to_vec());
    let call = Call {
        program,
        args: std::iter::once(drv).chain(sandbox).collect(),
        env: context.host.environment.clone(),
    };
    tell(Message::Waiting(Wait::Hook { program: program.clone() }));
    let mut on_line = |line: &[u8]| tell(Message::Output(&[b"pre-build-hook: ", line, b"\n"].concat()));
    let given_up = work.request.control.map(Control::given_up);
    let ran =
        call.run(context.launcher, given_up, &mut on_line).map_err(|source| BuildFailure::HookStart {
            drv: work.request.drv.clone(),
            setting: "pre-build-hook",
            program: program.clone(),
            source,
        })?;
    let failed = |problem| BuildFailure::PreBuildHook {
        drv: work.request.drv.clone(),
        program: program.clone(),
        problem,
        said: ran.last_lines.clone(),
    };
    match ran.status {
        ExitStatus::Code(0) => {}
        ExitStatus::GivenUp => return Err(BuildFailure::GivenUp { drv: work.request.drv.clone() }),
        status => return Err(failed(told(status))),
    }
    let wanted = read(&ran.stdout).map_err(failed)?;
    wanted.into_iter().map(|(target, source)| bind(target, &source)).collect::<Result<_, _>>().map_err(failed)
}

/// Reads its commands: targets with sources, of which the last one for a target counts.
fn read(stdout: &[u8]) -> Result<BTreeMap<PathBuf, PathBuf>, String> {
    let mut wanted = BTreeMap::new();
    let mut is_listing = false;
    for line in stdout.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match (is_listing, line) {
            (true, b"") => is_listing = false,
            (true, line) => {
                let equals = line.iter().position(|byte| *byte == b'=');
                let (target, source) = match equals {
                    Some(at) => (&line[..at], &line[at + 1..]),
                    None => (line, line),
                };
                let path = |bytes| PathBuf::from(OsStr::from_bytes(bytes));
                wanted.insert(path(target), path(source));
            }
            (false, b"extra-sandbox-paths" | b"extra-chroot-dirs") => is_listing = true,
            (false, line) => {
                return Err(format!(
                    "printed `{}`, which is no command; there is `extra-sandbox-paths`, with a path on each line that \
                     follows, up to an empty one",
                    String::from_utf8_lossy(line)
                ));
            }
        }
    }
    Ok(wanted)
}

fn bind(target: PathBuf, source: &Path) -> Result<Op, String> {
    let is_plain = target.is_absolute()
        && target.components().count() > 1
        && !target.components().any(|part| part == Component::ParentDir);
    if !is_plain {
        return Err(format!(
            "wants to show `{}`, which is not an absolute path without `..`",
            target.display()
        ));
    }
    let missing = |error| format!("wants to show `{}`, which cannot be had: {error}", source.display());
    let source = fs::canonicalize(source).map_err(missing)?;
    let kind = fs::metadata(&source).map_err(missing)?.file_type();
    let is_device = kind.is_char_device() || kind.is_block_device();
    let access = if is_device { Access::Device } else { Access::ReadOnly };
    Ok(Op::Bind { source, target: target.components().collect(), access, optional: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_nix_reads_them() {
        let wanted = read(b"extra-sandbox-paths\n/a\n/b=/c=d\n\nextra-chroot-dirs\n/a=/e\n").unwrap();
        let told: Vec<String> = wanted
            .iter()
            .map(|(target, source)| format!("{} {}", target.display(), source.display()))
            .collect();
        assert_eq!(told, ["/a /e", "/b /c=d"]);
        assert!(read(b"").unwrap().is_empty());
        assert!(read(b"\n").unwrap_err().contains("no command"));
        assert!(read(b"extra-sandbox-paths\n\n/a\n").unwrap_err().contains("`/a`"));
        for target in ["relative", "/", "/a/../b"] {
            assert!(bind(target.into(), Path::new("/")).unwrap_err().contains("absolute"), "{target}");
        }
        assert!(bind("/a".into(), Path::new("/absent")).unwrap_err().contains("`/absent`"));
    }
}
