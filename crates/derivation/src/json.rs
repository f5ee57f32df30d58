//! Derivations as JSON: what `nix show-derivation` and its successor `nix derivation show` print.
//!
//! One reader takes every generation of the format, and files written by hand: an object that maps paths to
//! derivations, the same inside `{"version":4,"derivations":…}`, or one derivation with a `name`. Beyond what Nix
//! prints, empty `inputDrvs`, `inputSrcs`, `args` and `env` can be left out, and so can the paths of outputs.
//!
//! Of a field that is there twice the last one counts, as for Nix; a derivation that is there twice is an error.
//! JSON holds text only, so a derivation with other bytes cannot be printed; and nothing is read or printed that
//! is nested deeper than 128.

mod attributes;
mod current;
mod error;
mod fields;
mod file;
mod legacy;
mod output;
mod print;
mod read;

pub use error::{JsonError, NotText, Place, Problem};
pub use file::parse;
pub use print::print;

/// The generations of the format that can be printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// What Nix printed from version 2.4 up to 2.14, byte for byte as 2.8 does; later ones print more fields.
    #[default]
    Legacy,
    /// Version 4, which Nix prints since 2.33.
    Current,
}
