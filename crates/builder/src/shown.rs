//! What builds are shown of the host, and which files exactly those were.

#![expect(clippy::disallowed_methods, reason = "reads files of the host that builds are shown")]

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sandbox::Op;
use serde::{Deserialize, Serialize};
use settings::Settings;
use store_path::{HashAlgorithm, HashSink};

/// A larger file is not hashed: that would take longer than many builds.
const LARGEST: u64 = 256 << 20;

/// What let builds see a shell of the host's.
pub(crate) const SHELL: &str = "sandbox-shell";
/// What let them see anything else.
pub(crate) const DIRS: &str = "build-chroot-dirs";
/// What let one build see what it asked for.
pub(crate) const HOST_DEPS: &str = "allowed-impure-host-deps";
/// What a hook had one build see.
pub(crate) const PRE_BUILD_HOOK: &str = "pre-build-hook";
const NETWORK: &str = "fod-network";
const FEATURES: &str = "system-features";

/// One file or directory of the host that a build was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shown {
    /// Where the build saw it.
    pub target: String,
    /// Where it was on the host.
    pub source: String,
    /// The setting that asked for it.
    pub setting: String,
    /// Whether it was a single file.
    pub file: bool,
    /// Digest of that file in base 16; `None` if it could not be read, was very large, or changed meanwhile.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// Everything of the host that builds are shown, and the digests that were needed so far.
#[derive(Debug, Default)]
pub(crate) struct HostFiles {
    entries: Vec<Entry>,
    digests: Mutex<HashMap<Key, Option<String>>>,
}

#[derive(Clone, Debug)]
struct Entry {
    source: PathBuf,
    target: PathBuf,
    setting: &'static str,
}

/// Two looks that find the same see the same file with the same contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What one build is shown, as it was before it began.
pub(crate) struct Before<'a> {
    files: &'a HostFiles,
    looks: Vec<(Entry, Option<Key>)>,
}

impl HostFiles {
    /// Takes what `dirs` and then `shell` are shown by, and what comes with the network or a feature.
    pub(crate) fn new(dirs: &[Op], shell: &[Op], network: &[Op], settings: &Settings) -> Self {
        let mut entries = Vec::new();
        for (ops, setting) in [(dirs, DIRS), (shell, SHELL), (network, NETWORK)] {
            entries.extend(ops.iter().filter_map(|op| Entry::of(op, setting)));
        }
        let kvm = PathBuf::from("/dev/kvm");
        let is_wanted = settings.system_features.iter().any(|feature| feature == "kvm");
        if is_wanted && settings.build_use_chroot.isolates() && kvm.exists() {
            entries.push(Entry { source: kvm.clone(), target: kvm, setting: FEATURES });
        }
        Self { entries, digests: Mutex::default() }
    }

    /// Looks at what a build is about to be shown; of the files that come with a network, of what it asked for itself, and
    /// of what a hook wants, at those that `ops` bind.
    pub(crate) fn look(&self, ops: &[Op], host_deps: &[Op], hooked: &[Op]) -> Before<'_> {
        let shown = self
            .entries
            .iter()
            .filter(|entry| entry.setting != NETWORK || ops.iter().any(|op| entry.is_of(op)))
            .cloned();
        let asked = host_deps.iter().map(|op| (op, HOST_DEPS));
        let own = asked.chain(hooked.iter().map(|op| (op, PRE_BUILD_HOOK)));
        let own = own.filter(|(op, _)| ops.contains(op)).filter_map(|(op, setting)| Entry::of(op, setting));
        let looks = shown.chain(own).map(|entry| {
            let key = Key::of(&entry.source);
            (entry, key)
        });
        Before { files: self, looks: looks.collect() }
    }

    /// The digest of a file that was looked at; each is read once.
    fn digest(&self, path: &Path, key: Key) -> Option<String> {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.entry(key).or_insert_with(|| digest(path, key).ok().flatten()).clone()
    }
}

