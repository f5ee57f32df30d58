//! Which builds run or wait, and who runs them: a file for each, so that nobody has to be asked.
//!
//! ```text
//! running-builds/<process>-<id>.json     written whole by the process that builds, gone when the build has ended
//! running-builds/<process>-….socket      where that process is told to give one up
//! ```
//!
//! A file tells what its owner does as long as the owner lives. Process numbers are used again, so a file names its
//! owner by number, time of start, boot and process namespace. Nothing here is synced or locked: what a crash leaves is
//! not believed, and swept at the next start of a store.
#![expect(clippy::disallowed_methods, reason = "running builds are files in the state directory")]

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use store_path::StorePath;

use crate::error::Error;
use crate::location::Location;
use crate::lock::remove_stale;
use crate::open_file::remove_file;
use crate::store::LocalStore;
use crate::sweep::Users;

mod cancel;
mod file;
mod holder;
mod owner;
mod vigil;

pub use cancel::{CancelAnswer, CancelCaller, CancelRequest, CancelSocket, cancel};
pub use holder::Holder;
pub(crate) use holder::command;
pub use owner::Owner;
pub use vigil::{End, Vigil};

/// Names a build while it runs: letters that are easy to type, and hardly any word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuildId(String);

/// A build that runs or waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningBuild {
    /// By what name to speak of it.
    pub id: BuildId,
    /// The derivation that is built, or the path that is fetched.
    pub drv: StorePath,
    /// The derivation that the owner was asked for, which is this one or needs it.
    pub target: StorePath,
    /// Its outputs, by name, as far as their paths are known.
    pub outputs: BTreeMap<String, StorePath>,
    /// Who builds it.
    pub owner: Owner,
    /// Since when it is the owner's business, in milliseconds since 1970.
    pub since_millis: i64,
    /// Where its log is written, if it is kept.
    pub log: Option<PathBuf>,
    /// What is done about it now.
    pub stage: Stage,
}

/// How far a build is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has not begun, as something has to end before.
    Waiting(Wait),
    /// Its builder runs.
    Building {
        /// The first process of the builder, or its keeper, as the owner's process namespace counts.
        process: u32,
        /// What the builder says that it is doing.
        phase: Option<String>,
    },
    /// A build hook has it built on another machine.
    Elsewhere {
        /// The machine, as the hook calls it.
        machine: String,
    },
    /// It is not built: this is about one path, which a substituter fetches.
    Fetching {
        /// The substituter.
        program: String,
    },
    /// Its builder has ended, and its outputs become valid.
    Keeping,
}

/// What a build waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Somebody else has the locks of its outputs.
    Lock {
        /// The name of the lock's file in the store directory.
        file: String,
        /// Who holds it, as far as that could be found out.
        holder: Option<Holder>,
    },
    /// Other builds have all users of builds.
    User,
    /// A program that has to run before it does (`pre-build-hook`).
    Hook {
        /// That program.
        program: PathBuf,
    },
}

/// Tells everybody about a build for as long as it is there.
#[derive(Debug)]
#[must_use = "dropping an Announcement takes it back"]
pub struct Announcement {
    directory: PathBuf,
    build: RunningBuild,
    /// Whether there is a file.
    is_told: bool,
}

/// How many letters an id has.
const ID_LENGTH: usize = 8;

/// No vowels, of which words are made, and no `l` and `y`.
const LETTERS: &[u8; 19] = b"bcdfghjkmnpqrstvwxz";

impl BuildId {
    /// Makes a new one.
    #[expect(clippy::new_without_default, reason = "no two of them are the same")]
    pub fn new() -> Self {
        // As random as what guards hash tables from strangers.
        let mut random = RandomState::new().hash_one(0);
        let letters = std::iter::repeat_with(|| {
            let letter = LETTERS[(random % LETTERS.len() as u64) as usize];
            random /= LETTERS.len() as u64;
            char::from(letter)
        });
        Self(letters.take(ID_LENGTH).collect())
    }

