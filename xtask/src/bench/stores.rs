//! Scratch stores, and the two programs that build in them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::Bench;

/// A static program that is a shell and much else; Nix has no shell of its own to show to builds.
pub(super) const SHELL: &str = "/bin/busybox";

/// A sandbox like ours, as one user, and no wait for a network.
const NIX_OPTIONS: [(&str, &str); 5] = [
    ("sandbox", "true"),
    ("sandbox-paths", "/bin/sh=/bin/busybox"),
    ("substitute", "false"),
    ("substituters", ""),
    ("build-users-group", ""),
];

/// A store below a directory of its own, with derivations in it that are not built yet.
pub(super) struct Store {
    directory: TempDir,
    /// The paths of the derivations.
    pub(super) derivations: Vec<String>,
}

impl Store {
    /// Makes a store and adds the sources and then the derivations.
    pub(super) fn with(program: &Path, sources: &[PathBuf], graph: &Value) -> Result<Self> {
        let mut store = Self::empty()?;
        for source in sources {
            store.add(program, source)?;
        }
        store.replace(program, graph)?;
        Ok(store)
    }

    /// Adds other derivations; those are to be built from then on.
    pub(super) fn replace(&mut self, program: &Path, graph: &Value) -> Result<()> {
        let file = self.directory.path().join("graph.json");
        fs::write(&file, graph.to_string())?;
        self.derivations = self.lines(program, ["derivation".as_ref(), "add".as_ref(), file.as_os_str()])?;
        Ok(())
    }

    /// Makes a store with nothing in it.
    pub(super) fn empty() -> Result<Self> {
        Ok(Self {
            directory: tempfile::Builder::new().prefix("store-bench-").tempdir()?,
            derivations: Vec::new(),
        })
    }

    /// Runs our program on this store and returns the lines it prints.
    pub(super) fn lines<'a>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = &'a OsStr>,
    ) -> Result<Vec<String>> {
        let output = self.store(program).args(arguments).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    /// Adds a file and returns its store path.
    pub(super) fn add(&self, program: &Path, file: &Path) -> Result<String> {
        let lines = self.lines(program, ["add".as_ref(), file.as_os_str()])?;
        lines.into_iter().next().context("`store add` prints a path")
    }

    /// Returns the directory that it is below.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns a command of ours on this store.
    pub(super) fn store(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("--store").arg(self.directory.path());
        command
    }

    /// Returns a build of all derivations by us.
    pub(super) fn build(&self, program: &Path, jobs: usize) -> Command {
        let mut command = self.store(program);
        command
            .args(["build", "--no-link", "--quiet", "--max-jobs", &jobs.to_string()])
            .args(&self.derivations);
        command
    }

    /// Returns a build of all derivations by Nix, sandboxed, and not waiting for a network.
    pub(super) fn nix_build(&self, jobs: usize) -> Command {
        let mut command = self.nix(&["-j", &jobs.to_string(), "--realise"]);
        command.args(&self.derivations);
        command
    }

    /// Returns a command of Nix on this store.
    pub(super) fn nix(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nix-store");
        command.arg("--store").arg(self.directory.path());
        for (name, value) in NIX_OPTIONS {
            command.args(["--option", name, value]);
        }
        command.args(arguments);
        command
    }
}

impl Drop for Store {
    /// Store paths are read-only directories, which only root can empty as they are.
    fn drop(&mut self) {
        make_writable(self.directory.path());
    }
}

fn make_writable(directory: &Path) {
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

impl Bench {
    /// Tells whether Nix is on this machine, and says so if it is not.
    pub(super) fn has_nix(&self) -> bool {
        let found = Command::new("nix-store").arg("--version").output().is_ok() && Path::new(SHELL).exists();
        if !found {
            eprintln!("skipped: no `nix-store` with a static `{SHELL}` on this machine to compare with");
        }
        found
    }
}
