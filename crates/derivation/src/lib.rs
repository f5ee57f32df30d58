//! Builds described as data: reading, printing, hashing and checking them.
//!
//! Floor 1, pure: bytes in, values out. Nothing here opens a file or knows what is in a store; whoever does hands
//! in the derivations that are not given.
//!
//! ```
//! use std::io;
//! use derivation::{Derivation, check_closure, json};
//! use store_path::{StoreDir, StorePath};
//!
//! // The path of the output is left out, so it will be computed.
//! let file = br#"{
//!     "name": "hello", "system": "x86_64-linux", "builder": "/bin/sh",
//!     "args": ["-c", "echo hello > $out"], "outputs": { "out": {} }
//! }"#;
//! let store_dir = StoreDir::default();
//! let derivations = json::parse(file, &store_dir)?;
//! let mut in_store = |_: &StorePath| -> io::Result<Derivation> { Err(io::ErrorKind::NotFound.into()) };
//! let checked = check_closure(derivations, &store_dir, &mut in_store)?;
//!
//! // What goes into the store, and what will come out of the build.
//! let hello = &checked[0];
//! assert_eq!(hello.path().to_string(), "iqaqr00z8983xg1l8iabj0nlaxl42q66-hello.drv");
//! assert!(hello.aterm().starts_with(b"Derive([(\"out\",\"/nix/store/"));
//! let out = hello.output_paths()[&"out".parse()?].clone();
//! assert_eq!(out.map(|path| path.name().to_string()).as_deref(), Some("hello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod aterm;
mod check;
mod closure;
mod derived_path;
mod diff;
mod graph;
pub mod json;
mod model;
mod modulo;
mod options;
mod resolve;
mod review;
#[cfg(test)]
mod tests;

pub use check::{CheckError, Checked, Disagreement, Elsewhere, check, own_path};
pub use closure::{ClosureError, check_closure};
pub use derived_path::{DerivedPath, DerivedPathError, OutputsSpec, Wanted};
pub use diff::{Both, Cause, Change, Diff, Pair, Side, diff};
pub use graph::{Contents, Graph, Node, graph};
pub use model::{Derivation, InputOutputs, Output, OutputName, OutputNames};
pub use modulo::{InputError, Modulo};
pub use options::{GraphExport, Object, OptionError, Options, OutputCheck, OutputChecks, Reference};
pub use resolve::{Link, ResolveError, is_resolved, resolve};
pub use review::{Finding, ReadSource, Source, SourceForm, Workers, review};
