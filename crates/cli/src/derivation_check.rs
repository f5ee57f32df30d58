//! `store derivation check`

use std::cell::OnceCell;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use derivation::{Derivation, Finding, ReadSource, Source, SourceForm, aterm, review};
use local_store::LocalStore;
use serde_json::{Value, json};
use store_path::{StoreDir, StorePath};

use crate::bounded;
use crate::build_failure::harmless;
use crate::derivation_convert::path_of;
use crate::derivation_file;
use crate::exit::Exit;
use crate::recipe_check;
use crate::session::Session;
use crate::threads::{self, Processors};

/// Says all that is wrong with files of derivations, and where; of a recipe, the first of it.
///
/// Each line names file, line, column and what is wrong there; for JSON, the pointer (RFC 6901) follows. Input
/// derivations are looked for in all files given, beside a `.drv` file, and in the store. Exits with 1 if there is
/// an error or a file cannot be read, which keeps nothing from being said of the others, and with 0 if there are
/// warnings only.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store derivation check hello.json other.json\n  \
                        store derivation check --json *.drv\n  \
                        nix derivation show -r … | store derivation check -")]
pub(crate) struct Args {
    /// Files with JSON of any form, or `.drv` files; `-` for JSON on stdin.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store_dir = StoreDir::default();
    // The end of the process gives all of it back at once; one by one that takes longer than reading some of the files.
    let places: &[Place] = args.files.iter().map(|file| Place::new(file)).collect::<Vec<_>>().leak();
    let mut listed: Vec<(&PathBuf, Finding)> = Vec::new();
    let (mut files, mut sources) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
    let shared: &Session = session;
    let read = threads::on_each(places, |place| place.read(shared, &store_dir));
    let mut unread = Vec::new();
    for (file, read) in args.files.iter().zip(read) {
        match read {
            Ok(Read::Recipe(text)) => {
                listed.extend(recipe_check::finding(session, file, text)?.map(|finding| (file, finding)));
            }
            Ok(Read::Derivations(source)) => {
                files.push(file);
                sources.push(source);
            }
            Err(error) => unread.push(error),
        }
    }
    if unread.len() == places.len() {
        return Err(tell_unread(session, unread));
    }
    let inputs =
        Inputs { session, store: OnceCell::new(), places, beside: OnceCell::new(), store_dir: &store_dir };
    let found = review(sources, &store_dir, &mut |path: &StorePath| inputs.read(path), &Processors);
    listed.extend(
        files.into_iter().zip(found).flat_map(|(file, list)| list.into_iter().map(move |one| (file, one))),
    );
    tell(session, &listed)?;
    let errors = listed.iter().filter(|(_, finding)| finding.is_error).count();
    let summary = summary(errors, listed.len() - errors);
    if !unread.is_empty() {
        session.messages().note(format!("{summary}, in what could be read"));
        return Err(tell_unread(session, unread));
    }
    session.messages().note(summary);
    Ok(if errors > 0 { Exit::Failure } else { Exit::Success })
}

/// A file, and room for what is found out about it.
struct Place<'a> {
    file: &'a Path,
    /// Where it is, whatever the working directory.
    path: OnceLock<PathBuf>,
    text: OnceLock<Vec<u8>>,
}

/// A file that has been read.
enum Read<'a> {
    Recipe(&'a [u8]),
    Derivations(ReadSource<'a>),
}

impl<'a> Place<'a> {
    fn new(file: &'a Path) -> Self {
        Self { file, path: OnceLock::new(), text: OnceLock::new() }
    }

    /// Reads the file and, while it is near at hand, the derivations in it.
    fn read(&self, session: &Session, store_dir: &StoreDir) -> Result<Read<'_>> {
        let is_stdin = self.file == Path::new("-");
        let path = || if is_stdin { self.file.to_owned() } else { session.absolute(self.file) };
        let path = self.path.get_or_init(path);
        let text = bounded::read(path).with_context(|| format!("cannot read `{}`", self.file.display()))?;
        let text = self.text.get_or_init(|| text);
        if !derivation_file::is_aterm(text) && ::recipe::is_recipe(text) {
            return Ok(Read::Recipe(text));
        }
        Ok(Read::Derivations(Source { text, form: form(self.file, text)? }.read(store_dir)))
    }
}

