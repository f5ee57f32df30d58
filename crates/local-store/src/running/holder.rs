//! Who holds a lock that a build waits for.
#![expect(clippy::disallowed_methods, reason = "looks at lock files and processes")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use store_path::StorePath;

use super::{BuildId, RunningBuild, Stage, running_builds};
use crate::location::Location;
use crate::store::LocalStore;

/// Whoever holds a lock: a process of ours, or one of Nix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub process: u32,
    /// Its command line, as far as it may be looked at.
    pub command: Option<String>,
    /// The build for which it holds the lock, if that is one of ours.
    pub build: Option<BuildId>,
    /// Since when, in milliseconds since 1970.
    pub since_millis: Option<i64>,
    /// Where the log of that build is written, if it is one of ours and keeps it.
    pub log: Option<PathBuf>,
}

impl LocalStore {
    /// Returns who holds the lock of that name, as far as it can be found out.
    pub fn holder(&self, lock: &str) -> Option<Holder> {
        let builds = running_builds(self.location()).unwrap_or_default();
        let own = |build: &&RunningBuild| {
            !matches!(build.stage, Stage::Waiting(_))
                && is_lock_of(lock, build)
                && !build.owner.is_elsewhere()
        };
        if let Some(build) = builds.iter().find(own) {
            return Some(Holder {
                process: build.owner.process,
                command: command(build.owner.process),
                build: Some(build.id.clone()),
                since_millis: Some(build.since_millis),
                log: build.log.clone(),
            });
        }
        stranger(self.location(), lock)
    }
}

/// Whether a lock is one of the outputs of a build.
pub(super) fn is_lock_of(lock: &str, build: &RunningBuild) -> bool {
    let Some(name) = lock.strip_suffix(".lock") else { return false };
    let is_output = |path: &StorePath| path.to_string() == name;
    let is_floating = || name.strip_prefix(&build.drv.to_string()).is_some_and(|rest| rest.starts_with('.'));
    build.outputs.values().any(is_output) || is_floating()
}

/// Asks the kernel, which knows holders by the inode of the file.
fn stranger(location: &Location, lock: &str) -> Option<Holder> {
    let metadata = fs::metadata(location.real_store.join(lock)).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let process = locks.lines().find_map(|line| holder_in(line, metadata.ino()))?;
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Some(Holder {
        process,
        command: command(process),
        build: None,
        since_millis: since.and_then(|since| i64::try_from(since.as_millis()).ok()),
        log: None,
    })
}

/// Returns the holder in a line as `1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF`, if it is about that inode.
///
/// Of the device nothing is said, as some file systems name another one here than to whoever looks at the file.
fn holder_in(line: &str, inode: u64) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    if fields.next()? != "FLOCK" {
        // `->`, for one, who waits.
        return None;
    }
    let mut fields = fields.skip(2);
    let (process, file) = (fields.next()?, fields.next()?);
    (file.rsplit(':').next()?.parse() == Ok(inode)).then_some(())?;
    // Those in other containers have no number here.
    process.parse().ok().filter(|process| *process > 0)
}

/// Returns the command line of a process. It may say anything.
pub(crate) fn command(process: u32) -> Option<String> {
    let line = fs::read(Path::new("/proc").join(process.to_string()).join("cmdline")).ok()?;
    let words: Vec<String> = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{scratch_store, some_path};

    #[test]
    fn a_line_of_the_kernel_names_the_holder() {
        let line = "1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF";
        assert_eq!((holder_in(line, 131), holder_in(line, 31)), (Some(4242), None));
        assert_eq!(holder_in("1: -> FLOCK  ADVISORY  WRITE 7 08:01:131 0 EOF", 131), None);
        assert_eq!(holder_in("1: POSIX  ADVISORY  WRITE 7 08:01:131 0 EOF", 131), None);
        assert_eq!(holder_in("1: FLOCK  ADVISORY  WRITE 0 08:01:131 0 EOF", 131), None);
    }

    #[test]
    fn a_lock_without_a_build_is_found_in_the_kernel() {
        let (_scratch, store) = scratch_store();
        let path = some_path("locked");
        let _lock = store.lock(std::slice::from_ref(&path)).unwrap();
        let holder = store.holder(&format!("{path}.lock")).unwrap();
        assert_eq!((holder.process, holder.build), (std::process::id(), None));
        assert!(holder.since_millis.is_some() && holder.command.is_some());
        assert_eq!(store.holder(&format!("{}.lock", some_path("free"))), None);
    }
}
