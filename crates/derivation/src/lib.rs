//! Builds described as data: reading, printing, hashing and checking them.
//!
//! Floor 1, pure: bytes in, values out. Nothing here opens a file or knows what is in a store; whoever does hands
//! in the derivations that are not given.

pub mod aterm;
mod check;
mod closure;
pub mod json;
mod model;
mod modulo;
mod options;
#[cfg(test)]
mod tests;

pub use check::{CheckError, Checked, check};
pub use closure::{ClosureError, check_closure};
pub use model::{Derivation, InputOutputs, Output, OutputName};
pub use modulo::{InputError, Modulo};
pub use options::{Forbidden, GraphExport, OptionError, Options};
