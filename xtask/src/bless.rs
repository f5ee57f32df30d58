//! `cargo xtask bless`: what the tests print now is what they expect from now on.

use anyhow::Result;

use crate::{cargo, readme};

/// Rewrites fixtures, transcripts and the generated tables; the diff is there to be read.
pub(crate) fn run() -> Result<()> {
    readme::bless()?;
    cargo::succeed(cargo::cargo(&["test", "--workspace"]).env("BLESS", "1"))
}
