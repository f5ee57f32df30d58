//! What every command works with: settings, the terminal, and the way to the store.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use local_store::{LocalStore, Location, Options};
use nix::sys::stat::{Mode, umask};
use settings::Settings;
use store_path::{StoreDir, StorePath};

use crate::absolute::absolute;
use crate::advice;
use crate::arguments::Globals;
use crate::config::{self, Flag};
use crate::environment::Environment;
use crate::full_disk;
use crate::location;
use crate::messages::{Messages, Verbosity, chain};
use crate::results::Results;
use crate::shell;
use crate::store_argument;
use crate::style::Style;

/// One run of `store`.
pub(crate) struct Session {
    globals: Globals,
    environment: Environment,
    settings: Settings,
    messages: Messages,
    results: Results,
    /// See [`Self::repeated_options`].
    repeated: String,
}

impl Session {
    /// Reads the configuration; `flags` are the command's own options that are settings, too.
    pub(crate) fn start(globals: Globals, flags: Vec<Flag>) -> Result<Self> {
        let environment = Environment::of_process()?;
        let repeated = repeated_options(&globals, &flags);
        let settings = settings(&globals, flags, &environment)?;
        let messages =
            Messages::new(globals.verbosity(), Style::of(&environment.variables, io::stderr().is_terminal()));
        Ok(Self { globals, environment, settings, messages, results: Results::new()?, repeated })
    }

    /// Returns the settings in force.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the way to stderr.
    pub(crate) fn messages(&self) -> Messages {
        self.messages
    }

    /// Says everything on stderr as events from now on.
    pub(crate) fn tell_events(&mut self) {
        self.messages = self.messages.as_events();
    }

    /// Returns the way to stdout.
    pub(crate) fn results(&mut self) -> &mut Results {
        &mut self.results
    }

    /// Returns whether results are wanted as JSON.
    pub(crate) fn json(&self) -> bool {
        self.globals.json
    }

    /// Returns whether the user wants to know more.
    pub(crate) fn verbose(&self) -> bool {
        self.globals.verbosity() >= Verbosity::Verbose
    }

    /// Returns the variables this process was started with.
    pub(crate) fn variables(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.environment.variables
    }

    /// Returns the directory that the command line chose, which a command shown to the user has to repeat.
    pub(crate) fn store_flag(&self) -> Option<PathBuf> {
        let option = || self.globals.options().filter(|(key, _)| *key == "store").last();
        let flag = self.globals.store.as_deref().or_else(|| option().map(|(_, value)| Path::new(value)));
        flag.map(|dir| self.absolute(dir))
    }

    /// Returns what else of the command line shapes a sandbox, for a command shown to the user that makes the same one.
    pub(crate) fn repeated_options(&self) -> &str {
        &self.repeated
    }