    /// Reads what [`BuildId`] prints.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == ID_LENGTH && text.bytes().all(|byte| LETTERS.contains(&byte));
        is_id.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LocalStore {
    /// Prepares to tell about a build of this process; the first [`Announcement::tell`] does.
    ///
    /// Of `outputs` those are given whose paths are known before they are built.
    pub fn announce(
        &self,
        id: BuildId,
        drv: &StorePath,
        target: &StorePath,
        outputs: BTreeMap<String, StorePath>,
        log: Option<PathBuf>,
        since_millis: i64,
    ) -> Announcement {
        let owner = self.owner.get_or_init(Owner::this_process).clone();
        let (drv, target) = (drv.clone(), target.clone());
        let stage = Stage::Keeping;
        Announcement {
            directory: self.location().running_builds(),
            build: RunningBuild { id, drv, target, outputs, owner, since_millis, log, stage },
            is_told: false,
        }
    }
}

impl Announcement {
    /// Returns the id, which stays the same.
    pub fn id(&self) -> &BuildId {
        &self.build.id
    }

    /// Tells how far the build is. Where that cannot be written, nobody hears of it, and the build goes on.
    pub fn tell(&mut self, stage: Stage) {
        self.build.stage = stage;
        self.is_told |= self.write().is_ok();
    }

    fn write(&self) -> io::Result<()> {
        let path = self.path();
        // Whoever reads it half written takes no notice of it the first time.
        let aside = if self.is_told { path.with_extension("new") } else { path.clone() };
        let written = write(&aside, &self.build);
        if written.is_err() {
            // As on a full disk.
            let _ = fs::remove_file(&aside);
        }
        written?;
        if self.is_told { fs::rename(&aside, &path) } else { Ok(()) }
    }

    fn path(&self) -> PathBuf {
        path(&self.directory, &self.build)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if self.is_told {
            // What cannot be removed is not believed once this process has ended.
            let _ = fs::remove_file(self.path());
        }
    }
}

fn path(directory: &Path, build: &RunningBuild) -> PathBuf {
    directory.join(format!("{}-{}.json", build.owner.process, build.id))
}

fn write(path: &Path, build: &RunningBuild) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(&file::print(build))
}

/// Returns the builds that run or wait in the store at `location`, the oldest first.
///
/// Neither locks nor opens the store, so it works for whoever may read its state directory.
///
/// # Errors
/// [`Error::File`] if the directory cannot be read.
pub fn running_builds(location: &Location) -> Result<Vec<RunningBuild>, Error> {
    let mut living = HashMap::new();
    let mut builds = Vec::new();
    let files = files(location)?.into_iter();
    for (path, _) in files.filter(|(path, _)| path.extension().is_some_and(|ending| ending == "json")) {
        // One that has ended meanwhile, or whose file is just being made.
        let Some(build) = fs::read(&path).ok().and_then(|bytes| file::parse(&bytes)) else { continue };
        if *living.entry(build.owner.clone()).or_insert_with(|| build.owner.may_live()) {
            builds.push(build);
        }
    }
    builds.sort_by(|left, right| (left.since_millis, &left.id).cmp(&(right.since_millis, &right.id)));
    Ok(builds)
}

/// Removes what dead processes have left, and the files of the locks under which they built.
pub(crate) fn sweep(location: &Location, users: &mut Users) -> Result<(), Error> {
    let mut dead = HashMap::new();
    for (path, process) in files(location)? {
        // As cheap as it can be, since each start of `store` pays for it: who lives is not read.
        let may_be_gone = || process == std::process::id() || users.is_nobody(process);
        if !*dead.entry(process).or_insert_with(may_be_gone) {
            continue;
        }
        // Another container counts its processes otherwise.
        if path.extension().is_some_and(|ending| ending == "socket") {
            if cancel::is_deaf(&path) {
                remove_file(&path)?;
            }
            continue;
        }
        let build = fs::read(&path).ok().and_then(|bytes| file::parse(&bytes));
        if build.as_ref().is_some_and(|build| build.owner.may_live()) {
            continue;
        }
        build.iter().flat_map(|build| locks_of(location, build)).for_each(|lock| remove_stale(&lock));
        remove_file(&path)?;
    }
    Ok(())
}

/// Returns the files of locks that a build may have left.
fn locks_of(location: &Location, build: &RunningBuild) -> Vec<PathBuf> {
    if !build.outputs.is_empty() {
        let file = |path: &StorePath| location.real_store.join(format!("{path}.lock"));
        return build.outputs.values().map(file).collect();
    }
    // They have the names of its outputs, which only the derivation tells.
    let names = fs::read_dir(&location.real_store).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let locks = names.filter(|name| holder::is_lock_of(name, build));
    locks.map(|name| location.real_store.join(name)).collect()
}

