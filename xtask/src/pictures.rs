//! `cargo xtask pictures`: what a person sees, as files that a page can show.

use anyhow::Result;

use crate::cargo;

/// Draws the screens of the live tree (`fixtures/pictures`): those that the tests hold against what it draws.
pub(crate) fn run() -> Result<()> {
    let drawn = ["test", "--package", "cli", "--bin", "store", "--", "screens::"];
    cargo::succeed(cargo::cargo(&drawn).env("BLESS", "1"))
}
