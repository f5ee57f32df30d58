//! What the machine itself needs: namespaces and mounts without a store, SHA-256 without an archive.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, pivot_root};
use sha2::{Digest, Sha256};
use store_path::{Hash, HashAlgorithm, HashSink, RefScanner, StorePath};

use super::measure::this_part;

/// Runs that many empty builds, as many at a time as there are jobs.
pub(super) fn builds(count: usize, jobs: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let work = || -> Result<()> {
            while next.fetch_add(1, Ordering::Relaxed) < count {
                ensure!(this_part("unshared")?.status()?.success(), "a floor build failed");
            }
            Ok(())
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })
}

/// Leaves every namespace and runs the part `confined` as the first process of the new ones.
pub(super) fn unshared() -> Result<()> {
    let (user, group) = (Uid::effective(), Gid::effective());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP,
    )?;
    fs::write("/proc/self/setgroups", "deny")?;
    // Root inside, as another user would lose the right to mount with the next program it runs.
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    let status = this_part("confined")?.arg(env::temp_dir()).status()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Makes a root with the mounts of a build and runs an empty shell script in it.
pub(super) fn confined(root: &Path) -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("none"), root, Some("tmpfs"), MsFlags::empty(), none)?;
    for directory in ["proc", "dev", "tmp", "etc", "build", "nix/store", "host"] {
        fs::create_dir_all(root.join(directory))?;
    }
    mount(Some("none"), &root.join("proc"), Some("proc"), MsFlags::empty(), none)?;
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        File::create(root.join("dev").join(device))?;
        bind(&Path::new("/dev").join(device), &root.join("dev").join(device))?;
    }
    for programs in ["bin", "lib", "lib64", "usr"] {
        let source = Path::new("/").join(programs);
        if source.exists() {
            fs::create_dir(root.join(programs))?;
            bind(&source, &root.join(programs))?;
        }
    }
    pivot_root(root, &root.join("host"))?;
    env::set_current_dir("/")?;
    umount2("/host", MntFlags::MNT_DETACH)?;
    Err(Command::new("/bin/sh").args(["-c", ":"]).exec()).context("cannot run `/bin/sh`")
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    let none: Option<&str> = None;
    mount(Some(source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .with_context(|| format!("cannot bind `{}`", target.display()))
}

/// Hashes a file with the routine that `store` uses, and does nothing else.
pub(super) fn sha256(path: &Path) -> Result<()> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    println!("{:x?}", hasher.finalize());
    Ok(())
}

/// Passes a file once through hash and reference scanner, as the registration of an output does.
pub(super) fn scan(path: &Path) -> Result<()> {
    let (mut hash, mut scanner) = (HashSink::new(HashAlgorithm::Sha256), RefScanner::new(candidates()?));
    nar::dump(path, &mut Both(&mut hash, &mut scanner))?;
    ensure!(scanner.finish().is_empty(), "hex digits hold no reference");
    println!("{}", hash.finish().0);
    Ok(())
}

/// As many names as the closure of a larger package has.
fn candidates() -> Result<BTreeSet<StorePath>> {
    let name = |index: u32| {
        format!("{}-input", &Hash::of(HashAlgorithm::Sha256, &index.to_le_bytes()).to_nix32()[..32])
    };
    (0..100).map(|index| Ok(name(index).parse()?)).collect()
}

/// Writes everything to both.
struct Both<'a>(&'a mut HashSink, &'a mut RefScanner);

impl io::Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads every file below a directory.
pub(super) fn read_tree(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            read_tree(&entry.path())?;
        } else {
            fs::read(entry.path())?;
        }
    }
    Ok(())
}

/// Copies a file and hashes the copy.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)?;
    sha256(to)
}
