//! `cargo xtask bless`: what the tests print now is what they expect from now on.

use anyhow::Result;

use crate::{cargo, readme};

/// Rewrites fixtures, transcripts and the generated tables; the diff is there to be read.
pub(crate) fn run() -> Result<()> {
    readme::bless()?;
    // The first is our own fixtures', the second snapbox's word for the same wish.
    cargo::succeed(cargo::cargo(&["test", "--workspace"]).env("BLESS", "1").env("SNAPSHOTS", "overwrite"))
}
