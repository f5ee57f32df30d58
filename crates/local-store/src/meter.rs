//! How far something is that takes long, for whoever watches it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How far something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many paths there are.
    pub of: usize,
    /// How many of them are done.
    pub paths: usize,
    /// How many bytes were read.
    pub bytes: u64,
}

/// Counts for all threads, and tells after each path and each [`STEP`].
pub(crate) struct Meter<'a> {
    of: usize,
    paths: AtomicUsize,
    bytes: AtomicU64,
    tell: &'a (dyn Fn(Progress) + Sync),
}

/// After so many bytes of one path it is told how far all is.
const STEP: u64 = 4 << 20;

impl<'a> Meter<'a> {
    pub(crate) fn new(of: usize, tell: &'a (dyn Fn(Progress) + Sync)) -> Self {
        Self { of, paths: AtomicUsize::new(0), bytes: AtomicU64::new(0), tell }
    }

    pub(crate) fn now(&self) -> Progress {
        let (paths, bytes) = (self.paths.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        Progress { of: self.of, paths, bytes }
    }

    pub(crate) fn path_done(&self) {
        self.paths.fetch_add(1, Ordering::Relaxed);
        (self.tell)(self.now());
    }

    fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what goes through into `through`.
    pub(crate) fn count<'meter, T>(&'meter self, through: T) -> Counted<'meter, 'a, T> {
        Counted { through, pending: 0, meter: self }
    }
}

/// Passes bytes on and counts them.
pub(crate) struct Counted<'meter, 'a, T> {
    through: T,
    /// Not told yet: threads would wait for each other at the common counter.
    pending: u64,
    meter: &'meter Meter<'a>,
}

impl<T> Counted<'_, '_, T> {
    /// Gives back what it was passed into.
    pub(crate) fn into_inner(self) -> T {
        self.meter.read(self.pending);
        self.through
    }
}

impl<T: Write> Write for Counted<'_, '_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.through.write(bytes)?;
        self.pending += written as u64;
        if self.pending >= STEP {
            self.meter.read(std::mem::take(&mut self.pending));
            (self.meter.tell)(self.meter.now());
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.through.flush()
    }
}
