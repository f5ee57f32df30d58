//! The layers of settings: defaults, configuration files, `STORE_CONFIG`, flags; later ones win.
#![expect(clippy::disallowed_methods, reason = "cli reads configuration files, so that nothing below has to")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use settings::{Line, Origin, Settings, Source};

use crate::environment::Environment;
use crate::exit::Misuse;

/// One setting given on the command line.
pub(crate) struct Flag {
    /// The option as the user wrote it, for messages.
    pub(crate) spelling: String,
    /// The setting.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: String,
}

/// Returns the settings in force.
pub(crate) fn load(environment: &Environment, flags: &[Flag]) -> Result<Settings> {
    let mut layers = Layers { settings: Settings::default(), reading: Vec::new() };
    for file in &environment.config_files {
        layers.read_file(file, WhenAbsent::Skip)?;
    }
    if let Some(text) = &environment.config_text {
        layers.apply_text(text, &Source::Variable("STORE_CONFIG"), &environment.working_dir)?;
    }
    for Flag { spelling, key, value } in flags {
        layers.settings.set(key, value, &Origin::flag(spelling)).map_err(misuse)?;
    }
    Ok(layers.settings)
}

/// Adds to what is wrong with a flag or a name where the right names are told, unless the right one is.
pub(crate) fn misuse(wrong: settings::Error) -> Misuse {
    let lists = matches!(wrong, settings::Error::Unknown { nearest: None, .. });
    let wrong = Misuse::new(wrong);
    if lists { Misuse::says(format!("{wrong}; `store config show` lists all settings")) } else { wrong }
}

/// What to do when a file is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenAbsent {
    Skip,
    Fail,
}

/// The settings so far, and the files being read just now, outermost first.
struct Layers {
    settings: Settings,
    reading: Vec<PathBuf>,
}

impl Layers {
    fn read_file(&mut self, path: &Path, when_absent: WhenAbsent) -> Result<()> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && when_absent == WhenAbsent::Skip => {
                return Ok(());
            }
            text => text.with_context(|| format!("cannot read the settings in `{}`", path.display()))?,
        };
        // One file under two names would escape the search for loops.
        let identity = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if self.reading.contains(&identity) {
            bail!("`{}` includes itself, directly or through another file", path.display());
        }
        self.reading.push(identity);
        let beside = path.parent().unwrap_or(Path::new("/"));
        self.apply_text(&text, &Source::File(path.to_owned()), beside)?;
        self.reading.pop();
        Ok(())
    }

    /// Applies a layer; a relative `include` is looked for in `beside`.
    fn apply_text(&mut self, text: &str, source: &Source, beside: &Path) -> Result<()> {
        for line in settings::parse(text, source)? {
            match line {
                Line::Assignment { key, value, origin } => self.settings.set(&key, &value, &origin)?,
                Line::Include { path, optional, origin } => {
                    let when_absent = if optional { WhenAbsent::Skip } else { WhenAbsent::Fail };
                    self.read_file(&beside.join(path), when_absent)
                        .with_context(|| format!("{origin}: cannot include"))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn environment(dir: &Path, text: Option<&str>) -> Environment {
        Environment {
            config_files: vec![dir.join("system.conf"), dir.join("user.conf")],
            config_text: text.map(str::to_owned),
            user_store: None,
            variables: BTreeMap::new(),
            working_dir: dir.to_owned(),
        }
    }

    fn flag(key: &str, value: &str) -> Flag {
        Flag { spelling: format!("--option {key}"), key: key.to_owned(), value: value.to_owned() }
    }

    fn message(dir: &Path, text: &str) -> String {
        let error = load(&environment(dir, Some(text)), &[]).unwrap_err();
        format!("{error:#}").replace(&*dir.to_string_lossy(), "DIR")
    }

    #[test]
    fn later_layers_win_and_extra_appends() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("system.conf", "cores = 1\nlog-lines = 1\nsystem-features = a\n");
        write("user.conf", "cores = 2\ninclude sub/more.conf\n!include absent.conf\n");
        fs::create_dir(dir.path().join("sub")).unwrap();
        write("sub/more.conf", "include beside.conf\n");
        write("sub/beside.conf", "extra-system-features = b\n");
        let loaded = load(&environment(dir.path(), Some("max-jobs = 3")), &[flag("cores", "4")]).unwrap();
        assert_eq!((loaded.cores, loaded.log_lines), (4, 1));
        assert_eq!(loaded.max_jobs.to_string(), "3");
        assert_eq!(loaded.system_features, ["a", "b"]);
    }

    #[test]
    fn errors_name_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("bad.conf", "\ncors = 1\n");
        write("a.conf", "include b.conf\n");
        write("b.conf", "include a.conf\n");
        assert_eq!(
            message(dir.path(), "include bad.conf"),
            "STORE_CONFIG:1: cannot include: DIR/bad.conf:2: unknown setting `cors`; did you mean `cores`?"
        );
        assert_eq!(
            message(dir.path(), "include a.conf"),
            "STORE_CONFIG:1: cannot include: DIR/a.conf:1: cannot include: DIR/b.conf:1: cannot include: \
             `DIR/a.conf` includes itself, directly or through another file"
        );
        assert_eq!(
            message(dir.path(), "include absent.conf"),
            "STORE_CONFIG:1: cannot include: cannot read the settings in `DIR/absent.conf`: \
             No such file or directory (os error 2)"
        );
    }
}
