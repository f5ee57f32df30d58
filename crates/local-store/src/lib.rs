//! A store on disk: add, lock, register, root, verify, delete. Floor 2.
//!
//! The only crate that writes below the store directory. What the database calls valid is complete on disk:
//! files are in place and synced first, the transaction comes last, and a lock spans both. Whatever a crash
//! leaves behind is either invalid, and replaced by the next one who makes it, or swept on the next start.
//!
//! ```
//! use std::collections::BTreeSet;
//! use local_store::{LocalStore, Location, Options};
//!
//! # let root = std::env::temp_dir().join(format!("local-store-{}", std::process::id()));
//! let store = LocalStore::open(Location::below(&root), Options::default())?;
//! let path = store.add_text(&"hello.txt".parse()?, b"hello", &BTreeSet::new())?;
//! assert_eq!(path.to_string(), "q790zdjk75hm2cn42nh77pqw4gbv1b88-hello.txt");
//! assert_eq!(std::fs::read(store.real_path(&path))?, b"hello");
//! assert!(store.verify(true)?.damaged.is_empty());
//! # drop(store);
//! # std::fs::remove_dir_all(&root)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod add;
mod below;
mod build_dir;
mod canonical;
mod commit;
mod content;
mod copy;
mod cycle;
mod dead;
mod delete;
mod disk;
mod durable;
mod error;
mod exchange;
pub mod failpoint;
mod gc;
mod git;
mod ignore_rules;
mod import;
mod inside;
mod layout;
mod location;
mod lock;
mod locker;
mod manifest;
mod mend;
mod mention;
mod meter;
mod mounts;
mod open_file;
mod optimise;
mod part;
mod place;
mod proof;
mod query;
mod records;
mod register;
mod replace;
mod roots;
mod running;
mod schema;
mod scratch;
mod short_name;
mod sign;
mod store;
mod sweep;
mod temp_roots;
mod threads;
mod tree;
mod until;
mod uses;
mod verify;
mod weight;
mod writable;

pub use add::NewDerivation;
pub use build_dir::BuildDir;
pub use canonical::{Inodes, canonicalise};
pub use content::hash_content;
pub use copy::{copy_tree, rewrite_tree};
pub use delete::{Keeper, Kept, Link, remove_tree};
pub use disk::{DiskUse, SharedFile};
pub use error::Error;
pub use exchange::{Arrival, Arrivals, Place, ReceiveError, Start};
pub use gc::{Census, Collected, Collection, CollectionNews};
pub use import::Import;
pub use inside::{FileKind, Found};
pub use location::Location;
pub use lock::{LockRequest, PathLock};
pub use locker::{Locker, locker};
pub use manifest::{ManifestRow, Problem};
pub use mend::{Mend, Mended};
pub use mention::{Mention, Mentions, Spot};
pub use meter::Progress;
pub use optimise::{Optimisation, Savings, Sharing};
pub use roots::{FoundRoots, Process, Root, Usage};
pub use running::{
    Announcement, BuildId, CancelAnswer, CancelCaller, CancelRequest, CancelSocket, End, Holder, Owner,
    RunningBuild, Stage, Vigil, Wait, cancel, running_builds,
};
pub use scratch::Scratch;
pub use store::{LocalStore, Options};
pub use store_db::{Keep, Orders, Part, Reach, References, Tie, Ways, Weights};
pub use until::{Passing, Until};
pub use verify::{BadLink, Damage, Irregularity, Report, Verification};
pub use writable::Obstacle;
