//! Programs of the host that settings name, run to their end.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::{Allowance, Exec, ExitStatus, HostProgram, Launcher};

/// What runs, and with what; as the caller, in the root directory.
pub(crate) struct Call<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) env: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// How it ended.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    /// What it printed on its standard output.
    pub(crate) stdout: Vec<u8>,
    /// The last lines that it printed elsewhere.
    pub(crate) last_lines: Vec<String>,
}

/// How many last lines are remembered.
const LINES: usize = 10;
/// Commands are short; whatever prints more is no hook.
const MOST_OUTPUT: usize = 1 << 20;
/// After SIGTERM, until SIGKILL.
const PATIENCE: Duration = Duration::from_millis(500);

impl Call<'_> {
    /// Runs it; `on_line` hears each line of its standard error. It is ended once `given_up` is readable.
    pub(crate) fn run(
        self,
        launcher: &Launcher,
        given_up: Option<BorrowedFd<'_>>,
        on_line: &mut dyn FnMut(&[u8]),
    ) -> Result<Ran, sandbox::Error> {
        let pipe = || io::pipe().map_err(|source| sandbox::Error::Talk { source });
        let ((out, their_out), (errors, their_errors)) = (pipe()?, pipe()?);
        let descriptors = [(1, their_out.as_fd()), (2, their_errors.as_fd())];
        let process = launcher.run_on_host(&self.describe(), &descriptors)?;
        drop((their_out, their_errors));
        let (mut stdout, mut partial, mut last_lines) = (Vec::new(), Vec::new(), Vec::new());
        let mut end_line = |line: &mut Vec<u8>, on_line: &mut dyn FnMut(&[u8])| {
            on_line(line);
            last_lines.push(String::from_utf8_lossy(line).into_owned());
            if last_lines.len() > LINES {
                last_lines.remove(0);
            }
            line.clear();
        };
        let status = process.follow(
            vec![out.into(), errors.into()],
            Allowance::default(),
            given_up,
            &mut |place, bytes| match place {
                0 => stdout.extend_from_slice(&bytes[..bytes.len().min(MOST_OUTPUT - stdout.len())]),
                _ => {
                    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                        partial.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
                        if piece.ends_with(b"\n") || partial.len() > MOST_OUTPUT {
                            end_line(&mut partial, on_line);
                        }
                    }
                }
            },
        )?;
        if !partial.is_empty() {
            end_line(&mut partial, on_line);
        }
        Ok(Ran { status, stdout, last_lines })
    }

    fn describe(&self) -> HostProgram {
        let name = self.program.file_name().unwrap_or(OsStr::new("")).as_bytes().to_vec();
        HostProgram {
            exec: Exec {
                path: self.program.to_owned(),
                args: std::iter::once(name).chain(self.args.iter().cloned()).collect(),
                env: self.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
                directory: PathBuf::from("/"),
                personality_32: false,
                old_kernel: false,
            },
            patience: PATIENCE,
            // What it leaves running, such as an upload, is its own business.
            takes_all_along: false,
            user: None,
        }
    }
}

/// How a program ended that should have returned 0.
pub(crate) fn told(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("returned {code}"),
        ExitStatus::Signal(signal) => format!("was killed by signal {signal}"),
        ExitStatus::Overran(_) | ExitStatus::GivenUp => "took too long".to_owned(),
    }
}