    /// Returns `path` from the root on; it need not exist.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        absolute(&self.environment.working_dir, path)
    }

    /// Opens the store that the settings choose, for a command that writes to it and finds nothing in a new one.
    pub(crate) fn open_existing_store(&self) -> Result<LocalStore> {
        let location = self.location()?;
        ensure!(location.state_dir.exists(), "{}", no_store(&location));
        self.open_store()
    }

    /// Opens the store that the settings choose, for a command that only asks: where it may not write, it does not.
    pub(crate) fn read_store(&self) -> Result<LocalStore> {
        let store = self.read_store_if_there()?;
        store.map_or_else(|| bail!("{}", no_store(&self.location()?)), Ok)
    }

    /// Opens the store as [`Self::read_store`] does if it is there, for a command that can do without.
    pub(crate) fn read_store_if_there(&self) -> Result<Option<LocalStore>> {
        let location = self.location()?;
        let place = location.real_store.clone();
        self.messages.detail(format_args!("the store is at {}", place.display()));
        LocalStore::open_to_read(location, self.store_options()).map_err(|error| cannot_open(&place, error))
    }

    /// Opens the store for a command that only asks, and makes it if it is not there.
    pub(crate) fn read_or_make_store(&self) -> Result<LocalStore> {
        self.read_store_if_there()?.map_or_else(|| self.open_store(), Ok)
    }

    /// Opens the store for a command that looks after it: what was left is swept where that can be written to.
    pub(crate) fn tend_store(&self) -> Result<LocalStore> {
        self.open_existing_store().or_else(|error| match error.downcast_ref() {
            Some(local_store::Error::ReadOnly { .. }) => self.read_store(),
            _ => Err(error),
        })
    }

    /// Opens the store that the settings choose, for a command that deletes, also where the disk is full.
    pub(crate) fn open_store_to_make_room(&self) -> Result<LocalStore> {
        let location = self.location()?;
        ensure!(location.state_dir.exists(), "{}", no_store(&location));
        self.open_store_with(Options { makes_room: true, ..self.store_options() })
    }

    /// Opens the store that the settings choose, and makes it if it is not there.
    pub(crate) fn open_store(&self) -> Result<LocalStore> {
        self.open_store_with(self.store_options())
    }

    fn open_store_with(&self, options: Options) -> Result<LocalStore> {
        let location = self.location()?;
        let place = location.real_store.clone();
        self.messages.detail(format_args!("the store is at {}", place.display()));
        // As Nix does: whoever may reach a store may read it, and only its owner may write it.
        umask(Mode::S_IWGRP | Mode::S_IWOTH);
        let store = LocalStore::open(location, options).map_err(|error| cannot_open(&place, error))?;
        if let Some(before) = store.schema_before() {
            self.messages.note(format_args!(
                "the database of the store had schema {before} and was brought up to date; a Nix that knows no later one \
                 cannot open it any more"
            ));
        }
        for error in store.left_over() {
            self.messages.warn(chain(error));
        }
        Ok(store)
    }

    fn store_options(&self) -> Options {
        Options {
            fsync_store_paths: self.settings.fsync_store_paths,
            fsync_metadata: self.settings.fsync_metadata,
            wal: self.settings.use_sqlite_wal,
            read_only: self.settings.read_only,
            tell_locked: self.messages.locked(),
            auto_optimise_store: self.settings.auto_optimise_store,
            reserved_bytes: self.settings.gc_reserved_space as u64,
            makes_room: false,
        }
    }

    /// Returns the store path that an argument means, valid or not.
    pub(crate) fn store_path(&self, store: &LocalStore, argument: &Path) -> Result<StorePath> {
        store_argument::resolve(store.location(), &self.absolute(argument))
    }

    /// Returns the store paths that arguments mean, valid or not.
    pub(crate) fn store_paths(&self, store: &LocalStore, arguments: &[PathBuf]) -> Result<Vec<StorePath>> {
        arguments.iter().map(|path| self.store_path(store, path)).collect()
    }

    /// Returns the store paths that arguments mean, all of which are valid.
    pub(crate) fn valid_paths(&self, store: &LocalStore, arguments: &[PathBuf]) -> Result<Vec<StorePath>> {
        let paths = self.store_paths(store, arguments)?;
        let valid = store.valid_among(&paths.iter().cloned().collect())?;
        match paths.iter().find(|path| !valid.contains(*path)) {
            Some(path) => Err(local_store::Error::NotValid { path: path.clone() }.into()),
            None => Ok(paths),
        }
    }

    /// Returns the valid store path that an argument begins with, and what the argument means below that.
    pub(crate) fn valid_part(&self, store: &LocalStore, argument: &Path) -> Result<(StorePath, PathBuf)> {
        let (path, below) = store_argument::split(store.location(), &self.absolute(argument))?;
        match store.is_valid(&path)? {
            true => Ok((path, below)),
            false => Err(local_store::Error::NotValid { path }.into()),
        }
    }

    /// Returns the store path that an argument means, valid or not, for a command that does something to all of it.
    pub(crate) fn whole_path(&self, store: &LocalStore, argument: &Path) -> Result<StorePath> {
        let (path, below) = store_argument::split(store.location(), &self.absolute(argument))?;
        ensure!(
            below.as_os_str().is_empty(),
            "`{}` is only a part of `{}`: name that, if all of it is meant",
            argument.display(),
            store.store_dir().print(&path)
        );
        Ok(path)
    }

    /// Returns where the files of an argument are: its own place, or that in the store for a store path.
    pub(crate) fn real_file(&self, argument: &Path) -> Result<PathBuf> {
        let path = self.absolute(argument);
        match path.strip_prefix(StoreDir::default().as_str()) {
            Ok(below) => self.location().map(|location| file_in(&location, below)),
            Err(_) => Ok(path),
        }
    }

    /// Prints paths one a line, or as a list with `--json`.
    pub(crate) fn print_list(&mut self, lines: Vec<String>) -> Result<()> {
        if self.json() {
            return Ok(self.results.json(&lines.into())?);
        }
        for line in lines {
            self.results.line(line)?;
        }
        Ok(())
    }

    /// Returns what to do about an error, where its text cannot know.
    pub(crate) fn advice(&self, error: &anyhow::Error) -> Option<Cow<'static, str>> {
        let build_dir = self.settings.build_dir.as_deref();
        let location = self.location().ok()?;
        let is_absent = |cause: &(dyn std::error::Error + 'static)| {
            matches!(cause.downcast_ref(), Some(local_store::Error::NotValid { .. }))
        };
        if error.chain().any(is_absent) {
            let place = location.real_store.display();
            return Some(format!("the store is at `{place}`; `--store DIR` takes another one").into());
        }
        let full = full_disk::told(error.as_ref(), &location, build_dir);
        full.map(Cow::Owned).or_else(|| advice::after(error).map(Cow::Borrowed))
    }

    /// Returns where the store is that the settings choose; it need not be there.
    pub(crate) fn location(&self) -> Result<Location> {
        let location =
            location::choose(self.settings.store.as_deref(), self.environment.user_store.as_deref())?;
        Ok(match &self.settings.lower_store {
            Some(lower) => location.over(location::at(lower)),
            None => location,
        })
    }
}

