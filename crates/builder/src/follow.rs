//! Following a log that somebody else writes, without looking at it again and again.
#![expect(clippy::disallowed_methods, reason = "reads the logs of builds")]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// The log of a running build, as it is written.
///
/// Once it is open, it can be read to its end also when its writer has compressed it away.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    file: Option<File>,
    /// Has news of the directory; logs are in one of a thousand.
    news: Inotify,
}

impl Follow {
    /// Begins to follow the log at `path`, which need not be there yet; nothing if that cannot be.
    pub fn new(path: PathBuf) -> Option<Self> {
        let news = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
        let directory = path.parent()?;
        // The writer makes it with the first that is printed.
        std::fs::create_dir_all(directory).ok()?;
        news.add_watch(directory, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MODIFY).ok()?;
        Some(Self { path, file: None, news })
    }

    /// Passes on what was written since the last time.
    pub fn read(&mut self, on_output: &mut dyn FnMut(&[u8])) {
        while self.news.read_events().is_ok() {}
        let file = match &mut self.file {
            Some(file) => file,
            None => match File::open(&self.path) {
                Ok(file) => self.file.insert(file),
                Err(_) => return,
            },
        };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(length) if length > 0 => on_output(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

/// Readable when there may be something to read.
impl AsFd for Follow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}
