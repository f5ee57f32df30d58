//! Names and hashes of things in the store: `<digest>-<name>` and where the digest comes from.
//!
//! Floor 0, pure: bytes in, values out. Nothing here knows whether a path exists; ask `local-store`.
//!
//! ```
//! use std::collections::BTreeSet;
//! use std::io::Write;
//! use store_path::{Hash, HashAlgorithm, RefScanner, StoreDir};
//!
//! // The digest of a path comes from what is in it.
//! let store_dir = StoreDir::default();
//! let contents = Hash::of(HashAlgorithm::Sha256, b"hello");
//! let path = store_dir.text_path(&"hello.txt".parse()?, &contents, &BTreeSet::new());
//! assert_eq!(path.to_string(), "q790zdjk75hm2cn42nh77pqw4gbv1b88-hello.txt");
//!
//! // And back: only parsed texts become a `StorePath`.
//! let full = store_dir.print(&path);
//! assert_eq!(store_dir.parse(&full)?, path);
//! assert!(store_dir.parse("/nix/store/hello.txt").is_err());
//!
//! // Whatever holds the digest in its bytes refers to the path.
//! let mut scanner = RefScanner::new([path.clone()]);
//! write!(scanner, "exec {full} \"$@\"")?;
//! assert_eq!(scanner.finish(), BTreeSet::from([path]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod base32;
mod build_record;
mod content_address;
mod digest;
mod hash;
mod hash_sink;
mod hash_text;
mod history;
mod make_path;
mod matcher;
mod modulo_sink;
mod name;
mod path;
mod path_info;
mod placeholder;
mod realisation;
mod ref_finder;
mod ref_scanner;
mod rewriter;
mod store_dir;

pub use build_record::{BuildRecord, IsolationText};
pub use content_address::{ContentAddress, ContentAddressError, Method};
pub use digest::{Digest, DigestError};
pub use hash::{Hash, HashAlgorithm};
pub use hash_sink::HashSink;
pub use hash_text::HashError;
pub use history::{Expected, FailedBuild};
pub use make_path::output_name;
pub use modulo_sink::{Modulo, ModuloSink};
pub use name::{Name, NameError, package_and_version, without_version};
pub use path::{StorePath, StorePathError};
pub use path_info::PathInfo;
pub use placeholder::{Placeholder, placeholder};
pub use realisation::Realisation;
pub use ref_finder::RefFinder;
pub use ref_scanner::RefScanner;
pub use rewriter::Rewriter;
pub use store_dir::{StoreDir, StoreDirError};