/// What is no `.drv` file is told of as what is wrong with the JSON.
fn form(file: &Path, text: &[u8]) -> Result<SourceForm> {
    if !derivation_file::is_aterm(text) {
        return Ok(SourceForm::Json);
    }
    let path = path_of(file);
    let own = path.as_ref().and_then(|path| path.name().as_str().strip_suffix(".drv")?.parse().ok());
    let name = own.map_or_else(|| derivation_file::name(file), Ok);
    let name = name.with_context(|| format!("cannot check `{}`", file.display()))?;
    Ok(SourceForm::Aterm { name, path })
}

/// Where input derivations may be that are in none of the files.
struct Inputs<'a> {
    session: &'a Session,
    /// Opened at the first input that is nowhere else; without a store there is nothing to find in it.
    store: OnceCell<Option<LocalStore>>,
    places: &'a [Place<'a>],
    /// The directories of the files, asked for as late as the store.
    beside: OnceCell<Vec<&'a Path>>,
    store_dir: &'a StoreDir,
}

impl<'a> Inputs<'a> {
    fn read(&self, path: &StorePath) -> io::Result<Derivation> {
        let base = path.to_string();
        let file = self.beside().iter().map(|directory| directory.join(&base)).find(|file| file.is_file());
        if let Some(file) = file {
            let name = derivation_file::name(&file).map_err(io::Error::other)?;
            let text = bounded::read(&file).map_err(|error| io::Error::other(format!("{error:#}")))?;
            return aterm::parse(&text, self.store_dir, &name).map_err(io::Error::other);
        }
        let absent = || {
            io::Error::new(io::ErrorKind::NotFound, "it is in no file given, not beside one and in no store")
        };
        let store = self.store()?.ok_or_else(absent)?;
        engine::read_derivation(store, path).map_err(|error| {
            match store.valid_among(&[path.clone()].into()) {
                Ok(valid) if valid.is_empty() => absent(),
                _ => io::Error::other(error),
            }
        })
    }

    fn beside(&self) -> &[&'a Path] {
        self.beside.get_or_init(|| {
            let mut seen = HashSet::new();
            let directories = self.places.iter().filter_map(|place| place.path.get()?.parent());
            directories.filter(|directory| seen.insert(*directory)).collect()
        })
    }

    fn store(&self) -> io::Result<Option<&LocalStore>> {
        if let Some(store) = self.store.get() {
            return Ok(store.as_ref());
        }
        let store = self.session.read_store_if_there();
        let store = store.map_err(|error| io::Error::other(format!("{error:#}")))?;
        Ok(self.store.get_or_init(|| store).as_ref())
    }
}

/// Says which files could not be read, but for the last, which is returned.
fn tell_unread(session: &Session, mut unread: Vec<anyhow::Error>) -> anyhow::Error {
    let last = unread.pop();
    for error in unread {
        session.messages().error(harmless(&format!("{error:#}")));
    }
    last.unwrap_or_else(|| anyhow::anyhow!("no file was given"))
}

fn tell(session: &mut Session, listed: &[(&PathBuf, Finding)]) -> Result<()> {
    if session.json() {
        let list: Vec<Value> = listed.iter().map(|(file, finding)| as_json(file, finding)).collect();
        return Ok(session.results().json(&list.into())?);
    }
    for (file, finding) in listed {
        let Finding { line, column, message, .. } = finding;
        let kind = kind(finding);
        let pointer = finding.pointer.as_ref().map(|pointer| format!(" [{pointer}]")).unwrap_or_default();
        let text = format!("{}:{line}:{column}: {kind}: {message}{pointer}", file.display());
        // It may repeat what somebody else has written.
        session.results().line(harmless(&text))?;
    }
    Ok(())
}

fn kind(finding: &Finding) -> &'static str {
    if finding.is_error { "error" } else { "warning" }
}

fn as_json(file: &Path, finding: &Finding) -> Value {
    json!({
        "file": file.to_string_lossy(),
        "line": finding.line,
        "column": finding.column,
        "offset": finding.offset,
        "pointer": finding.pointer,
        "kind": kind(finding),
        "message": finding.message,
    })
}

fn summary(errors: usize, warnings: usize) -> String {
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => "nothing is wrong".to_owned(),
        _ => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}
