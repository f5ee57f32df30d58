//! A job server in the form of `make` 4.4: a fifo with a token for each processor that nobody uses, on request only.
//!
//! All builds of a call share it (setting `build-job-server`), so that together they start no more programs than there
//! are processors. Each builder has one processor without a token. What builders do with the tokens is theirs: they can
//! keep, lose and invent some, and tell each other something by it, which is why it counts as less isolated.

#![expect(clippy::disallowed_methods, reason = "the fifo is a file")]

use std::fs::{File, OpenOptions, Permissions, set_permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use local_store::BuildDir;
use nix::sys::stat::Mode;
use store_path::StorePath;

use crate::build::Context;
use crate::failure::BuildFailure;

/// Where builds in a sandbox see the fifo.
pub(crate) const INSIDE: &str = "/job-server";

/// What `make` writes; any byte would do.
const TOKEN: u8 = b'+';

/// More bytes than a fifo holds.
const MOST_BYTES: usize = 1 << 20;

/// The fifo, which goes with the value, and what is known of its tokens.
#[derive(Debug)]
pub(crate) struct JobServer {
    path: PathBuf,
    /// Open for both, so that it never ends and no builder waits for a reader or a writer.
    fifo: File,
    books: Mutex<Books>,
    _directory: BuildDir,
}

/// Who may have how many tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Books {
    /// Processors.
    total: usize,
    /// Builders that run.
    running: usize,
    /// Tokens that are in the fifo or with builders, as far as they can be told.
    issued: usize,
}

/// The part of a builder in it, from its start to its end.
#[must_use = "dropping it tells that the builder has ended badly"]
pub(crate) struct Seat {
    server: Arc<JobServer>,
    ended_well: bool,
}

impl JobServer {
    /// Returns the job server of all builds with this context, made for the first of them; none unless one is wanted.
    pub(crate) fn of(context: &Context<'_>, drv: &StorePath) -> Result<Option<Arc<Self>>, BuildFailure> {
        if !context.settings.build_job_server {
            return Ok(None);
        }
        let mut made = context.host.job_server.lock().unwrap_or_else(PoisonError::into_inner);
        if made.is_none() {
            let directory = context
                .store
                .make_build_dir(context.settings.build_dir.as_deref())
                .map_err(|source| BuildFailure::BuildDir { drv: drv.clone(), source })?;
            *made = Some(Arc::new(Self::make(directory)?));
        }
        Ok(made.clone())
    }

    fn make(directory: BuildDir) -> Result<Self, BuildFailure> {
        let path = directory.path().join("jobs");
        let made = nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(io::Error::from)
            // Builders are other users, and the umask is not asked.
            .and_then(|()| set_permissions(&path, Permissions::from_mode(0o666)))
            .and_then(|()| {
                let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
                OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path)
            });
        let fifo = made.map_err(|source| BuildFailure::File {
            action: "make the fifo",
            path: path.clone(),
            source,
        })?;
        let total = std::thread::available_parallelism().map_or(1, usize::from);
        let books = Mutex::new(Books { total, running: 0, issued: 0 });
        Ok(Self { path, fifo, books, _directory: directory })
    }

    /// Returns where the fifo is on the host.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Counts a builder that is about to start.
    pub(crate) fn join(self: &Arc<Self>) -> Seat {
        self.settle(|books, free| books.join(free));
        Seat { server: Arc::clone(self), ended_well: false }
    }

    /// Takes all tokens out of the fifo, and puts as many in as there are to be. For that moment builders find none.
    fn settle(&self, change: impl FnOnce(&mut Books, usize) -> usize) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.drain();
        let tokens = change(&mut books, free);
        // A fifo that somebody has filled takes less; then nobody waits for a token either.
        let _ = (&self.fifo).write(&vec![TOKEN; tokens]);
    }

    /// Builders can write as fast as this reads.
    fn drain(&self) -> usize {
        let (mut free, mut buffer) = (0, [0; 4096]);
        while free < MOST_BYTES {
            match (&self.fifo).read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => free += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        free
    }
}

impl Books {
    /// Counts one builder more; returns how many tokens are to be in the fifo.
    fn join(&mut self, free: usize) -> usize {
        self.running += 1;
        self.settle(free)
    }

    /// Counts one builder less; returns how many tokens are to be in the fifo.
    ///
    /// One that was killed gives none back, and nobody knows how many it had: its share of those that builders have is
    /// taken for lost. If that was too much, too many come back, and are taken out again.
    fn leave(&mut self, free: usize, ended_well: bool) -> usize {
        let held = self.issued.saturating_sub(free);
        let lost = if ended_well { 0 } else { held.div_ceil(self.running.max(1)) };
        self.issued -= lost.min(self.issued);
        self.running = self.running.saturating_sub(1);
        self.settle(free)
    }

    fn settle(&mut self, free: usize) -> usize {
        // Where nobody runs, nobody has any.
        let held = if self.running == 0 { 0 } else { self.issued.saturating_sub(free) };
        let tokens = self.total.saturating_sub(self.running).saturating_sub(held);
        self.issued = held + tokens;
        tokens
    }
}

impl Seat {
    /// Tells that the builder has ended by itself, so that it has given back what it took.
    pub(crate) fn ended_well(mut self) {
        self.ended_well = true;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.server.settle(|books, free| books.leave(free, self.ended_well));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: Books = Books { total: 4, running: 0, issued: 0 };

    #[test]
    fn there_is_a_token_for_each_processor_that_no_builder_has() {
        let mut books = FOUR;
        assert_eq!(books.join(0), 3);
        assert_eq!(books.join(3), 2);
        // One of them takes both; one more builder takes a processor that is in use.
        assert_eq!(books.join(0), 0);
        assert_eq!(books.leave(0, true), 0, "two are still out");
        assert_eq!(books.leave(2, true), 3);
        assert_eq!(books.leave(3, true), 4);
    }

    #[test]
    fn what_a_killed_builder_had_comes_back() {
        let mut books = FOUR;
        books.join(0);
        books.join(3);
        // It had both tokens, the other one none.
        assert_eq!(books.leave(0, false), 2, "its share, and the processor that it had");
        assert_eq!(books.join(2), 1);
        // All are gone at last: nothing is lost for ever.
        books.leave(0, false);
        assert_eq!(books.leave(0, false), 4);
    }

    #[test]
    fn what_was_invented_is_taken_out() {
        let mut books = FOUR;
        books.join(0);
        assert_eq!(books.join(1_000), 2);
        assert_eq!(books.issued, 2);
        let mut many = Books { total: 1, ..FOUR };
        assert_eq!([many.join(0), many.join(0), many.leave(0, true), many.leave(0, true)], [0, 0, 0, 1]);
    }
}
