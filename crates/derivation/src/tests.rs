//! Tests against data of Nix's, and of everything together.

mod corpus;
mod derived_path;
mod diff;
mod fixtures;
mod formats;
mod golden;
mod golden_resolve;
mod labels;
mod large;
mod layouts;
mod random;
mod review;
mod skimmed;
