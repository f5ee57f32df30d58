//! Work for several threads, all of which have ended when a call here returns.
#![expect(clippy::disallowed_methods, reason = "the one module with threads")]

use std::io::{self, BufReader, PipeWriter, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use store_path::{Digest, Hash, HashAlgorithm, HashSink, Rewriter};

use crate::error::Error;
use crate::part::Part;
use crate::until::Until;

/// Does `work` on every item, in up to `jobs` threads; the results come in the order of the items.
pub(crate) fn on_each<T: Sync, R: Send>(items: &[T], jobs: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, (sender, results)) = (AtomicUsize::new(0), mpsc::channel());
    let run = |sender| take_all(items, &next, &work, sender);
    thread::scope(|scope| {
        for _ in 1..jobs.clamp(1, items.len().max(1)) {
            let sender = sender.clone();
            // Where no more threads may be started, those that are there do it all.
            if thread::Builder::new().spawn_scoped(scope, || run(sender)).is_err() {
                break;
            }
        }
        run(sender);
    });
    let mut results: Vec<(usize, R)> = results.into_iter().collect();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Does `work` on every item, in up to `jobs` threads, and tells of each here when it is done, with its index.
pub(crate) fn told<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
    mut tell: impl FnMut(usize, R),
) {
    let (next, (sender, results)) = (AtomicUsize::new(0), mpsc::channel());
    let run = |sender| take_all(items, &next, &work, sender);
    thread::scope(|scope| {
        let mut threads = 0;
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            let sender = sender.clone();
            match thread::Builder::new().spawn_scoped(scope, || run(sender)) {
                Ok(_) => threads += 1,
                Err(_) => break,
            }
        }
        match threads {
            0 => run(sender),
            _ => drop(sender),
        }
        results.into_iter().for_each(|(index, result)| tell(index, result));
    });
}

/// Does `work` here, and `aside` in a thread of its own meanwhile. `work` sees to it that `aside` ends, also when it panics.
///
/// # Errors
/// If there is no thread to be had; then nothing was done.
pub(crate) fn beside<R>(aside: impl FnOnce() + Send, work: impl FnOnce() -> R) -> io::Result<R> {
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, aside)?;
        Ok(work())
    })
}

/// Does `work` on one item after the other that no other thread has taken.
fn take_all<T, R>(items: &[T], next: &AtomicUsize, work: impl Fn(&T) -> R, sender: mpsc::Sender<(usize, R)>) {
    let take = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        items.get(index).map(|item| (index, item))
    };
    while let Some((index, item)) = take() {
        // The receiver lives until every sender is gone.
        let _ = sender.send((index, work(item)));
    }
}

/// Returns how many threads this machine can run at once.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Copies a part of the tree at `source` to `target`, which is new; returns the hash and size of its archive.
///
/// Reading and writing overlap: one thread archives into a pipe, this one unpacks from it.
pub(crate) fn copy(
    source: &Path,
    part: &Part,
    target: &Path,
    until: Until<'_>,
) -> Result<(Hash, u64), Error> {
    copy_rewritten(source, part, target, &[], until)
}

/// Does the same, and replaces the first of each pair of `rewrites` by the second on the way.
pub(crate) fn copy_rewritten(
    source: &Path,
    part: &Part,
    target: &Path,
    rewrites: &[(Digest, Digest)],
    until: Until<'_>,
) -> Result<(Hash, u64), Error> {
    let (reader, writer) = io::pipe().map_err(Error::file("copy", source))?;
    thread::scope(|scope| {
        let archive = move || {
            let mut sink = Tee { hash: HashSink::new(HashAlgorithm::Sha256), pipe: writer };
            if !rewrites.is_empty() {
                let mut rewriter = Rewriter::new(sink, rewrites.iter().copied());
                part.dump(source, &mut rewriter)?;
                let failed = |error| nar::DumpError::Sink { path: source.to_owned(), source: error };
                return Ok(rewriter.finish().map_err(failed)?.hash.finish());
            }
            part.dump(source, &mut sink).map(|_| sink.hash.finish())
        };
        let archiving =
            thread::Builder::new().spawn_scoped(scope, archive).map_err(Error::file("copy", source))?;
        // It is dropped at once, so that a writer without a reader ends.
        let restored = nar::restore(&mut BufReader::new(until.pass(reader)), target);
        let dumped = archiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (dumped, restored) {
            // Each end breaks when the other does; the cause is where no pipe broke.
            (Err(nar::DumpError::Sink { .. }), Err(error)) => Err(error.into()),
            (Err(error), _) => Err(error.into()),
            (Ok(_), Err(error)) => Err(error.into()),
            (Ok(archive), Ok(())) => Ok(archive),
        }
    })
}

/// Hashes what goes through a pipe.
struct Tee {
    hash: HashSink,
    pipe: PipeWriter,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.pipe.write(bytes)?;
        self.hash.write_all(&bytes[..written])?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
