//! What an observer remembers: which paths were asked for in vain, and which of those were part of a search that
//! came to something.
//!
//! A compiler looks for a header in ten directories and finds it in the last, a shell does so with programs, a loader
//! with libraries: all but the last were no loss. So what a process misses waits until the same process finds
//! something of that name; what still waits at the end was really missing.

use std::collections::{HashMap, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::observation::How;

/// Different paths that are remembered.
const MOST_PATHS: usize = 100_000;
/// How long they may be together.
const MOST_BYTES: usize = 32 << 20;
/// Processes whose searches are followed at a time, the ones that began last.
const MOST_PROCESSES: usize = 256;
/// Lookups of one process that wait.
const MOST_WAITING: usize = 1024;

/// Something that was looked for in vain.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) how: How,
    pub(super) by: String,
    pub(super) needed_by: Option<PathBuf>,
    /// How often it was looked for, save by those who then found something of that name.
    pub(super) misses: u32,
    /// When it was asked for last.
    pub(super) last: u64,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    There,
    /// By place in the book.
    Absent(usize),
}

/// What one process has missed, by name, and has not found yet.
#[derive(Default)]
struct Search {
    places: HashMap<Vec<u8>, Vec<usize>>,
    count: usize,
}

#[derive(Default)]
pub(super) struct Book {
    entries: Vec<Entry>,
    known: HashMap<PathBuf, Known>,
    /// The length of all that is known.
    bytes: usize,
    waiting: HashMap<u32, Search>,
    /// The keys of `waiting`, oldest first.
    processes: VecDeque<u32>,
    pub(super) turn: u64,
    pub(super) forgotten: u64,
}

impl Book {
    pub(super) fn known(&self, path: &Path) -> Option<Known> {
        self.known.get(path).copied()
    }

    /// Whether the process has missed something that it may find yet.
    pub(super) fn searches(&self, pid: u32) -> bool {
        self.waiting.contains_key(&pid)
    }

    /// Remembers that something is at `path`, so that nobody need look again.
    pub(super) fn is_there(&mut self, path: PathBuf) {
        if !self.is_full() {
            self.bytes += path.as_os_str().len();
            self.known.insert(path, Known::There);
        }
    }

    fn is_full(&self) -> bool {
        self.known.len() >= MOST_PATHS || self.bytes >= MOST_BYTES
    }

    /// Forgets that something was missing: it was made later.
    pub(super) fn appeared(&mut self, place: usize) {
        self.entries[place].misses = 0;
    }

    /// The process has found `path`, and with it whatever it searched under that name.
    pub(super) fn found(&mut self, pid: u32, path: &Path) {
        let Some(search) = self.waiting.get_mut(&pid) else { return };
        for place in search.places.remove(name(path)).unwrap_or_default() {
            self.entries[place].misses = self.entries[place].misses.saturating_sub(1);
            search.count -= 1;
        }
        if search.places.is_empty() {
            self.waiting.remove(&pid);
            self.processes.retain(|process| *process != pid);
        }
    }

    /// Notes something that nobody has missed before, asked for as `asked`; returns its place.
    pub(super) fn add(&mut self, asked: PathBuf, entry: Entry) -> Option<usize> {
        if self.is_full() {
            self.forgotten += 1;
            return None;
        }
        let place = self.entries.len();
        self.bytes += asked.as_os_str().len() + entry.path.as_os_str().len();
        self.known.insert(asked, Known::Absent(place));
        self.entries.push(Entry { last: self.turn, ..entry });
        Some(place)
    }

    /// Notes that something was missed once more; `by` is asked for if nobody else misses it any more.
    pub(super) fn again(&mut self, place: usize, how: How, by: impl FnOnce() -> String) {
        let entry = &mut self.entries[place];
        if entry.misses == 0 {
            entry.by = by();
        }
        (entry.misses, entry.last) = (entry.misses.saturating_add(1), self.turn);
        entry.how = entry.how.max(how);
    }

