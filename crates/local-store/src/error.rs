//! Why the store could not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store_path::{Hash, HashAlgorithm, StorePath};

use crate::delete::Kept;
use crate::locker::Locker;
use crate::roots::Root;
use crate::writable::Obstacle;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something about a file: permissions, a full disk.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was to be done to it, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// What a killed build has left mounted could not be undone.
    #[error("cannot undo what a killed build has left in `{}`; it is tried again at the next start", path.display())]
    Release {
        /// The directory of that build.
        path: PathBuf,
        /// What was in the way.
        source: sandbox::Error,
    },

    /// What a killed build has left belongs to a subordinate id of the caller, which cannot be had now.
    #[error(
        "cannot take back what a killed build has left in `{}`; it is tried again at the next start, or remove it as \
         root",
        path.display()
    )]
    TakeBack {
        /// The directory of that build.
        path: PathBuf,
        /// What was in the way.
        source: sandbox::Error,
    },

    /// Something is mounted in a tree that was to be removed or registered, and is not part of it.
    #[error("`{}` is a mount point; unmount it first", path.display())]
    Mounted {
        /// Where.
        path: PathBuf,
    },

    /// The database refused.
    #[error(transparent)]
    Database(#[from] store_db::Error),

    /// Our own database of how paths were built cannot be read or written.
    #[error(
        "cannot record or look up how paths were built; nothing that is built becomes valid without a record"
    )]
    Records {
        /// What was in the way.
        source: store_db::Error,
    },

    /// A tree could not be archived.
    #[error(transparent)]
    Dump(#[from] nar::DumpError),

    /// A tree could not be unpacked.
    #[error(transparent)]
    Restore(#[from] nar::RestoreError),

    /// Waiting for a lock takes a thread, and there is none to be had.
    #[error("cannot start a thread that waits for a lock")]
    Wait {
        /// What the system said.
        source: io::Error,
    },

    /// Others were committed in the same transaction, and it failed for all.
    #[error(transparent)]
    Together(Arc<Error>),

    /// The thread that was committing for several ended before it was done.
    #[error("registering was given up half-way; nothing of it is valid")]
    Abandoned,

    /// Another process has kept a lock for too long.
    #[error("`{}` is locked{}; wait until that is done, or end it", path.display(), by(holder.as_ref()))]
    Locked {
        /// The database, or another file that is locked.
        path: PathBuf,
        /// Who has it.
        holder: Option<Locker>,
    },

    /// The store is there and cannot be written to.
    #[error("cannot write to `{}`: {why}", path.display())]
    ReadOnly {
        /// The directory in which something is to be written.
        path: PathBuf,
        /// What is in the way.
        why: Obstacle,
    },

    /// A later Nix has changed the database.
    #[error(
        "the store database in `{}` has schema {found}, made by a later Nix, and this `store` knows schemas up to {known}; \
         use that Nix or a later `store`, or take another store with `--store DIR`",
        directory.display()
    )]
    NewerSchema {
        /// The directory with the database.
        directory: PathBuf,
        /// What its `schema` file says.
        found: u32,
        /// The newest one that is known.
        known: u32,
    },

    /// The file `schema` says that there was a database, and there is none.
    #[error(
        "the store database `{}` is gone or empty, though `schema` beside it says that there was one; put it back from a \
         copy, or, if nothing of that store is wanted any more, remove `schema` too: then all paths that are there count as \
         left over, until `store load-db` or `store register-validity` enters them again",
        path.display()
    )]
    LostDatabase {
        /// The file of the database.
        path: PathBuf,
    },

    /// A collector would take all that there is, although somebody wants it.
    #[error(
        "the database knows no path at all, but `{path}` is there, and {root} keeps it: this seems not to be the database \
         that belongs to these files; nothing was deleted. `store load-db` or `store register-validity` enters paths again; \
         if they are not wanted, remove the root"
    )]
    NoneKnown {
        /// The path that is on disk.
        path: StorePath,
        /// What keeps it.
        root: Root,
    },

    /// The database is not in SQLite yet.
    #[error(
        "the store database in `{}` has schema `{found}`, and this `store` knows schemas from {oldest} on; Nix 1.11 brings \
         it up to date",
        directory.display()
    )]
    OlderSchema {
        /// The directory with the database.
        directory: PathBuf,
        /// What its `schema` file says.
        found: String,
        /// The oldest one that is known.
        oldest: u32,
    },

    /// The file that tells the schema tells none.
    #[error(
        "`{}` is damaged: it should say which schema the database beside it has, and says `{found}`; remove that file: the \
         database says it, too, and the next command that writes to the store writes the file anew",
        path.display()
    )]
    BadSchema {
        /// The file.
        path: PathBuf,
        /// How it begins.
        found: String,
    },

    /// The lower store is not there.
    #[error(
        "there is no store at `{}`, which the setting `lower-store` names; name another, or make it with `store add`",
        directory.display()
    )]
    NoLower {
        /// The directory that should hold its files.
        directory: PathBuf,
    },

    /// A store cannot be below itself.
    #[error(
        "the setting `lower-store` names the store itself: `{}` has the same files; name another, or leave it out",
        directory.display()
    )]
    LowerIsThis {
        /// The directory with its files.
        directory: PathBuf,
    },

    /// The path is in the lower store only.
    #[error("cannot delete `{path}`: it is in the lower store `{}`, to which nothing is written", lower.display())]
    Below {
        /// The path to be deleted.
        path: StorePath,
        /// The directory with the files of the lower store.
        lower: PathBuf,
    },

    /// A process that was forked cannot use what its parent has opened.
    #[error("the store was opened by process {opener}, and SQLite lets no other one use that")]
    Forked {
        /// The process that has opened it.
        opener: u32,
    },

    /// Nobody could go on where a stream is to begin.
    #[error(
        "no path begins at byte {from} of the stream{}",
        match after {
            Some(after) => format!("; the nearest beginnings are {before} and {after}"),
            None => format!(", whose paths end at byte {before}"),
        }
    )]
    NoBeginning {
        /// The byte asked for.
        from: u64,
        /// The last one before it at which a path, or the end of the stream, begins.
        before: u64,
        /// The first one behind it, if there is one.
        after: Option<u64>,
    },

    /// The path is not valid in this store.
    #[error("`{path}` is not valid in this store")]
    NotValid {
        /// The path asked for.
        path: StorePath,
    },

    /// What is valid never changes, so nothing can be moved there.
    #[error("`{path}` is valid already")]
    AlreadyValid {
        /// The path in question.
        path: StorePath,
    },

    /// Only regular files, directories and symlinks may be in a store.
    #[error("`{}` is neither a regular file, a directory nor a symlink", path.display())]
    Kind {
        /// The file in question.
        path: PathBuf,
    },

    /// A symlink, or a `..`, on the way to something in a store path leads out of that.
    #[error("`{}` leads out of its store path, to `{}`, and is not followed", path.display(), target.display())]
    LeadsOut {
        /// The symlink, or the store path.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },

    /// What is hashed as one plain file is something else.
    #[error("`{}` is not a regular file without execute permission, as which it should be hashed", path.display())]
    NotFlat {
        /// What is there.
        path: PathBuf,
    },

    /// Git hashes by two algorithms only.
    #[error("cannot hash `{}` as git does by {algorithm}: git has sha1 and sha256 only", path.display())]
    GitAlgorithm {
        /// What was to be hashed.
        path: PathBuf,
        /// The algorithm asked for.
        algorithm: HashAlgorithm,
    },

    /// A file in an output that its builder did not make: a hard link to something else.
    #[error("`{}` belongs to user {owner}, not to the builder (a hard link?)", path.display())]
    Owner {
        /// The file in question.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
    },

    /// A file was replaced by another while the store walked over it.
    #[error("`{}` changed while it was being read", path.display())]
    Changed {
        /// The file in question.
        path: PathBuf,
    },

    /// Something is not at the path that its contents give.
    #[error("`{}` belongs at `{computed}`, not at `{stated}`", file.display())]
    Misplaced {
        /// The file or tree in question.
        file: PathBuf,
        /// The path that was stated.
        stated: StorePath,
        /// The path that follows from the contents.
        computed: StorePath,
    },

    /// Something has not the hash that was stated for it.
    #[error("`{}` has the hash `{computed}`, not `{stated}`", file.display())]
    Hash {
        /// The file or tree in question.
        file: PathBuf,
        /// The hash that was stated.
        stated: Box<Hash>,
        /// The hash of what is there.
        computed: Box<Hash>,
    },

    /// A rule for what is not imported cannot be understood.
    #[error("cannot read line {line} of the ignore rules in `{}`: {reason}", path.display())]
    IgnoreRule {
        /// The file with the rules.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },

    /// A path of the store has the name of a lock, or of the scratch directory of a build, which it is not.
    #[error(
        "`{}` is in the way: it has the name of what belongs to another path, as only a path with a made-up digest has; \
         `store delete` takes it away",
        path.display()
    )]
    NameTaken {
        /// Where it is.
        path: PathBuf,
    },

    /// Paths that refer to each other in a circle could never be deleted.
    #[error("`{}` and `{}` refer to each other", .0.0, .0.1)]
    Cycle(Box<(StorePath, StorePath)>),

    /// Paths are still wanted.
    #[error("cannot delete {}", wanted(kept))]
    Rooted {
        /// Those of the paths to be deleted that roots need: one at least.
        kept: Vec<Kept>,
    },

    /// A valid path refers to one that was to be deleted.
    #[error("cannot delete `{path}`: `{referrer}` refers to it")]
    Referred {
        /// The path to be deleted.
        path: StorePath,
        /// One of those that refer to it.
        referrer: StorePath,
    },

    /// It cannot be told what a root keeps, so nothing may be deleted.
    #[error(
        "cannot read the root `{}`, and nobody knows what it keeps: make it readable, or remove its entry `{}` if it is \
         not wanted any more",
        link.display(),
        entry.display()
    )]
    UnknownRoot {
        /// The link.
        link: PathBuf,
        /// Where it is registered, below `gcroots`.
        entry: PathBuf,
    },

    /// A stream to another store broke off.
    #[error("cannot write the stream")]
    Send {
        /// Why not.
        source: io::Error,
    },

    /// A permanent root cannot have that name.
    #[error(
        "a permanent root cannot be called `{}`: its name is a relative path, and neither `auto`, `profiles` nor \
         `relocated`",
        name.display()
    )]
    RootName {
        /// The name.
        name: PathBuf,
    },

    /// What was to be given up as a root keeps nothing.
    #[error("`{}` is no root of this store", path.display())]
    NoRoot {
        /// The path in question.
        path: PathBuf,
    },

    /// A profile would lose the generation that is in use.
    #[error(
        "`{}` is the current generation of `{}`; switch that to another one first",
        link.display(),
        profile.display()
    )]
    CurrentGeneration {
        /// The link of the generation.
        link: PathBuf,
        /// The link of the profile.
        profile: PathBuf,
    },

    /// Where a link was to be made stands something else.
    #[error("`{}` is in the way: it is not a symlink into the store", path.display())]
    InTheWay {
        /// What is there.
        path: PathBuf,
    },
}

impl Error {
    /// Returns the file that something was to be done to, if it was about one; for a database, that.
    pub fn file_in_question(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. }
            | Self::Restore(nar::RestoreError::Archive { path, .. } | nar::RestoreError::File { path, .. }) => {
                Some(path)
            }
            Self::Database(source) | Self::Records { source } => source.database(),
            Self::Together(error) => error.file_in_question(),
            _ => None,
        }
    }

    /// Makes the closure that turns what the system said into an error about `path`.
    pub(crate) fn file<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source: source.into() }
    }
}

fn by(holder: Option<&Locker>) -> String {
    holder.map_or(String::new(), |holder| format!(" by {holder}"))
}

/// Tells of the first path and its nearest root; how the root needs it is for whoever has room.
fn wanted(kept: &[Kept]) -> String {
    let Some(first) = kept.first() else { return "what is wanted".to_owned() };
    let root = first.keepers.first().map_or("a root".to_owned(), |keeper| keeper.root.to_string());
    let more = if kept.len() > 1 {
        format!(" ({} more paths are wanted, too)", kept.len() - 1)
    } else {
        String::new()
    };
    format!("`{}`: it is wanted by {root}{more}", first.path)
}
