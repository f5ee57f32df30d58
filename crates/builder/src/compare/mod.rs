//! What differs between two trees, and why that may be.
//!
//! ```text
//! walk      two directories at a time, by descriptor: names, kinds, the executable bit, targets
//!  └ content   two files, in pieces: where they begin and cease to differ, and what is in between
//!     ├ text      lines and words: which were put in another order, which are about time, chance, the place, …
//!     └ formats   numbers and fields of known formats: archives, compiled files, notes
//! ```
//!
//! Everything but `walk` is pure: bytes in, causes out. Memory is bounded whatever the trees hold: files are read in
//! pieces, and of what differs only the beginning of the list is remembered; all of it is counted.

mod chance;
mod clues;
mod content;
mod formats;
mod text;
mod time;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub(crate) use clues::Clues;
pub(crate) use walk::compare;

/// How a tree differs from an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The first differences, in the order of their paths.
    pub differences: Vec<Difference>,
    /// How many differences there are in all.
    pub total: u64,
    /// What they may be due to, with how many each.
    pub causes: BTreeMap<Cause, u64>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where in the tree; empty for its top.
    pub path: PathBuf,
    /// What differs.
    pub change: Change,
    /// What it may be due to.
    pub causes: BTreeSet<Cause>,
}

/// What differs at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was there.
    Gone(Kind),
    /// It was not there.
    New(Kind),
    /// It was something else.
    Kind {
        /// What it was.
        before: Kind,
        /// What it is.
        now: Kind,
    },
    /// It could be executed, and cannot any more; or the other way round.
    Executable {
        /// Whether it can be executed now.
        now: bool,
    },
    /// A symlink leads elsewhere.
    Target {
        /// Where it led.
        before: PathBuf,
        /// Where it leads.
        now: PathBuf,
    },
    /// A file holds something else.
    Content {
        /// How many bytes it had.
        size_before: u64,
        /// How many it has.
        size_now: u64,
        /// The first place that differs.
        first: Spot,
    },
}

/// The first bytes that differ, with some around them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// Where the first byte is that differs.
    pub offset: u64,
    /// Where the bytes begin that are shown.
    pub start: u64,
    /// Bytes of the earlier file.
    pub before: Vec<u8>,
    /// Bytes of the later one.
    pub now: Vec<u8>,
}

/// A kind of thing in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory, with everything in it.
    Directory,
    /// A symlink.
    Symlink,
    /// What no archive holds.
    Other,
}

/// What a difference may be due to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// When it was built.
    Time,
    /// The order in which things were met: entries of a directory, keys of a table.
    Order,
    /// Where it was built.
    BuildPath,
    /// Something made by chance: a random identifier, or what was hashed or named by one.
    Chance,
    /// The name of the machine.
    HostName,
    /// The number of processors.
    Cores,
    /// The user or the group.
    User,
    /// Language, character set or time zone.
    Locale,
    /// The name or the version of the kernel.
    Kernel,
    /// Nothing that is known here.
    Unclassified,
}

impl Comparison {
    /// As many differences are remembered.
    const MOST: usize = 100;

    fn add(&mut self, difference: Difference) {
        self.total += 1;
        for cause in &difference.causes {
            *self.causes.entry(*cause).or_default() += 1;
        }
        if self.differences.len() < Self::MOST {
            self.differences.push(difference);
        }
    }
}

/// The causes that were found, or that there is none that is known.
fn or_unclassified(causes: BTreeSet<Cause>) -> BTreeSet<Cause> {
    if causes.is_empty() { BTreeSet::from([Cause::Unclassified]) } else { causes }
}
