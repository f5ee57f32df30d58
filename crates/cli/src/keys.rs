//! Keys that settings and options name.
#![expect(clippy::disallowed_methods, reason = "keys are files of the user's")]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use binary_cache::{PublicKey, SecretKey};

use crate::session::Session;

/// Reads a secret key. What is wrong with it is told without a byte of it.
pub(crate) fn read(file: &Path) -> Result<SecretKey> {
    let read = || Ok::<_, anyhow::Error>(fs::read_to_string(file)?.parse()?);
    read().with_context(|| format!("cannot read the secret key in `{}`", file.display()))
}

/// Reads the keys that a setting names.
pub(crate) fn read_all<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Result<Vec<SecretKey>> {
    files.into_iter().map(|file| read(file)).collect()
}

/// Returns the keys whose signatures count.
pub(crate) fn trusted_keys(session: &Session) -> Result<Vec<PublicKey>> {
    let parse = |text: &String| {
        text.parse().with_context(|| format!("cannot read the key `{text}` in `trusted-public-keys`"))
    };
    session.settings().trusted_public_keys.iter().map(parse).collect()
}