/// Returns where something is that is called `below` in the store directory.
fn file_in(location: &Location, below: &Path) -> PathBuf {
    let here = location.real_store.join(below);
    match &location.lower {
        Some(lower) if here.symlink_metadata().is_err() => lower.real_store.join(below),
        _ => here,
    }
}

fn no_store(location: &Location) -> String {
    format!(
        "there is no store at `{}`; `--store DIR` takes another, `store build` and `store add` make one",
        location.real_store.display()
    )
}

fn cannot_open(place: &Path, error: local_store::Error) -> anyhow::Error {
    // This one says so by itself.
    let is_told = matches!(error, local_store::Error::NewerSchema { .. });
    let next = if is_told { "" } else { "; `--store DIR` takes another" };
    anyhow::Error::from(error).context(format!("cannot open the store at `{}`{next}", place.display()))
}

/// Returns the settings of a command line, save the place of the store, as options that every verb takes.
fn repeated_options(globals: &Globals, flags: &[Flag]) -> String {
    // Of the flags, only this one is seen by what runs in a sandbox.
    let cores = flags.iter().filter(|flag| flag.key == "cores").map(|flag| ("cores", flag.value.as_str()));
    let given = globals.options().filter(|(key, _)| *key != "store").chain(cores);
    given.map(|(key, value)| format!(" --option {} {}", shell::quote(key), shell::quote(value))).collect()
}

/// Returns the settings in force; of two flags that set the same, the last one counts.
fn settings(globals: &Globals, flags: Vec<Flag>, environment: &Environment) -> Result<Settings> {
    let options = globals.options().map(|(key, value)| Flag {
        spelling: "--option".to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    });
    let flags: Vec<Flag> = options.chain(flags).collect();
    let mut settings = config::load(environment, &flags)?;
    if let Some(dir) = &globals.store {
        // Not by way of a flag: settings are text, and the name of a directory need not be.
        settings.store = Some(absolute(&environment.working_dir, dir));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn the_directory_of_a_store_need_not_be_text() {
        let environment = Environment {
            config_files: Vec::new(),
            config_text: Some("store = /other".to_owned()),
            user_store: None,
            variables: BTreeMap::new(),
            working_dir: PathBuf::from("/home"),
        };
        let dir = PathBuf::from(OsStr::from_bytes(b"st\xffre"));
        let mut globals = Globals::default();
        globals.store = Some(dir.clone());
        assert_eq!(
            settings(&globals, Vec::new(), &environment).unwrap().store,
            Some(Path::new("/home").join(dir))
        );
    }
}
