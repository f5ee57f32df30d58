//! Has one derivation built elsewhere, by a build hook: a program that speaks Nix's protocol for that. Floor 3.
//!
//! The hook decides whether, where and how; it copies the inputs there and the outputs back. What is here is the other
//! side of the conversation:
//!
//! ```text
//!   store                                            hook
//!   fd 0 ── settings: (1, name, value)… 0 ─────────►           once
//!        ── "try", willing, system, drv, features ─►           for each derivation, until one is accepted
//!   fd 2 ◄── # accept | # decline | # decline-permanently | # postpone
//!        ◄── name of the machine ───────────────────           after `accept`
//!   fd 0 ── input paths, wanted outputs ───────────►           then it is closed
//!   fd 4 ◄── what the builder prints ───────────────
//!        ◄── end: 0 if the outputs are valid ───────
//! ```
//!
//! Everything else on descriptor 2 is a line for people, or an event in JSON (`@nix {…}`). A hook that was asked and has
//! not accepted is asked again; one that has accepted works for that build alone.
//!
//! Which derivation is offered and when is for `engine` to say. Nothing here is printed.

mod away;
mod error;
mod hook;
mod lines;
mod offer;
mod said;
mod wire;

pub use error::Error;
pub use offer::{Answer, Message, RemoteBuilder};
