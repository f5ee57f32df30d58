//! Killing the program, or having the disk fail, at each of its steps by name, and looking at what is left.
//!
//! ```text
//! prepare ─► the command, and a step at which it fails ─► the next start ─► the command once more ─► the next start
//!                                                              └─ looked at ─┴──────────────────────────────┘
//! ```
//!
//! Used by `tests/crash.rs` (each step once) and by `cargo xtask crash` (everything). Only a program with debug
//! assertions knows of steps.

mod case;
mod operations;
mod state;
mod world;

pub use case::{Case, Kind, steps};
pub use operations::{OPERATIONS, Operation};
pub use state::After;
pub use world::{Run, World};