impl Before<'_> {
    /// Hashes what was not hashed before, best while the builder runs.
    pub(crate) fn hash(&self) {
        for (entry, key) in &self.looks {
            key.and_then(|key| self.files.digest(&entry.source, key));
        }
    }

    /// What the build was shown, now that it has ended.
    pub(crate) fn finish(self) -> Vec<Shown> {
        let shown = self.looks.into_iter().map(|(entry, key)| {
            let same = key.filter(|key| Key::of(&entry.source).as_ref() == Some(key));
            Shown {
                target: entry.target.to_string_lossy().into_owned(),
                source: entry.source.to_string_lossy().into_owned(),
                setting: entry.setting.to_owned(),
                file: key.is_some(),
                sha256: same.and_then(|key| self.files.digest(&entry.source, key)),
            }
        });
        shown.collect()
    }
}

impl Entry {
    fn of(op: &Op, setting: &'static str) -> Option<Self> {
        match op {
            Op::Bind { source, target, .. } => {
                Some(Self { source: source.clone(), target: target.clone(), setting })
            }
            _ => None,
        }
    }
}

impl Entry {
    /// Whether that is what shows it.
    fn is_of(&self, op: &Op) -> bool {
        matches!(op, Op::Bind { source, target, .. } if *source == self.source && *target == self.target)
    }
}

impl Key {
    /// `None` for what is not a regular file.
    fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().and_then(Self::of_metadata)
    }

    fn of_metadata(metadata: &Metadata) -> Option<Self> {
        metadata.is_file().then(|| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Reads the file that `key` is of; another one that is there now gives nothing.
fn digest(path: &Path, key: Key) -> io::Result<Option<String>> {
    let file = File::open(path)?;
    if key.size > LARGEST || Key::of_metadata(&file.metadata()?) != Some(key) {
        return Ok(None);
    }
    let mut sink = HashSink::new(HashAlgorithm::Sha256);
    io::copy(&mut file.take(key.size), &mut sink)?;
    Ok(Some(sink.finish().0.to_base16()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox::Access;
    use test_support::Scratch;

    fn bind(source: &Path) -> Op {
        let (source, target) = (source.to_owned(), PathBuf::from("/bin/sh"));
        Op::Bind { source, target, access: Access::ReadOnly, optional: false }
    }

    fn shown(files: &HostFiles, meanwhile: impl FnOnce()) -> Shown {
        let before = files.look(&[], &[], &[]);
        before.hash();
        meanwhile();
        before.finish().remove(0)
    }

    #[test]
    fn a_file_is_told_by_its_digest_for_as_long_as_it_is_that_file() {
        let scratch = Scratch::new();
        let file = scratch.join("sh");
        fs::write(&file, "hello").unwrap();
        let files = HostFiles::new(&[], &[bind(&file)], &[], &Settings::default());
        let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let first = shown(&files, || {});
        assert_eq!((first.sha256.as_deref(), first.setting.as_str(), first.file), (Some(hello), SHELL, true));
        let swapped = shown(&files, || {
            fs::write(scratch.join("other"), "hallo").unwrap();
            fs::rename(scratch.join("other"), &file).unwrap();
        });
        assert_eq!(swapped.sha256, None, "nobody knows which of both it saw");
        let later = shown(&files, || {}).sha256.unwrap();
        assert_ne!(later, hello);
        assert_eq!(files.digests.lock().unwrap().len(), 2);
        fs::remove_file(&file).unwrap();
        assert_eq!(shown(&files, || {}).sha256, None);
    }

    #[test]
    fn a_directory_has_no_digest_and_the_networks_files_come_with_it_only() {
        let scratch = Scratch::new();
        let files =
            HostFiles::new(&[bind(scratch.path())], &[], &[bind(scratch.path())], &Settings::default());
        let settings = |ops: &[Op]| -> Vec<String> {
            files.look(ops, &[], &[]).finish().into_iter().map(|shown| shown.setting).collect()
        };
        assert_eq!(settings(&[Op::Loopback]), [DIRS]);
        assert_eq!(settings(&[bind(scratch.path())]), [DIRS, NETWORK]);
        assert!(!files.look(&[], &[], &[]).finish()[0].file);
    }
}
