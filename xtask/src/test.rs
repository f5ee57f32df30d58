//! `cargo xtask test`: every test, and as root once more as an ordinary user.
//!
//! The second round cannot go through cargo: its home, the toolchain and the checkout may be closed to other
//! users. So the test programs, `store` and the fixtures are copied to a directory that everyone can read,
//! and run from there. Documentation tests are run by rustdoc and take part in the first round only.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{Uid, User};
use tempfile::TempDir;

use crate::cargo::{self, Executable};

/// Runs every test that is there; fails where the machine cannot isolate builds, instead of skipping those.
pub(crate) fn run() -> Result<()> {
    let built = cargo::build(&["test", "--workspace", "--no-run"], None)?;
    require_isolation(&mut Command::new(cargo::store_program(&built)?))?;
    cargo::succeed(&mut cargo::cargo(&["test", "--workspace", "--no-fail-fast"]))?;
    if Uid::effective().is_root() { run_as_ordinary_user(&built) } else { Ok(()) }
}

/// Asks `store doctor`, which names what is missing and its remedy.
fn require_isolation(store: &mut Command) -> Result<()> {
    let output = store.arg("doctor").output().context("cannot run `store doctor`")?;
    let findings = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(10) && lacks_network_only(&findings) {
        println!("some tests will be skipped, as the machine lacks something:\n{findings}");
    } else if !output.status.success() {
        eprintln!("{findings}");
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        bail!("this machine cannot isolate builds, so their tests cannot run ({})", output.status);
    }
    Ok(())
}

/// What fixed-output builds reach the outside by is tested where it is there; the rest of the sandbox needs none of it.
fn lacks_network_only(findings: &str) -> bool {
    let mut missing = findings.lines().filter(|line| line.starts_with("missing"));
    missing.all(|line| line.contains("`fod-network = private`"))
}

fn run_as_ordinary_user(built: &[Executable]) -> Result<()> {
    let stage = Stage::new(built)?;
    println!("\nonce more, as user {} without an account:", stage.user);
    require_isolation(&mut stage.command(&stage.store))?;
    let mut failed = Vec::new();
    for test in built.iter().filter(|one| one.is_test) {
        println!("\n{} of {}", test.name, test.package.display());
        let status = stage.command(&stage.place(test)?).status()?;
        if !status.success() {
            failed.push(format!("{} ({status})", test.name));
        }
    }
    ensure!(failed.is_empty(), "as an ordinary user these tests fail: {}", failed.join(", "));
    Ok(())
}

/// A directory from which a user without an account can run the tests.
struct Stage {
    directory: TempDir,
    /// Both its user and its group.
    user: u32,
    store: PathBuf,
}

impl Stage {
    fn new(built: &[Executable]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("store-tests-").tempdir()?;
        let user = unused_user()?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let root = directory.path().join("root");
        copy_tree(&cargo::root().join("fixtures"), &root.join("fixtures"))?;
        fs::set_permissions(&root, Permissions::from_mode(0o755))?;
        for owned in ["home", "tmp"] {
            let owned = directory.path().join(owned);
            fs::create_dir(&owned)?;
            chown(&owned, Some(user), Some(user))?;
        }
        let store = copy_program(cargo::store_program(built)?, directory.path())?;
        Ok(Self { store, directory, user })
    }

    fn place(&self, test: &Executable) -> Result<PathBuf> {
        copy_program(&test.path, self.directory.path())
    }

    /// Returns a command that runs as the user, knows nothing of the caller's home, and finds what tests need.
    ///
    /// The standard library drops the caller's groups together with its user.
    fn command(&self, program: &Path) -> Command {
        let directory = self.directory.path();
        let mut command = Command::new(program);
        command.env_clear().uid(self.user).gid(self.user).current_dir(directory.join("home"));
        command.envs(env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("HOME", directory.join("home")).env("TMPDIR", directory.join("tmp"));
        // Nix asks for the name of its user, and this one has no account to tell it.
        command.env("USER", "nobody-in-particular");
        command.env("STORE_TEST_ROOT", directory.join("root")).env("STORE_TEST_BIN", &self.store);
        command.env("STORE_TEST_SHARED", cargo::root().join("../shared"));
        let workload = env::var_os("STORE_TEST_WORKLOAD").map(PathBuf::from);
        command.env("STORE_TEST_WORKLOAD", workload.unwrap_or_else(|| cargo::root().join("target/workload")));
        command
    }
}

/// Picks a user that no account holds.
fn unused_user() -> Result<u32> {
    for user in 61_000..61_100 {
        if User::from_uid(Uid::from_raw(user))?.is_none() {
            return Ok(user);
        }
    }
    bail!("every user from 61000 to 61099 has an account")
}

fn copy_program(program: &Path, directory: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program has a name")?;
    let copy = directory.join(name);
    fs::copy(program, &copy).with_context(|| format!("cannot copy `{}`", program.display()))?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    Ok(copy)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    // The caller's umask may close what the caller makes.
    fs::set_permissions(to, Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else {
            let mode = fs::metadata(entry.path())?.permissions().mode();
            fs::copy(entry.path(), &target)?;
            fs::set_permissions(&target, Permissions::from_mode(mode | 0o444))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_network_is_put_up_with() {
        let network = "ok       a private /dev\nmissing  a network for them (`fod-network = private`)\n         cause\n";
        assert!(lacks_network_only(network));
        assert!(!lacks_network_only(&format!("{network}missing  a private /proc\n")));
    }
}
