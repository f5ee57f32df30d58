//! The store among other processes: several of ours at once, killed ones, and Nix.
#![allow(clippy::disallowed_methods, reason = "tests touch the disk and start programs")]
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

mod crowd;
mod helper;
mod nix;
mod processes;
