//! What every command works with: settings, the terminal, and the way to the store.

use std::path::{Path, PathBuf};

use anyhow::Result;
use settings::Settings;

use crate::arguments::Globals;
use crate::config::{self, Flag};
use crate::environment::Environment;
use crate::terminal::{Terminal, Verbosity};

/// One run of `store`.
pub(crate) struct Session {
    globals: Globals,
    environment: Environment,
    settings: Settings,
    terminal: Terminal,
}

impl Session {
    /// Reads the configuration; `flags` are the command's own options that are settings, too.
    pub(crate) fn start(globals: Globals, flags: Vec<Flag>) -> Result<Self> {
        let environment = Environment::of_process()?;
        let mut terminal = Terminal::new()?;
        terminal.set_verbosity(globals.verbosity());
        let settings = config::load(&environment, &all_flags(&globals, flags, &environment.working_dir))?;
        Ok(Self { globals, environment, settings, terminal })
    }

    /// Returns the settings in force.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the two output streams.
    pub(crate) fn terminal(&mut self) -> &mut Terminal {
        &mut self.terminal
    }

    /// Returns whether results are wanted as JSON.
    pub(crate) fn json(&self) -> bool {
        self.globals.json
    }

    /// Returns whether the user wants to know more.
    pub(crate) fn verbose(&self) -> bool {
        self.globals.verbosity() == Verbosity::Verbose
    }

    /// Returns `path` from the root on; it need not exist.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        self.environment.working_dir.join(path)
    }
}

/// Joins `--option`, `--store` and the command's own flags; of two that set the same, the last one counts.
fn all_flags(globals: &Globals, flags: Vec<Flag>, working_dir: &Path) -> Vec<Flag> {
    let options = globals.options().map(|(key, value)| Flag {
        spelling: "--option".to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    });
    let store = globals.store.iter().map(|dir| Flag {
        spelling: "--store".to_owned(),
        key: "store".to_owned(),
        value: working_dir.join(dir).to_string_lossy().into_owned(),
    });
    options.chain(store).chain(flags).collect()
}
