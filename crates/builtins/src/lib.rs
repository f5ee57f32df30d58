//! The builders that need no program file: `builtin:fetchurl`, `builtin:buildenv`, `builtin:unpack-channel`. Floor 2.
//!
//! They are functions of this program, and run where a program would: in the sandbox of their build, forked, isolated,
//! without privileges, under the filter. So they see what that build sees and may do what it may do, and an archive or a
//! server that is hostile gets no further than a builder would. What they need of the host is handed in with the [`Call`]:
//! nothing here reads the caller's environment or a setting, and nothing knows the database of a store.
//!
//! ```
//! let call = builtins::Call {
//!     attributes: [("out", "/nix/store/x-env"), ("derivations", "")]
//!         .map(|(name, value)| (name.into(), value.into()))
//!         .into(),
//!     build_dir: "/build".into(),
//!     download: None,
//! };
//! assert!(builtins::is_known("builtin:buildenv"));
//! // Handed to `sandbox` as the input of `Program::Function`, under that name.
//! assert!(!call.encode().is_empty());
//! ```

mod archive;
mod buildenv;
mod call;
mod compressed;
mod error;
mod extract;
mod fetchurl;
mod log;
mod unpack_channel;

use crate::call::Failed;
use crate::log::Log;

pub use call::{Call, Download, FlatHash, Reach};
pub use error::chain;

/// A builder that is part of this program: is given what [`Call::encode`] returned, and returns an exit status.
pub type Builder = fn(&[u8]) -> i32;

/// Every builder by its name, for the launcher to find.
pub const BUILDERS: &[(&str, Builder)] = &[
    ("builtin:buildenv", |input| run(input, buildenv::build)),
    (FETCHURL, |input| run(input, fetchurl::build)),
    ("builtin:unpack-channel", |input| run(input, unpack_channel::build)),
];

/// The builder that downloads, and so needs [`Call::download`].
pub const FETCHURL: &str = "builtin:fetchurl";

/// Returns whether there is a builder of that name.
pub fn is_known(name: &str) -> bool {
    BUILDERS.iter().any(|(known, _)| *known == name)
}

/// Runs a builder to its end, with the log of its build as standard error.
fn run(input: &[u8], build: fn(&Call, &Log) -> Result<(), Failed>) -> i32 {
    let log = Log::to_stderr();
    match Call::decode(input).and_then(|call| build(&call, &log)) {
        Ok(()) => 0,
        Err(error) => {
            log.error(error.as_ref());
            1
        }
    }
}
