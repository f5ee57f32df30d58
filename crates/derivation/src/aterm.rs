//! The text of a `.drv` file: `Derive([("out","/nix/store/…","","")],…)`.
//!
//! Reading is as tolerant as Nix where that loses nothing: any order, any encoding of a hash, any escaped
//! character. It is stricter where Nix drops something: a name given twice (of a variable Nix takes the last, of an
//! output the first) and text behind the end are errors, since another reader may see another derivation.

mod error;
mod locate;
mod read;
mod reader;
mod write;

pub use error::{ParseError, Problem};
pub use read::parse;
pub use write::print;

pub(crate) use locate::{Member, Section, locate};
pub(crate) use read::{examine, skim};
pub(crate) use write::{Layout, Text};

/// Opens the text of a derivation whose inputs are derivations only the build will make.
const DYNAMIC_HEAD: &str = "DrvWithVersion(\"xp-dyn-drv\",";
