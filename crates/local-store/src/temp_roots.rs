//! Roots that last as long as this process: what it is about to use must not be collected meanwhile.
#![expect(clippy::disallowed_methods, reason = "temporary roots are a file")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use store_path::StorePath;

use crate::durable;
use crate::error::Error;
use crate::failpoint;
use crate::location::Location;
use crate::open_file::{lock, open_lock_file, try_lock};
use crate::short_name::by_short_name;
use crate::store::{LocalStore, guard};
use crate::until::Until;

/// The file with this store's temporary roots. It is locked while they hold.
#[derive(Debug)]
pub(crate) struct TempRoots {
    path: PathBuf,
    file: File,
    /// How many bytes of it are said. What is behind was not written whole, as on a full disk, and is written over.
    length: u64,
    /// What they keep.
    pub(crate) kept: BTreeSet<StorePath>,
    /// What roots have kept until this process changed them.
    pub(crate) former: BTreeSet<StorePath>,
    /// The way to the collector that was told last. Nix aborts when one that it hears is gone at once.
    told: Option<UnixStream>,
}

impl LocalStore {
    /// Keeps `path`, valid or about to be, from being collected while the store is open.
    pub fn temp_root(&self, path: &StorePath) -> Result<(), Error> {
        self.temp_roots(std::slice::from_ref(path))
    }

    /// Keeps all of `paths` as [`LocalStore::temp_root`] does, in one step.
    pub fn temp_roots(&self, paths: &[StorePath]) -> Result<(), Error> {
        if self.is_untouched() {
            // Nothing can be told to collectors from here; where one can write, what is read may go.
            return Ok(());
        }
        let mut own = guard(&self.temp_roots);
        let roots = match &mut *own {
            Some(roots) => roots,
            none => none.insert(TempRoots::create(self.location())?),
        };
        // What is kept already, whoever collects knows.
        let new: Vec<StorePath> = paths.iter().filter(|path| !roots.kept.contains(path)).cloned().collect();
        if new.is_empty() { Ok(()) } else { roots.add(self.location(), &new) }
    }

