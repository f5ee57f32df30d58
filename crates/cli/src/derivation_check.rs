//! `store derivation check`
#![expect(clippy::disallowed_methods, reason = "input derivations may lie beside the files of the user's")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use derivation::{Derivation, Finding, Source, SourceForm, aterm, review};
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
use crate::threads;

/// Says all that is wrong with files of derivations, and where; of a recipe, the first of it.
///
/// Each line names file, line, column and what is wrong there; for JSON, the pointer (RFC 6901) follows. Input
/// derivations are looked for in all files given, beside a `.drv` file, and in the store. Exits with 1 if there is
/// an error, and with 0 if there are warnings only.
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
    let texts = read(session, &args.files)?;
    let mut sources = Vec::new();
    let mut listed: Vec<(&PathBuf, Finding)> = Vec::new();
    let mut files = Vec::new();
    for (file, text) in args.files.iter().zip(&texts) {
        if !derivation_file::is_aterm(text) && ::recipe::is_recipe(text) {
            listed.extend(recipe_check::finding(session, file, text)?.map(|finding| (file, finding)));
        } else {
            sources.push(Source { text, form: form(file, text)? });
            files.push(file);
        }
    }
    let store_dir = StoreDir::default();
    let beside = args.files.iter().filter_map(|file| Some(session.absolute(file).parent()?.to_owned()));
    let mut inputs = Inputs {
        // Without a store there is nothing to find in it.
        store: session.read_store_if_there()?,
        beside: beside.collect(),
        store_dir: &store_dir,
    };
    inputs.beside.dedup();
    let sources = threads::on_each(&sources, |source| source.clone().read(&store_dir));
    let found = review(sources, &store_dir, &mut |path: &StorePath| inputs.read(path));
    listed.extend(
        files.into_iter().zip(found).flat_map(|(file, list)| list.into_iter().map(move |one| (file, one))),
    );
    tell(session, &listed)?;
    let errors = listed.iter().filter(|(_, finding)| finding.is_error).count();
    session.messages().note(summary(errors, listed.len() - errors));
    Ok(if errors > 0 { Exit::Failure } else { Exit::Success })
}

fn read(session: &Session, files: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    let is_stdin = |file: &Path| file == Path::new("-");
    let path = |file: &PathBuf| if is_stdin(file) { file.clone() } else { session.absolute(file) };
    let paths: Vec<PathBuf> = files.iter().map(path).collect();
    let texts = threads::on_each(&paths, |path| bounded::read(path));
    let named = |(file, text): (&PathBuf, Result<_>)| {
        text.with_context(|| format!("cannot read `{}`", file.display()))
    };
    files.iter().zip(texts).map(named).collect()
}

/// What is no `.drv` file is told of as what is wrong with the JSON.
fn form(file: &Path, text: &[u8]) -> Result<SourceForm> {
    if !derivation_file::is_aterm(text) {
        return Ok(SourceForm::Json);
    }
    let name = derivation_file::name(file).with_context(|| format!("cannot check `{}`", file.display()))?;
    Ok(SourceForm::Aterm { name, path: path_of(file) })
}

/// Where input derivations may be that are in none of the files.
struct Inputs<'a> {
    store: Option<LocalStore>,
    beside: Vec<PathBuf>,
    store_dir: &'a StoreDir,
}

impl Inputs<'_> {
    fn read(&self, path: &StorePath) -> io::Result<Derivation> {
        let base = path.to_string();
        let file = self.beside.iter().map(|directory| directory.join(&base)).find(|file| file.is_file());
        if let Some(file) = file {
            let name = derivation_file::name(&file).map_err(io::Error::other)?;
            return aterm::parse(&fs::read(file)?, self.store_dir, &name).map_err(io::Error::other);
        }
        let absent = || {
            io::Error::new(io::ErrorKind::NotFound, "it is in no file given, not beside one and in no store")
        };
        let store = self.store.as_ref().ok_or_else(absent)?;
        engine::read_derivation(store, path).map_err(|error| {
            match store.valid_among(&[path.clone()].into()) {
                Ok(valid) if valid.is_empty() => absent(),
                _ => io::Error::other(error),
            }
        })
    }
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
