//! Derivations as JSON: what `nix show-derivation` and its successor `nix derivation show` print.
//!
//! One reader takes every generation of the format, and files written by hand: an object that maps paths to
//! derivations, the same inside `{"version":4,"derivations":…}`, or one derivation with a `name`. Beyond what Nix
//! prints, empty `inputDrvs`, `inputSrcs`, `args` and `env` can be left out, and so can the paths of outputs.
//!
//! A field that is there twice is an error, though Nix takes the last: whoever reads such a file may see another
//! derivation than is built. JSON holds text only, so a derivation with other bytes cannot be printed; and nothing
//! is read or printed that is nested deeper than 128. A derivation of more than a million values is refused, and
//! so is a file of more than a million derivations.

mod attributes;
mod error;
mod fields;
mod file;
mod format;
mod lists;
mod locate;
mod output;
mod output_fields;
mod print;
mod read;
mod style;
mod tree;
mod wrong;

pub use error::{JsonError, Place, PrintError, Problem};
pub use file::parse;
pub use format::{Format, UnknownFormat};
pub use print::{print, print_bare};

pub(crate) use file::{Stated, examine};
pub(crate) use locate::Locator;
