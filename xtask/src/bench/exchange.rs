//! Many small paths from one store to another, as a stream.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Result, ensure};

use super::Bench;
use super::measure::{Contender, Prepared};
use super::stores::Store;

/// How many files are in each path, in a directory.
const FILES: usize = 4;

/// A store with paths that refer to nothing.
struct Source {
    store: Store,
    paths: Vec<String>,
}

/// Writes all of a store to nowhere; with hashes and signatures in it (`store-2`), and as Nix does.
pub(super) fn export(bench: &Bench, count: usize) -> Result<Vec<Contender>> {
    let source = Rc::new(source(bench, count)?);
    let ours = |name, format: &'static str| {
        let (source, program) = (Rc::clone(&source), bench.store.clone());
        Contender::plain(name, move || {
            let mut command = source.store.store(&program);
            command.args(["export", "--format", format]).args(&source.paths);
            Ok(command)
        })
    };
    let mut contenders = vec![ours("store", "1"), ours("store-2", "2")];
    if bench.has_nix() {
        let source = Rc::clone(&source);
        contenders.push(Contender::plain("nix", move || {
            let mut command = source.store.nix(&["--export"]);
            command.args(&source.paths);
            Ok(command)
        }));
    }
    Ok(contenders)
}

/// Reads such streams into an empty store; and into one that has it all already (`again`).
pub(super) fn import(bench: &Bench, count: usize) -> Result<Vec<Contender>> {
    let source = source(bench, count)?;
    let stream = |format: &str| -> Result<PathBuf> {
        let path = bench.scratch.path().join(format!("stream-{count}-{format}"));
        let mut command = source.store.store(&bench.store);
        command.args(["export", "--format", format]).args(&source.paths).stdout(File::create(&path)?);
        ensure!(command.status()?.success(), "cannot export");
        Ok(path)
    };
    let (first, second) = (stream("1")?, stream("2")?);
    let ours = |name, stream: PathBuf, again: bool| {
        let program = bench.store.clone();
        let prepare = move || {
            let store = Store::empty()?;
            let mut command = store.store(&program);
            command.arg("import");
            let mut command = reading(&command, &stream);
            if again {
                ensure!(command.output()?.status.success(), "cannot import");
            }
            Ok(Prepared { command, _keep: Some(store) })
        };
        Contender { name, prepare: Box::new(prepare), tells: false }
    };
    let mut contenders = vec![
        ours("store", first.clone(), false),
        ours("store-2", second.clone(), false),
        ours("again", first.clone(), true),
        ours("again-2", second, true),
    ];
    if bench.has_nix() {
        let prepare = move || {
            let store = Store::empty()?;
            let command = reading(&store.nix(&["--import"]), &first);
            Ok(Prepared { command, _keep: Some(store) })
        };
        contenders.push(Contender { name: "nix", prepare: Box::new(prepare), tells: false });
    }
    Ok(contenders)
}

fn source(bench: &Bench, count: usize) -> Result<Source> {
    let store = Store::empty()?;
    let mut paths = Vec::with_capacity(count);
    for number in 0..count {
        let directory = store.directory().join(format!("source-{number}"));
        fs::create_dir(&directory)?;
        for file in 0..FILES {
            let text = format!("{number} {file}\n").repeat(1 + 100 * file);
            fs::write(directory.join(format!("file-{file}")), text)?;
        }
        paths.push(store.add(&bench.store, &directory)?);
    }
    Ok(Source { store, paths })
}

/// Returns a command that reads from a file.
fn reading(command: &Command, file: &Path) -> Command {
    let mut reading = Command::new("/bin/sh");
    reading.args(["-c", "exec < \"$0\"; exec \"$@\""]).arg(file);
    reading.arg(command.get_program()).args(command.get_args());
    reading
}
