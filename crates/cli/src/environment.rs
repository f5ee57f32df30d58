//! What the process was started with, read once.
#![expect(clippy::disallowed_methods, reason = "cli reads the environment, so that nothing below has to")]

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// The parts of the process environment that `store` looks at.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    /// Configuration files, from the least to the most important.
    pub(crate) config_files: Vec<PathBuf>,
    /// The text of `STORE_CONFIG`.
    pub(crate) config_text: Option<String>,
    /// Where a user without access to `/nix` has a store.
    pub(crate) user_store: Option<PathBuf>,
    /// All variables, of which a fixed-output build may ask for some.
    pub(crate) variables: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where relative paths begin.
    pub(crate) working_dir: PathBuf,
}

impl Environment {
    /// Reads the environment of this process.
    pub(crate) fn of_process() -> Result<Self> {
        #[cfg(debug_assertions)]
        arm_failpoint()?;
        let user_config = home_dir("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("store/store.conf"));
        Ok(Self {
            config_files: [PathBuf::from("/etc/store/store.conf")].into_iter().chain(user_config).collect(),
            config_text: env::var_os("STORE_CONFIG").map(|text| text.to_string_lossy().into_owned()),
            user_store: home_dir("XDG_DATA_HOME", ".local/share").map(|dir| dir.join("store")),
            variables: env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec())).collect(),
            working_dir: env::current_dir()
                .context("cannot find the working directory; `cd` to one that exists")?,
        })
    }
}

/// Has a step of a store fail if a test wants it to, which `STORE_FAILPOINT` says. Released programs do not look.
#[cfg(debug_assertions)]
fn arm_failpoint() -> Result<()> {
    let Some(text) = env::var_os("STORE_FAILPOINT") else { return Ok(()) };
    local_store::failpoint::arm(&text.to_string_lossy())
        .map_err(anyhow::Error::msg)
        .context("cannot use `STORE_FAILPOINT`")
}

/// Returns a directory of the XDG base directory specification, which says to ignore relative ones.
fn home_dir(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))
}

/// Returns the command line, program name first.
pub(crate) fn arguments() -> impl Iterator<Item = OsString> {
    env::args_os()
}
