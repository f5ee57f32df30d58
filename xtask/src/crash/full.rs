//! `cargo xtask crash --disk-full`: a build that has too little room somewhere, however little that is.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Result, anyhow, bail, ensure};
use nix::mount::{MsFlags, mount, umount};
use test_support::crash::World;

use super::disk;

/// By how much a disk is larger than the one before.
const STEP: usize = 8 << 10;

/// More than any of it needs.
const ENOUGH: &str = "size=64m";

/// So many sizes in a row have to be enough before it is believed.
const SURE: usize = 3;

/// What a disk is for, and where it is mounted in a store.
const USES: [(&str, &str); 4] = [
    ("the store", "nix/store"),
    ("the directories of builds", "nix/var/nix/builds"),
    ("the database", "nix/var/nix/db"),
    ("the logs", "nix/var/log/nix"),
];

/// Prints, keeps in its build directory, and puts out about 100 KiB each.
const SCRIPT: &str = "i=0; while [ $i -lt 900 ]; do l=\\\"line $i: 0123456789012345678901234567890123456789012345678901234567890123456789\
    01234567890123456789012345678901234567890123456789\\\"; echo $l || exit 1; echo $l >> kept || exit 1; echo $l >> $out || exit 1; \
    i=$((i+1)); done";

/// Tries all sizes for all uses.
pub(super) fn run(program: &Path) -> Result<()> {
    disk::own_mounts()?;
    let results = thread::scope(|scope| {
        let threads = USES.map(|(name, place)| (name, scope.spawn(move || sweep(program, name, place))));
        threads.map(|(name, thread)| (name, thread.join().expect("no thread panics")))
    });
    for (name, result) in results {
        let (refused, enough) = result.map_err(|error| anyhow!("with little room for {name}: {error}"))?;
        println!("{name}: {refused} sizes too small, {} KiB enough: ok", enough >> 10);
    }
    Ok(())
}

/// Returns how many sizes were too small, and which was enough.
fn sweep(program: &Path, name: &str, place: &str) -> Result<(usize, usize)> {
    let (mut refused, mut sure, mut size) = (0, 0, 4 << 10);
    loop {
        let is_enough = try_out(program, place, size).map_err(|error| anyhow!("{size} bytes: {error}"))?;
        sure = if is_enough { sure + 1 } else { 0 };
        refused += usize::from(!is_enough);
        if sure == SURE {
            ensure!(refused > 0 || name == "the logs", "no size was too small");
            return Ok((refused, size - (SURE - 1) * STEP));
        }
        size += STEP;
        ensure!(size < 8 << 20, "no size is enough");
    }
}

/// A disk of some size; dropping it unmounts it.
struct Small(PathBuf);

impl Small {
    fn new(place: PathBuf, size: usize) -> Result<Self> {
        fs::create_dir_all(&place)?;
        mount(Some("small"), &place, Some("tmpfs"), MsFlags::empty(), Some(format!("size={size}").as_str()))?;
        Ok(Self(place))
    }

    fn grow(&self) -> Result<()> {
        Ok(mount(Some("small"), &self.0, Some("tmpfs"), MsFlags::MS_REMOUNT, Some(ENOUGH))?)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount(&self.0);
    }
}

/// Builds with so much room; returns whether that was enough.
fn try_out(program: &Path, place: &str, size: usize) -> Result<bool> {
    let wrong = anyhow::Error::msg;
    let world = World::new(program).map_err(wrong)?;
    let small = Small::new(world.root().join(place), size)?;
    let recipe = format!(
        r#"{{ "name": "x", "system": "x86_64-linux", "builder": "/bin/sh", "args": ["-c", "{SCRIPT}"], "env": {{}},
             "inputSrcs": [], "inputDrvs": {{}}, "outputs": {{ "out": {{}} }} }}"#
    );
    world.write("x.json", recipe).map_err(wrong)?;
    let build = ["build", "--quiet", "--no-link", "x.json"];
    let first = world.run(&build).map_err(wrong)?;
    let mount = small.0.to_string_lossy();
    let names_it = first.stderr.contains(&*mount);
    let is_enough = first.code == Some(0);
    if !(is_enough || names_it && first.stderr.contains("disk is full")) {
        bail!("the message does not name `{mount}` ({:?}): {}", first.code, first.stderr);
    }
    // It went on without its log, and has to say so.
    let lacked = is_enough && !first.stderr.is_empty();
    ensure!(!lacked || names_it, "the message does not name `{mount}`: {}", first.stderr);
    small.grow()?;
    world.verify().map_err(|wrong| anyhow!("once there is room: {wrong}"))?;
    let again = world.run(&build).map_err(wrong)?;
    ensure!(again.code == Some(0), "once there is room, it fails: {}", again.stderr);
    world.verify().map_err(|wrong| anyhow!("after the repetition: {wrong}"))?;
    Ok(is_enough && !lacked)
}
