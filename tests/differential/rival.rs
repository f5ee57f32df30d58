//! Nix on a scratch store.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::scene::{Scene, has_nix, say};

/// A store that Nix made, beside that of a scene.
pub(crate) struct Rival<'a> {
    scene: &'a Scene,
}

impl<'a> Rival<'a> {
    /// None where there is no Nix, or none that knows content-addressed derivations; that is said.
    pub(crate) fn of(scene: &'a Scene) -> Option<Self> {
        if !has_nix() {
            return None;
        }
        let rival = Self { scene };
        let known = rival.command("nix", ["show-config"]).output().unwrap();
        if !String::from_utf8_lossy(&known.stdout).contains("impure-derivations") {
            say("skipped: the Nix on this machine does not know impure derivations");
            return None;
        }
        Some(rival)
    }

    /// Returns the directory given as `--store`.
    pub(crate) fn root(&self) -> PathBuf {
        self.scene.path("rival")
    }

    /// Returns one of the programs of Nix on that store; without users to build as, a network, or the host's settings.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
            .env("USER", "nobody")
            .env("HOME", self.scene.path("home"))
            .env("NIX_CONF_DIR", self.scene.path("home"));
        command.env(
            "NIX_CONFIG",
            "experimental-features = nix-command ca-derivations impure-derivations\nbuild-users-group =\n\
             substitute = false\nsubstituters =\nsandbox = true\nsandbox-paths = /bin/sh=/bin/busybox /bin/busybox\n",
        );
        command.arg("--store").arg(self.root()).args(arguments).stdin(Stdio::null());
        command.current_dir(self.scene.path("."));
        command
    }

    /// Runs a program that has to succeed and returns what it printed.
    pub(crate) fn ok<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Vec<u8> {
        let mut command = self.command(program, arguments);
        let output: Output = command.output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Evaluates an expression for paths, which then are in the store.
    pub(crate) fn paths(&self, expression: &[u8]) -> Vec<String> {
        let file = self.scene.write("expression.nix", expression);
        let words = ["--eval", "--strict", "--json", "--read-write-mode", &file];
        serde_json::from_slice(&self.ok("nix-instantiate", words)).unwrap()
    }

    /// Returns all derivations in the store, in order.
    pub(crate) fn derivations(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root().join("nix/store")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut paths: Vec<String> =
            names.filter(|name| name.ends_with(".drv")).map(|name| format!("/nix/store/{name}")).collect();
        paths.sort();
        paths
    }

    /// Puts files of derivations into the store, with the paths each refers to.
    ///
    /// Nix looks at their output paths before it lets them in.
    pub(crate) fn load(&self, files: &[(String, Vec<u8>, Vec<String>)]) {
        let mut registration = Vec::new();
        for (path, text, references) in files {
            let file = self.root().join(&path[1..]);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            write_read_only(&file, text);
            let archive = archive(&file);
            let hash = store_path::Hash::of(store_path::HashAlgorithm::Sha256, &archive).to_base16();
            let head = format!("{path}\n{hash}\n{}\n\n{}\n", archive.len(), references.len());
            registration.extend(head.into_bytes());
            registration.extend(references.iter().flat_map(|path| format!("{path}\n").into_bytes()));
        }
        let list = self.scene.write("registration", registration);
        let output =
            self.command("nix-store", ["--load-db"]).stdin(fs::File::open(list).unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn write_read_only(file: &Path, text: &[u8]) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o444)).unwrap();
}

fn archive(file: &Path) -> Vec<u8> {
    let mut archive = Vec::new();
    nar::dump(file, &mut archive).unwrap();
    archive
}