    /// Keeps collectors from beginning while what it returns lives, or makes sure that the one that runs leaves `path` alone.
    ///
    /// A temporary root is not enough for what becomes another one: a collector, Nix's too, may look for lasting roots
    /// before it is one, and for temporary ones when this process has ended.
    pub(crate) fn hold_off_collectors(&self, path: &StorePath) -> Result<Option<File>, Error> {
        // One that does not listen has read the temporary roots already.
        let patience = Some(Duration::from_secs(1));
        match try_to_tell(self.location(), &[self.store_dir().print(path)], 3, patience)? {
            Some(Told::Nobody(lock)) => Ok(Some(lock)),
            Some(told) => {
                if let Some(roots) = &mut *guard(&self.temp_roots) {
                    roots.note(told);
                }
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Keeps `paths` from being collected for as long as what it returns lives.
    pub(crate) fn rooted(&self, paths: &[StorePath]) -> Result<TempRoots, Error> {
        let mut roots = TempRoots::create(self.location())?;
        roots.add(self.location(), paths)?;
        Ok(roots)
    }
}

impl LocalStore {
    /// Writes down, for the next start if this process dies, that `paths` are being deleted as long as the value lives.
    ///
    /// The caller keeps everybody from making roots, and knows the roots already.
    pub(crate) fn note_deleted(&self, paths: &[StorePath]) -> Result<TempRoots, Error> {
        let mut noted = TempRoots::create(self.location())?;
        noted.write(paths.iter().map(|path| self.store_dir().print(path)))?;
        Ok(noted)
    }
}

impl TempRoots {
    fn add(&mut self, location: &Location, paths: &[StorePath]) -> Result<(), Error> {
        let printed: Vec<String> = paths.iter().map(|path| location.store_dir.print(path)).collect();
        self.write(printed.iter())?;
        failpoint::reach("temproot.written")?;
        // Whoever begins to collect from now on reads the file; whoever has begun is told.
        self.note(tell_of(location, &printed)?);
        self.kept.extend(paths.iter().cloned());
        Ok(())
    }

    /// Writes paths behind those that the file has.
    fn write(&mut self, printed: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Error> {
        let text: String = printed.into_iter().fold(String::new(), |text, path| text + path.as_ref() + "\0");
        self.file.write_all_at(text.as_bytes(), self.length).map_err(Error::file("write", &self.path))?;
        self.length += text.len() as u64;
        Ok(())
    }

    /// Flushes what is written down, so that the next start knows it also after a power cut.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::file("sync", &self.path))?;
        durable::sync(&[], self.path.parent().unwrap_or(Path::new("/")))
    }

    fn note(&mut self, told: Told) {
        if let Told::Collector(collector) = told {
            self.told = Some(collector);
        }
    }

    fn create(location: &Location) -> Result<Self, Error> {
        let directory = location.state_dir.join("temproots");
        let process = std::process::id();
        // The first store of a process has the name that Nix gives it; Nix reads the number, and no further.
        let names = (0_u32..).map(|n| if n == 0 { process.to_string() } else { format!("{process}-{n}") });
        for path in names.map(|name| directory.join(name)) {
            if let Some(file) = claim(&path)? {
                failpoint::reach("temproot.claimed")?;
                let (kept, former) = (BTreeSet::new(), BTreeSet::new());
                return Ok(Self { path, file, length: 0, kept, former, told: None });
            }
        }
        unreachable!("names do not run out before memory does")
    }
}

impl Drop for TempRoots {
    fn drop(&mut self) {
        // A collector removes what stays behind: nobody holds its lock then.
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes the file at `path` unless a living store has it.
fn claim(path: &Path) -> Result<Option<File>, Error> {
    loop {
        let file = open_lock_file(path)?;
        if !try_lock(&file, path, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(None);
        }
        let metadata = file.metadata().map_err(Error::file("look at", path))?;
        if metadata.nlink() > 0 && metadata.len() == 0 {
            return Ok(Some(file));
        }
        // From a dead process that had the same number, or unlinked by a collector just now.
        if metadata.nlink() > 0 {
            fs::remove_file(path).map_err(Error::file("remove", path))?;
        }
    }
}

/// So often it is tried to tell a collector that runs and does not listen: it has just begun, or is about to end.
const TRIES: u32 = 200;

/// After so many milliseconds it is tried again.
const AGAIN_MILLIS: u32 = 5;

/// Who knows of a path now.
enum Told {
    /// No collector runs, nor begins as long as this lock is held.
    Nobody(File),
    /// The collector that runs; this is the way to it.
    Collector(UnixStream),
}

/// When a collector runs already, tells it about `paths` and waits for its word.
fn tell_of(location: &Location, paths: &[String]) -> Result<Told, Error> {
    if let Some(told) = try_to_tell(location, paths, TRIES, None)? {
        return Ok(told);
    }
    // It deletes without listening: what it leaves is safe once it has ended.
    let path = location.state_dir.join("gc.lock");
    let file = open_lock_file(&path)?;
    lock(&file, &path, FlockOperation::LockShared)?;
    Ok(Told::Nobody(file))
}

/// Returns none when a collector runs that does not listen.
fn try_to_tell(
    location: &Location,
    paths: &[String],
    tries: u32,
    patience: Option<Duration>,
) -> Result<Option<Told>, Error> {
    let path = location.state_dir.join("gc.lock");
    let file = open_lock_file(&path)?;
    for _ in 0..tries {
        if try_lock(&file, &path, FlockOperation::NonBlockingLockShared)? {
            return Ok(Some(Told::Nobody(file)));
        }
        if let Ok(told) = tell_collector(&location.collector_socket(), paths, patience) {
            return Ok(Some(Told::Collector(told)));
        }
        Until::DONE.is_over_within(AGAIN_MILLIS);
    }
    Ok(None)
}

fn tell_collector(socket: &Path, paths: &[String], patience: Option<Duration>) -> io::Result<UnixStream> {
    let connected = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    by_short_name(socket, |address| connect(&connected, address))?;
    let mut collector = UnixStream::from(connected);
    collector.set_read_timeout(patience)?;
    for path in paths {
        collector.write_all(format!("{path}\n").as_bytes())?;
        collector.read_exact(&mut [0])?;
    }
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Options;
    use crate::store::tests::{placed, scratch_store, some_path};

    fn rooted(location: &Location) -> Vec<StorePath> {
        let other = LocalStore::open(location.clone(), Options::default()).unwrap();
        other.passing_roots().unwrap().roots.into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn what_was_not_written_whole_hides_nothing_that_comes_later() {
        let (_scratch, store) = scratch_store();
        store.temp_root(&some_path("a")).unwrap();
        // As a disk that is full leaves it.
        let file = guard(&store.temp_roots).as_ref().unwrap().file.try_clone().unwrap();
        let end = file.metadata().unwrap().len();
        file.write_all_at(b"/nix/store/q790zd", end).unwrap();
        store.temp_root(&some_path("b")).unwrap();
        let roots = rooted(store.location());
        assert!(["a", "b"].iter().all(|name| roots.contains(&some_path(name))), "{roots:?}");
    }

    #[test]
    fn what_nobody_was_told_of_is_told_the_next_time() {
        let (_scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        let lock = store.location().state_dir.join("gc.lock");
        let _ = fs::remove_file(&lock);
        fs::create_dir(&lock).unwrap();
        for _ in 0..2 {
            store.temp_root(&some_path("a")).unwrap_err();
        }
        fs::remove_dir(lock).unwrap();
        store.temp_root(&some_path("a")).unwrap();
    }
}