/// Returns the files there are, with the numbers of their owners.
fn files(location: &Location) -> Result<Vec<(PathBuf, u32)>, Error> {
    let directory = location.running_builds();
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("list", &directory))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file("list", &directory))?;
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split_once('-')?.0.parse().ok());
        files.extend(owner.map(|owner| (entry.path(), owner)));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{scratch_store, some_path};

    pub(super) fn announce(store: &LocalStore) -> Announcement {
        let (drv, target) = (some_path("x.drv"), some_path("y.drv"));
        let outputs = BTreeMap::from([("out".to_owned(), some_path("x"))]);
        store.announce(BuildId::new(), &drv, &target, outputs, Some(PathBuf::from("/log")), 17)
    }

    #[test]
    fn a_build_is_told_of_until_it_has_ended() {
        let (_scratch, store) = scratch_store();
        let mut build = announce(&store);
        assert_eq!(running_builds(store.location()).unwrap(), []);
        let holder = Holder {
            process: 1,
            command: Some("init".to_owned()),
            build: Some(BuildId::new()),
            since_millis: Some(12),
            log: Some(PathBuf::from("/other")),
        };
        let wait = Wait::Lock { file: "x.lock".to_owned(), holder: Some(holder) };
        let building = |phase: Option<&str>| Stage::Building { process: 7, phase: phase.map(str::to_owned) };
        let away = Stage::Elsewhere { machine: "builder@far".to_owned() };
        for stage in [
            Stage::Waiting(wait),
            Stage::Waiting(Wait::User),
            Stage::Waiting(Wait::Hook { program: PathBuf::from("/hook") }),
            building(None),
            building(Some("install")),
            away,
        ] {
            build.tell(stage.clone());
            let told = running_builds(store.location()).unwrap();
            assert_eq!(told, [RunningBuild { stage, ..build.build.clone() }]);
            assert_eq!(BuildId::parse(&told[0].id.to_string()).as_ref(), Some(build.id()));
        }
        drop(build);
        assert_eq!(files(store.location()).unwrap(), []);
    }

    #[test]
    fn a_number_that_is_used_again_is_not_believed() {
        let (_scratch, store) = scratch_store();
        let mut build = announce(&store);
        build.build.owner.started += 1;
        build.tell(Stage::Keeping);
        assert_eq!(running_builds(store.location()).unwrap(), []);
    }

    #[test]
    fn what_the_dead_have_left_is_swept() {
        let (_scratch, store) = scratch_store();
        let mut left = announce(&store);
        // Above what the kernel gives to processes.
        left.build.owner.process = u32::MAX >> 1;
        left.tell(Stage::Keeping);
        fs::write(left.path().with_extension("new"), "").unwrap();
        let lock = |name: &str| store.location().real_store.join(name);
        let [own, other] = [lock(&format!("{}.lock", some_path("x"))), lock("other.lock")];
        let mut floating = announce(&store);
        (floating.build.owner.process, floating.build.outputs) = (u32::MAX >> 1, BTreeMap::new());
        floating.tell(Stage::Keeping);
        let drv = &floating.build.drv;
        let [unheld, held] = ["dev", "out"].map(|output| lock(&format!("{drv}.{output}.lock")));
        [&own, &other, &unheld].into_iter().for_each(|file| fs::write(file, "").unwrap());
        let somebody = store.lock(&[format!("{drv}.out")]).unwrap();
        let mut living = announce(&store);
        living.tell(Stage::Keeping);
        sweep(store.location(), &mut Users::of(store.location())).unwrap();
        assert_eq!(files(store.location()).unwrap(), [(living.path(), std::process::id())]);
        assert!(!own.exists() && !unheld.exists() && other.exists() && held.exists());
        drop(somebody);
    }

    #[test]
    fn what_another_container_runs_is_left_alone() {
        let (_scratch, store) = scratch_store();
        let mut foreign = announce(&store);
        foreign.build.owner.process = u32::MAX >> 1;
        foreign.build.owner.namespace = "pid:[1]".to_owned();
        foreign.tell(Stage::Keeping);
        sweep(store.location(), &mut Users::of(store.location())).unwrap();
        let told = running_builds(store.location()).unwrap();
        assert!(told[0].owner.is_elsewhere(), "{told:?}");
    }

    #[test]
    fn what_is_no_file_of_ours_is_passed_over() {
        let (_scratch, store) = scratch_store();
        let own = std::process::id();
        for text in ["", "{", "{}", "[1]", "{\"version\": 2}"] {
            fs::write(store.location().running_builds().join(format!("{own}-bcdfghjk.json")), text).unwrap();
            assert_eq!(running_builds(store.location()).unwrap(), [], "{text}");
        }
    }
}
