//! What has to hold of a store whatever has happened to it.

#![expect(clippy::disallowed_methods, reason = "looks at what is on disk, and asks Nix")]

use std::fs;
use std::path::Path;
use std::process::Command;

use super::world::{World, run};

/// What has happened to whoever worked on a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// They have died, or given up. What they had in hand is known.
    End,
    /// The power was cut. What they had in hand may be forgotten: files of locks stay, which hold up nobody, until
    /// garbage is collected.
    Cut,
}

impl World {
    /// Looks whether the store is in order after a start of the program: what is valid is whole, and nothing is left of
    /// processes that have ended.
    ///
    /// # Errors
    /// What is wrong.
    pub fn inspect(&self, after: After) -> Result<(), String> {
        let state = self.root().join("nix/var/nix");
        if !state.exists() {
            // It had not come to be.
            return Ok(());
        }
        self.verify()?;
        for directory in ["builds", "temproots", "running-builds"] {
            refuse_any(&state.join(directory), |_| true)?;
        }
        let is_left = |name: &str| {
            let is_forgotten = name.ends_with(".lock") || name.starts_with(".tmp-");
            name.ends_with(".chroot") || after == After::End && is_forgotten
        };
        refuse_any(&self.root().join("nix/store"), is_left)?;
        for directory in ["gcroots/auto", "gcroots/relocated", "db"] {
            refuse_any(&state.join(directory), |name| name.contains(".tmp-") || name.starts_with("schema."))?;
        }
        refuse_any(&self.path(""), |name| name.contains(".tmp-"))?;
        self.refuse_mounts()
    }

    /// Looks whether everything that is valid is whole.
    ///
    /// # Errors
    /// What is wrong.
    pub fn verify(&self) -> Result<(), String> {
        let run = self.run(&["--quiet", "verify", "--contents"])?;
        match run.code == Some(0) && run.stderr.is_empty() {
            true => Ok(()),
            false => Err(format!("`verify --contents` ({:?}): {}{}", run.code, run.stdout, run.stderr)),
        }
    }

    /// Collects garbage, and looks whether everything that is left in the store directory is valid.
    ///
    /// # Errors
    /// What is wrong.
    pub fn collect(&self) -> Result<(), String> {
        self.ok(&["--quiet", "gc"])?;
        let entries = fs::read_dir(self.root().join("nix/store")).map_err(|error| error.to_string())?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let paths = names.filter(|name| name != ".links").map(|name| format!("/nix/store/{name}"));
        let all: Vec<String> = std::iter::once("path-info".to_owned()).chain(paths).collect();
        if all.len() > 1 {
            self.ok(&all)?;
        }
        self.inspect(After::End)
    }

    fn refuse_mounts(&self) -> Result<(), String> {
        let table = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
        let root = self.root().to_string_lossy().into_owned() + "/";
        let mut targets = table.lines().filter_map(|line| line.split(' ').nth(1));
        match targets.find(|target| target.starts_with(&root)) {
            Some(target) => Err(format!("`{target}` is still mounted")),
            None => Ok(()),
        }
    }

    /// Has Nix look at the store, where it is installed; returns whether it did.
    ///
    /// # Errors
    /// What Nix says is wrong.
    pub fn ask_nix(&self) -> Result<bool, String> {
        if !self.root().join("nix/var/nix").exists() {
            return Ok(false);
        }
        let mut nix = Command::new("nix-store");
        nix.arg("--store").arg(self.root()).args(["--verify", "--check-contents"]);
        nix.env("HOME", self.path("home"));
        let Ok(run) = run(&mut nix) else { return Ok(false) };
        // It removes from the database what is not on disk, says so, and succeeds.
        match run.code == Some(0) && !run.stderr.contains("disappeared") && !run.stderr.contains("modified") {
            true => Ok(true),
            false => Err(format!("`nix-store --verify --check-contents` ({:?}): {}", run.code, run.stderr)),
        }
    }
}

fn refuse_any(directory: &Path, is_left: impl Fn(&str) -> bool) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let left: Vec<String> = names.filter(|name| is_left(name)).collect();
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("left in `{}`: {}", directory.display(), left.join(" "))),
    }
}
