//! `cargo xtask pictures`: what a person sees, as files that a page can show.

use anyhow::Result;

use crate::cargo;

/// Draws the screens of the live tree (`fixtures/pictures`): those that the tests hold against what it draws; and, if there
/// is a Chromium, takes pictures of the page of timings.
pub(crate) fn run() -> Result<()> {
    let drawn = ["test", "--package", "cli", "--bin", "store", "--", "screens::"];
    let shown = ["test", "--package", "cli", "--test", "store", "--", "timings::pictures"];
    cargo::succeed(cargo::cargo(&drawn).env("BLESS", "1"))?;
    cargo::succeed(cargo::cargo(&shown).env("BLESS", "1"))
}
