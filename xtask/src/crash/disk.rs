//! A disk whose power can be cut: a file system in an image, mounted by way of a loop device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};
use tempfile::TempDir;

/// Cuts the power.
const CUT: &str = include_str!("cut.c");

/// The least that xfs is made on, and more than is written.
const BYTES: u64 = 512 << 20;

/// How long those who were killed may take to let go of the file system.
const PATIENCE: Duration = Duration::from_secs(20);

/// A file system on a disk.
pub(super) struct Disk {
    kind: String,
    device: String,
    cut: PathBuf,
    scratch: TempDir,
}

/// Gives this process mounts of its own, so that none outlives it. No thread may have been started.
///
/// An ordinary user gets the right to mount disks in memory, and no others; programs that it starts do not have it.
pub(super) fn own_mounts() -> Result<()> {
    const NEEDS: &str =
        "full disks need the right to mount, or to make user namespaces; power cuts need root";
    let (user, group) = (getuid(), getgid());
    let mut namespaces = CloneFlags::CLONE_NEWNS;
    namespaces.set(CloneFlags::CLONE_NEWUSER, !user.is_root());
    unshare(namespaces).context(NEEDS)?;
    if !user.is_root() {
        let maps = [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("{user} {user} 1")),
            ("gid_map", format!("{group} {group} 1")),
        ];
        maps.iter()
            .try_for_each(|(name, text)| fs::write(Path::new("/proc/self").join(name), text))
            .context(NEEDS)?;
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).context(NEEDS)
}

impl Disk {
    /// Makes a disk with such a file system.
    pub(super) fn new(kind: &str) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("store-crash-").tempdir()?;
        let image = scratch.path().join("image");
        fs::File::create(&image)?.set_len(BYTES)?;
        let make = format!("mkfs.{kind}");
        let quiet: &[&str] = if kind == "ext4" { &["-q", "-F"] } else { &["-q", "-f"] };
        output(Command::new(make).args(quiet).arg(&image))?;
        let device = output(Command::new("losetup").args(["--find", "--show"]).arg(&image))
            .context("power cuts need a loop device (/dev/loop-control)")?;
        let cut = test_support::c_program(scratch.path(), "cut", CUT);
        fs::create_dir(scratch.path().join("mount"))?;
        Ok(Self { kind: kind.to_owned(), device: device.trim().to_owned(), cut, scratch })
    }

    /// Returns where it is mounted.
    pub(super) fn place(&self) -> PathBuf {
        self.scratch.path().join("mount")
    }

    /// Mounts it, which reads its log.
    pub(super) fn mount(&self) -> Result<()> {
        let (device, kind) = (self.device.as_str(), self.kind.as_str());
        mount(Some(device), &self.place(), Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount {device} as {kind}"))
    }

    /// Cuts its power.
    pub(super) fn cut(&self) -> Result<()> {
        output(Command::new(&self.cut).arg(self.place())).map(|_| ())
    }

    /// Unmounts it, once nobody uses it any more: sandboxes that are being taken down have it mounted, too.
    pub(super) fn unmount(&self) -> Result<()> {
        let start = Instant::now();
        let patiently = |done: &dyn Fn() -> bool| {
            while !done() {
                if start.elapsed() > PATIENCE {
                    bail!("somebody still uses `{}`", self.place().display());
                }
                sleep(Duration::from_millis(5));
            }
            Ok(())
        };
        patiently(&|| umount(&self.place()).is_ok())?;
        let name = self.device.trim_start_matches("/dev/");
        let used = Path::new("/sys/fs").join(&self.kind).join(name);
        patiently(&|| !used.exists())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount(&self.place());
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

/// Runs a command, which has to succeed, and returns what it prints.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    ensure!(output.status.success(), "{shown} fails: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
