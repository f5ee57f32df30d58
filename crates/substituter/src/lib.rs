//! Fetches store paths by external substituters: programs that speak the protocol Nix had for that up to 1.11. Floor 3.
//!
//! ```text
//!   store                                        program --query
//!   fd 0 ── have PATH PATH … ──────────────────►
//!   fd 1 ◄── a line, whatever it says ───────────     it is ready
//!        ◄── PATH, for each that it has ─────────     then an empty line
//!   fd 0 ── info PATH PATH … ──────────────────►
//!   fd 1 ◄── PATH, deriver, how many references, each of them, download size, archive size;
//!            for each that it has ───────────────     then an empty line
//!
//!                                                program --substitute PATH DESTINATION
//!        it makes the tree at DESTINATION
//!   fd 1 ◄── sha256:… of its archive ────────────     exit 0
//! ```
//!
//! A line on descriptor 2 is for people. A program is believed what a path refers to and who made it, as Nix believes it:
//! whoever names it in the settings trusts it with that. What it answers is bounded, and it can tell of nothing that it
//! was not asked for.
//!
//! What is fetched and when is for `engine` to say. Nothing here is printed.

mod ask;
mod error;
mod fetch;
mod reply;

pub use ask::Substituters;
pub use error::{Error, ReplyError};
pub use fetch::Fetch;
pub use reply::Offer;
