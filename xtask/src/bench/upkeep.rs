//! Looking after a whole store: verifying it, and linking its equal files.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Result, ensure};

use super::Bench;
use super::measure::{Contender, Prepared, this_part};
use super::stores::Store;

/// As many paths are in the store.
const PATHS: usize = 2000;

/// Makes files and directories of mixed sizes, about 300 MiB; each is there twice under another name.
fn sources(scratch: &Path) -> Result<Vec<PathBuf>> {
    let top = scratch.join("upkeep");
    let mut sources = Vec::new();
    for number in 0..PATHS {
        let source = top.join(format!("source-{number}"));
        let (kind, text) = (number / 2, format!("{:016x}", (number / 2).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        match kind % 20 {
            0 => {
                fs::create_dir_all(source.join("deep"))?;
                for file in 0..100 {
                    let contents = format!("{file}{text}").repeat(1 + file * 4);
                    fs::write(source.join(format!("file-{file}")), &contents)?;
                    fs::write(source.join("deep").join(format!("file-{file}")), &contents)?;
                }
            }
            kind => {
                fs::create_dir_all(&top)?;
                fs::write(&source, text.repeat(if kind == 1 { 1 << 17 } else { 1 << (kind / 2) } * 4))?;
            }
        }
        sources.push(source);
    }
    Ok(sources)
}

/// A store with all of that.
fn filled(bench: &Bench) -> Result<Store> {
    let store = Store::empty()?;
    let quickly = ["--option", "fsync-store-paths", "false", "--option", "fsync-metadata", "false", "add"];
    for source in sources(bench.scratch.path())? {
        let arguments = quickly.into_iter().map(OsStr::new).chain([source.as_os_str()]);
        store.lines(&bench.store, arguments)?;
    }
    Ok(store)
}

/// Hashes all there is; the floor reads it once, with one thread.
pub(super) fn verify(bench: &Bench) -> Result<Vec<Contender>> {
    let store = Rc::new(filled(bench)?);
    let (ours, program) = (Rc::clone(&store), bench.store.clone());
    let mut contenders = vec![Contender::plain("store", move || {
        let mut command = ours.store(&program);
        command.args(["verify", "--contents"]);
        Ok(command)
    })];
    if bench.has_nix() {
        let theirs = Rc::clone(&store);
        contenders.push(Contender::plain("nix", move || Ok(theirs.nix(&["--verify", "--check-contents"]))));
    }
    contenders.push(Contender::plain("read", move || {
        let mut command = this_part("read")?;
        command.arg(store.directory().join("nix/store"));
        Ok(command)
    }));
    Ok(contenders)
}

/// Links equal files, each time in a new copy of the store.
pub(super) fn optimise(bench: &Bench) -> Result<Vec<Contender>> {
    let store = Rc::new(filled(bench)?);
    let program = bench.store.clone();
    let contender = |name, command: Box<dyn Fn(&Store) -> Command>| {
        let store = Rc::clone(&store);
        let prepare = move || {
            let copy = Store::empty()?;
            let (from, to) = (store.directory().join("."), copy.directory());
            let copied = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
            ensure!(copied.success(), "cannot copy the store");
            Ok(Prepared { command: command(&copy), _keep: Some(copy) })
        };
        Contender { name, prepare: Box::new(prepare), tells: false }
    };
    let ours = move |store: &Store| {
        let mut command = store.store(&program);
        command.arg("optimise");
        command
    };
    let mut contenders = vec![contender("store", Box::new(ours))];
    if bench.has_nix() {
        contenders.push(contender("nix", Box::new(|store| store.nix(&["--optimise"]))));
    }
    Ok(contenders)
}
