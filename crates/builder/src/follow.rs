//! Following a log that somebody else writes, without looking at it again and again.
#![expect(clippy::disallowed_methods, reason = "reads the logs of builds")]

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// The log of a running build, as it is written.
///
/// Once it is open, it can be read to its end also when its writer has compressed it away. A builder that is run once
/// more has a new file, so nothing is lost of the old one.
#[derive(Debug)]
pub struct Follow {
    pub(crate) path: PathBuf,
    /// Older files are what an earlier build has left.
    pub(crate) since: SystemTime,
    file: Option<File>,
    news: Inotify,
    /// What `news` is of: the directory of the log, or the nearest above it until that is there.
    watched: PathBuf,
}

/// What is heard of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The build printed this.
    Output(&'a [u8]),
    /// Its builder is run once more, and the log begins anew.
    Again,
}

/// File systems keep a time that is a little behind.
const BEHIND: Duration = Duration::from_millis(100);

impl Follow {
    /// Begins to follow the log at `path` of a build that somebody began at `since_millis`; it need not be there yet.
    ///
    /// # Errors
    /// If the kernel gives out no more of what that takes, or the directory of logs cannot be read.
    pub fn new(path: PathBuf, since_millis: i64) -> io::Result<Self> {
        let news = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let since = UNIX_EPOCH + Duration::from_millis(u64::try_from(since_millis).unwrap_or(0));
        let since = since.checked_sub(BEHIND).unwrap_or(UNIX_EPOCH);
        let mut follow = Self { path, since, file: None, news, watched: PathBuf::new() };
        follow.watch()?;
        Ok(follow)
    }

    /// Whether there was anything to read yet, be it an empty file.
    pub fn has_begun(&self) -> bool {
        self.file.is_some()
    }

    /// Passes on what was written since the last time.
    pub fn read(&mut self, on_news: &mut dyn FnMut(Heard<'_>)) {
        while self.news.read_events().is_ok() {}
        // What cannot be watched now could not be read either.
        let _ = self.watch();
        loop {
            // Its writer is done with a file before it makes the next one.
            let next = self.next();
            if let Some(file) = &mut self.file {
                pass_on(file, on_news);
            }
            let Some(next) = next else { return };
            if self.file.replace(next).is_some() {
                on_news(Heard::Again);
            }
        }
    }

    /// Returns the file to go on with, if it is not the one that is open.
    fn next(&self) -> Option<File> {
        let file = File::open(&self.path).ok()?;
        let metadata = file.metadata().ok()?;
        let is_open = |open: &File| open.metadata().is_ok_and(|open| is_same(&open, &metadata));
        let is_ours = metadata.modified().is_ok_and(|modified| modified >= self.since);
        (is_ours && !self.file.as_ref().is_some_and(is_open)).then_some(file)
    }

    /// Has the kernel tell of the directory of the log, or of the nearest one above that is there.
    fn watch(&mut self) -> io::Result<()> {
        let directories = self.path.ancestors().skip(1);
        let kinds = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MODIFY;
        for directory in directories {
            if directory == self.watched {
                return Ok(());
            }
            match self.news.add_watch(directory, kinds) {
                Ok(_) => {
                    self.watched = directory.to_owned();
                    // The next one may have been made just before.
                    return if self.is_nearest(directory) { Ok(()) } else { self.watch() };
                }
                Err(nix::errno::Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Whether no directory on the way from this one to the log is there.
    fn is_nearest(&self, directory: &Path) -> bool {
        let below = self.path.ancestors().skip(1).take_while(|below| *below != directory).last();
        below.is_none_or(|below| !below.exists())
    }
}

/// Readable when there may be something to read.
impl AsFd for Follow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

fn is_same(left: &Metadata, right: &Metadata) -> bool {
    (left.dev(), left.ino()) == (right.dev(), right.ino())
}

fn pass_on(file: &mut File, on_news: &mut dyn FnMut(Heard<'_>)) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(length) if length > 0 => on_news(Heard::Output(&buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn heard(follow: &mut Follow) -> Vec<String> {
        let mut all = Vec::new();
        follow.read(&mut |heard| match heard {
            Heard::Output(bytes) => all.push(String::from_utf8_lossy(bytes).into_owned()),
            Heard::Again => all.push("again".to_owned()),
        });
        all
    }

    #[test]
    fn a_log_is_followed_from_before_its_directory_is_there_and_beyond_its_end() {
        let scratch = test_support::Scratch::new();
        let directory = scratch.join("logs/drvs/ab");
        let log = directory.join("x.drv");
        let mut follow = Follow::new(log.clone(), 0).unwrap();
        assert!(heard(&mut follow).is_empty() && !follow.has_begun());
        fs::create_dir_all(&directory).unwrap();
        assert!(heard(&mut follow).is_empty());
        assert_eq!(follow.watched, directory);
        fs::write(&log, "one\n").unwrap();
        assert_eq!(heard(&mut follow), ["one\n"]);
        fs::remove_file(&log).unwrap();
        assert!(heard(&mut follow).is_empty());
        fs::write(&log, "two\n").unwrap();
        assert_eq!(heard(&mut follow), ["again", "two\n"]);
    }

    #[test]
    fn what_an_earlier_build_has_left_is_not_read() {
        let scratch = test_support::Scratch::new();
        let log = scratch.join("x.drv");
        fs::write(&log, "old").unwrap();
        let in_an_hour = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 + 3_600_000;
        let mut follow = Follow::new(log, in_an_hour).unwrap();
        assert!(heard(&mut follow).is_empty());
    }
}
