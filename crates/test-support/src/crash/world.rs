//! A store in a directory of its own, and the program on it.

#![expect(clippy::disallowed_methods, reason = "runs the program that is tested, and lays out files for it")]

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Scratch;

/// A store in a directory of its own.
#[derive(Debug)]
pub struct World {
    program: PathBuf,
    place: Place,
    root: PathBuf,
}

#[derive(Debug)]
enum Place {
    /// Removed in the end.
    Scratch(Scratch),
    /// Somebody else's.
    Given(PathBuf),
}

/// What a run of the program gave.
#[derive(Clone, Debug)]
pub struct Run {
    /// The exit code, unless a signal has ended it.
    pub code: Option<i32>,
    /// The signal that has ended it.
    pub signal: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (code, signal) = (output.status.code(), output.status.signal());
        Self { code, signal, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl World {
    /// Makes an empty directory for a store, on which `program` will work.
    ///
    /// # Errors
    /// What the system has refused.
    pub fn new(program: &Path) -> Result<Self, String> {
        let scratch = Scratch::new();
        let root = scratch.join("store");
        Self { program: program.to_owned(), place: Place::Scratch(scratch), root }.furnished()
    }

    /// Makes an empty directory for all but the store, which is at `root`.
    ///
    /// # Errors
    /// What the system has refused.
    pub fn with_store(program: &Path, root: &Path) -> Result<Self, String> {
        let (place, root) = (Place::Scratch(Scratch::new()), root.to_owned());
        Self { program: program.to_owned(), place, root }.furnished()
    }

    /// Takes a directory, which may have a store in it.
    pub(super) fn in_directory(program: &Path, directory: &Path) -> Result<Self, String> {
        let (place, root) = (Place::Given(directory.to_owned()), directory.join("store"));
        Self { program: program.to_owned(), place, root }.furnished()
    }

    fn furnished(self) -> Result<Self, String> {
        fs::create_dir_all(self.path("home")).map_err(|error| format!("cannot make a directory: {error}"))?;
        Ok(self)
    }

    /// Returns the program.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Returns a path beside the store.
    pub fn path(&self, name: &str) -> PathBuf {
        match &self.place {
            Place::Scratch(scratch) => scratch.join(name),
            Place::Given(directory) => directory.join(name),
        }
    }

    /// Returns the directory given as `--store`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where the files of a store path are.
    pub fn real(&self, store_path: &str) -> PathBuf {
        self.root.join(store_path.trim_start_matches('/'))
    }

    /// Puts something into the store that does not belong there.
    pub(super) fn leave(&self, name: &str) -> Result<(), String> {
        write(&self.real(name), b"half")
    }

    /// Damages a file of the store: gives it other contents and a wrong mode, or removes it.
    pub(super) fn damage(&self, name: &str, contents: Option<&[u8]>) -> Result<(), String> {
        let path = self.real(name);
        let failed = |error| format!("cannot damage `{}`: {error}", path.display());
        let Some(contents) = contents else { return fs::remove_file(&path).map_err(failed) };
        let writable = Permissions::from_mode(0o644);
        fs::set_permissions(&path, writable).and_then(|()| fs::write(&path, contents)).map_err(failed)
    }

    /// Writes a file beside the store.
    ///
    /// # Errors
    /// What the system has refused.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<(), String> {
        write(&self.path(name), contents.as_ref())
    }

    /// Returns the program on this store, started beside it, with nothing of the caller's environment but `PATH`.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--store").arg(self.root()).args(arguments);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("HOME", self.path("home")).current_dir(self.path("")).stdin(Stdio::null());
        command
    }

    /// Runs the program.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Run, String> {
        run(&mut self.command(arguments))
    }

    /// Runs the program, which has to succeed, and returns what it printed.
    ///
    /// # Errors
    /// What it said if it has failed.
    pub fn ok<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String, String> {
        let run = self.run(arguments)?;
        match run.code {
            Some(0) => Ok(run.stdout),
            _ => {
                let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
                Err(format!("`store {}` fails: {}{}", words.join(" "), run.stdout, run.stderr))
            }
        }
    }
}

fn write(path: &Path, contents: &[u8]) -> Result<(), String> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, contents));
    written.map_err(|error| format!("cannot write `{}`: {error}", path.display()))
}

/// Runs a command, which has to succeed, and returns what it printed.
pub(super) fn run_raw(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!("{command:?} fails: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Result<Run, String> {
    let output = command.output();
    output.map(Run::from).map_err(|error| format!("cannot run {command:?}: {error}"))
}
