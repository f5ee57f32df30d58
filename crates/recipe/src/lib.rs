#![doc = include_str!("../README.md")]
//!
//! ## The crate
//!
//! Floor 1, pure: bytes in, values out. [`Recipe::parse`] reads, [`Recipe::complete`] makes the JSON of an ordinary
//! derivation of it, as soon as it is told what the inputs are. Nothing here opens a file, knows what is in a store or
//! what a derivation's path is; [`read_closure`] asks for the files that it needs.
//!
//! ```
//! use std::collections::BTreeMap;
//! use recipe::{Found, Recipe, is_recipe};
//! use store_path::StoreDir;
//!
//! let text = br#"{
//!     "name": "hello", "builder": "/bin/sh", "args": ["-c", "echo $(cat ${greeting}) > ${out}"],
//!     "inputs": { "greeting": "./greeting.txt" }
//! }"#;
//! assert!(is_recipe(text));
//! let store_dir = StoreDir::default();
//! let recipe = Recipe::parse(text, &store_dir)?;
//! let greeting = "00000000000000000000000000000000-greeting.txt".parse()?;
//! let found = BTreeMap::from([("greeting".to_owned(), Found::Source(greeting))]);
//! let derivation = recipe.complete(&store_dir, "x86_64-linux", &found)?;
//! assert_eq!(derivation["inputs"]["srcs"][0], "00000000000000000000000000000000-greeting.txt");
//!
//! let error = Recipe::parse(br#"{ "name": "hello", "bulider": "/bin/sh" }"#, &store_dir).unwrap_err();
//! assert_eq!(error.to_string(), "line 1, column 20 (`/bulider`)");
//! assert_eq!(error.problem.to_string(), "there is no field `bulider`; did you mean `builder`?");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod closure;
mod complete;
mod detect;
mod error;
mod input;
mod model;
mod node;
mod read;
mod schema;
mod template;
#[cfg(test)]
mod tests;

pub use closure::{Contents, File, ReadFile, read_closure};
pub use complete::Found;
pub use detect::is_recipe;
pub use error::{ClosureError, Place, Problem, RecipeError};
pub use model::{Fetch, Input, Needed, Output, Recipe, Source};
pub use read::is_unknown;
pub use schema::schema;

/// How large a recipe may be.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// How deep structured attributes may be nested: as deep as a derivation's JSON is read.
pub(crate) const MAX_DEPTH: usize = 100;