    /// Lets what the process has missed under the name of `path` wait for its being found elsewhere.
    pub(super) fn wait(&mut self, pid: u32, path: &Path, place: usize) {
        if !self.waiting.contains_key(&pid) {
            if self.processes.len() >= MOST_PROCESSES
                && let Some(oldest) = self.processes.pop_front()
            {
                self.waiting.remove(&oldest);
            }
            self.processes.push_back(pid);
        }
        let search = self.waiting.entry(pid).or_default();
        if search.count < MOST_WAITING {
            search.places.entry(name(path).to_vec()).or_default().push(place);
            search.count += 1;
        }
    }

    /// What was really missing, in the order in which it was asked for last.
    pub(super) fn missed(self) -> Vec<Entry> {
        let mut missed: Vec<Entry> = self.entries.into_iter().filter(|entry| entry.misses > 0).collect();
        missed.sort_by_key(|entry| entry.last);
        missed
    }
}

/// What a search is for: the last part of the path, of a library that without its ending, since linkers take
/// `libz.so` as well as `libz.a`.
fn name(path: &Path) -> &[u8] {
    let name = path.file_name().map_or(&b""[..], OsStrExt::as_bytes);
    let ends = [&b".so"[..], b".a"];
    let end = ends.iter().filter_map(|end| name.windows(end.len()).position(|window| window == *end)).min();
    match end.filter(|_| name.starts_with(b"lib")) {
        Some(end) => &name[..end],
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn miss(book: &mut Book, pid: u32, path: &str) {
        book.turn += 1;
        let place = match book.known(Path::new(path)) {
            Some(Known::Absent(place)) => {
                book.again(place, How::Open, || pid.to_string());
                Some(place)
            }
            _ => book.add(
                path.into(),
                Entry {
                    path: path.into(),
                    how: How::Look,
                    by: pid.to_string(),
                    needed_by: None,
                    misses: 1,
                    last: 0,
                },
            ),
        };
        place.into_iter().for_each(|place| book.wait(pid, Path::new(path), place));
    }

    fn left(book: Book) -> Vec<String> {
        book.missed().into_iter().map(|entry| format!("{} {}", entry.path.display(), entry.by)).collect()
    }

    #[test]
    fn a_search_that_came_to_something_was_no_loss() {
        let mut book = Book::default();
        miss(&mut book, 1, "/usr/include/zlib.h");
        miss(&mut book, 1, "/usr/include/gone.h");
        miss(&mut book, 2, "/usr/include/zlib.h");
        miss(&mut book, 1, "/usr/lib/libz.a");
        book.found(1, Path::new("/input/include/zlib.h"));
        book.found(1, Path::new("/input/lib/libz.so.1"));
        book.found(3, Path::new("/input/include/gone.h"));
        assert_eq!(left(book), ["/usr/include/gone.h 1", "/usr/include/zlib.h 1"]);
    }

    #[test]
    fn whoever_misses_it_last_is_named_once_the_others_have_found_it() {
        let mut book = Book::default();
        miss(&mut book, 1, "/bin/x");
        book.found(1, Path::new("/y/x"));
        miss(&mut book, 2, "/bin/x");
        assert_eq!(left(book), ["/bin/x 2"]);
    }

    #[test]
    fn what_is_made_later_is_not_missing() {
        let mut book = Book::default();
        miss(&mut book, 1, "/etc/made");
        book.appeared(0);
        assert!(left(book).is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_rest_counted() {
        let mut book = Book::default();
        for number in 0..MOST_PATHS + 7 {
            miss(&mut book, number as u32, &format!("/x/{number}"));
        }
        assert_eq!((book.forgotten, book.processes.len()), (7, MOST_PROCESSES));
        assert_eq!(book.waiting.len(), MOST_PROCESSES);
        let mut book = Book::default();
        let long = "x".repeat(4000);
        for number in 0..9000 {
            miss(&mut book, 1, &format!("/{number}/{long}"));
        }
        assert!(book.bytes < MOST_BYTES + 2 * 4096 && book.forgotten > 0, "{} bytes", book.bytes);
        assert_eq!(book.waiting[&1].count, MOST_WAITING);
    }
}
