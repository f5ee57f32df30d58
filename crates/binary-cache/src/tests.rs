//! Tests against Nix's own data, fixtures of ours, and laws.

mod golden;
mod laws;
mod nar_infos;
mod signatures;
