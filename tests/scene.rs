//! What each test starts from: the program, an empty store, an empty home.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use test_support::{Scratch, fixture};

/// A store below a scratch directory, used by one test.
pub(crate) struct Scene {
    scratch: Scratch,
}

/// What a run of the program gave.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.join("home")).unwrap();
        Self { scratch }
    }

    /// Returns a path beside the store, in the directory in which the program is started.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.scratch.join(relative)
    }

    /// Returns the directory given as `--store`.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("store")
    }

    /// Returns where the files of a store path are.
    pub(crate) fn real(&self, store_path: &str) -> PathBuf {
        assert!(store_path.starts_with("/nix/store/"), "`{store_path}` is no store path");
        self.root().join(&store_path[1..])
    }

    /// Writes a file beside the store and returns its path as text.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), contents).unwrap();
        text(self.path(name))
    }

    /// Writes a script beside the store that can be run, and returns its path as text.
    pub(crate) fn program(&self, name: &str, script: impl AsRef<[u8]>) -> String {
        test_support::write_program(&self.path(name), script.as_ref());
        text(self.path(name))
    }

    /// Copies a program of the host to beside the store; why another process does, [`test_support::write_program`] says.
    pub(crate) fn copy_program(&self, program: impl AsRef<OsStr>, name: &str) -> PathBuf {
        let path = self.path(name);
        assert!(Command::new("cp").arg(program).arg(&path).status().unwrap().success(), "{name}");
        path
    }

    /// Compiles a C program into the directory beside the store and returns its path as text.
    ///
    /// A build has it with `--option build-chroot-dirs "/dev /proc /probe=PATH"`.
    pub(crate) fn c_program(&self, name: &str, source: &str) -> String {
        text(test_support::c_program(self.scratch.path(), name, source))
    }

    /// Returns the program on this store, with nothing of the caller's environment but `PATH`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.elsewhere();
        command.arg("--store").arg(self.root()).args(arguments);
        command
    }

    /// Returns the program without a word about which store.
    pub(crate) fn elsewhere(&self) -> Command {
        let program = program();
        let mut command = if is_ignored(Signal::SIGINT) {
            // A shell has what it starts in the background ignore Ctrl-C, and all that this starts does, too.
            let mut env = Command::new("/usr/bin/env");
            env.arg("--default-signal=INT").arg(program);
            env
        } else {
            Command::new(program)
        };
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("HOME", self.path("home")).current_dir(self.scratch.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs the program, which has to succeed, and returns what it printed, without the last line end.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "store {}: {}", arguments.join(" "), run.stderr);
        run.stdout.strip_suffix('\n').unwrap_or(&run.stdout).to_owned()
    }

    /// Runs the program, which has to fail with that code and print no result, and returns what it said.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(code), "store {}: {}{}", arguments.join(" "), run.stdout, run.stderr);
        assert_eq!(run.stdout, "", "store {}", arguments.join(" "));
        run.stderr
    }

    /// Builds a derivation of the fixtures and returns the store paths it printed.
    pub(crate) fn build(&self, name: &str) -> Vec<String> {
        self.ok(&["build", "--no-link", &derivation(name)]).lines().map(str::to_owned).collect()
    }

    /// Builds a script of `/bin/sh` that writes to `$out` and returns what it wrote.
    pub(crate) fn script(&self, script: &str, options: &[&str]) -> String {
        let file = self.write("script.json", shell_derivation("script", script));
        let path = self.ok(&[&["build", "--no-link", &file], options].concat());
        fs::read_to_string(self.real(&path)).unwrap()
    }
}

/// Returns the file of a derivation of the fixtures.
pub(crate) fn derivation(name: &str) -> String {
    text(fixture(&format!("derivations/{name}.json")))
}

/// Returns JSON for a derivation that runs a script.
pub(crate) fn shell_derivation(name: &str, script: &str) -> String {
    let quoted = |text: &str| format!("{text:?}");
    format!(
        r#"{{ "name": {}, "system": "x86_64-linux", "builder": "/bin/sh", "args": ["-c", {}],
             "env": {{}}, "inputSrcs": [], "inputDrvs": {{}}, "outputs": {{ "out": {{}} }} }}"#,
        quoted(name),
        quoted(script)
    )
}

/// Returns a path as text.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().expect("scratch directories have names in UTF-8").to_owned()
}

/// Tells whether a program is on this machine; says that a test is skipped if it is not.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        say(&format!("skipped: no `{program}` on this machine"));
    }
    found
}

/// Tells whether Nix is on this machine, with all programs of it that tests compare with; says that a test is skipped
/// if it is not.
pub(crate) fn has_nix() -> bool {
    ["nix", "nix-store", "nix-instantiate"].into_iter().all(has)
}

/// Says something past the test harness, which shows what failing tests say only.
pub(crate) fn say(text: &str) {
    // A closed standard error is no reason to fail a test.
    let _ = writeln!(io::stderr(), "{text}");
}

/// How builds are kept apart; plain chroot is for root only.
pub(crate) fn isolations() -> &'static [&'static str] {
    if is_root() { &["namespaces", "chroot"] } else { &["namespaces"] }
}

/// Returns the file of the program.
pub(crate) fn program() -> PathBuf {
    test_support::store_binary(env!("CARGO_BIN_EXE_store"))
}

/// Tells whether this process ignores a signal; what it starts does, too.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal as i32 - 1) & 1 == 1
}

/// Tells whether the tests run as root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}
