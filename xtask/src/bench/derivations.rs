//! Derivations to read: a corpus where there is one, or else made up in the shape of one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nar::dump;
use store_path::{Hash, HashAlgorithm};

use super::Bench;
use super::graph;
use super::measure::Contender;
use super::stores::Store;

/// Reads, checks and computes the paths of that many derivations; Nix only reads and prints them.
pub(super) fn contenders(bench: &Bench, count: usize) -> Result<Vec<Contender>> {
    let root = bench.scratch.path().join(format!("derivations-{count}"));
    let files = files(bench, count)?;
    let directory = root.join("nix/store");
    fs::create_dir_all(&directory)?;
    for (name, text) in &files {
        fs::write(directory.join(name), text)?;
    }
    let names: Vec<String> = files.keys().cloned().collect();
    let (program, ours) = (bench.store.clone(), names.clone());
    let mut contenders = vec![Contender::plain("store", move || {
        let mut command = Command::new(&program);
        command.args(["derivation", "check"]).args(ours.iter().map(|name| directory.join(name)));
        Ok(command)
    })];
    if bench.has_nix() {
        register(&root, &files)?;
        contenders.push(Contender::plain("nix", move || {
            let mut command = nix("nix", &root);
            command.arg("show-derivation").args(names.iter().map(|name| format!("/nix/store/{name}")));
            Ok(command)
        }));
    }
    Ok(contenders)
}

fn nix(program: &str, root: &Path) -> Command {
    let mut command = Command::new(program);
    // By options, as what is timed gets its arguments only.
    command.arg("--store").arg(root);
    command.args(["--option", "experimental-features", "nix-command ca-derivations"]);
    command
}

/// Returns texts by the names of their files; all that one needs are among them.
fn files(bench: &Bench, count: usize) -> Result<BTreeMap<String, Vec<u8>>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/drvs-train.tar.zst");
    let all = match unpack(bench, &corpus) {
        Some(all) => all,
        None => made_up(bench, count)?,
    };
    let all = closed(all, count);
    ensure!(all.len() == count, "there are only {} derivations to read", all.len());
    Ok(all)
}

fn unpack(bench: &Bench, archive: &Path) -> Option<BTreeMap<String, Vec<u8>>> {
    let directory = bench.scratch.path().join("corpus");
    if !directory.exists() {
        fs::create_dir(&directory).ok()?;
        let mut tar = Command::new("tar");
        tar.arg("--use-compress-program=zstd -d --long=27").arg("-xf").arg(archive).arg("-C").arg(&directory);
        if !tar.output().is_ok_and(|output| output.status.success()) {
            eprintln!(
                "no corpus at `{}`, or nothing to unpack it with: derivations are made up",
                archive.display()
            );
        }
    }
    let mut found = BTreeMap::new();
    read(&directory, &mut found).ok()?;
    (!found.is_empty()).then_some(found)
}

/// Reads what is text: Nix prints the rest as something that is no JSON.
fn read(directory: &Path, found: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            read(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "drv") {
            let text = fs::read(&path)?;
            let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
            if str::from_utf8(&text).is_ok() {
                found.insert(name, text);
            }
        }
    }
    Ok(())
}

/// Chains of small graphs, each with environments as long as those of real packages.
fn made_up(bench: &Bench, count: usize) -> Result<BTreeMap<String, Vec<u8>>> {
    let store = Store::with(&bench.store, &[], &graph::packages(count))?;
    let mut found = BTreeMap::new();
    read(&store.directory().join("nix/store"), &mut found)?;
    Ok(found)
}

/// Returns the first that need nothing but each other.
fn closed(all: BTreeMap<String, Vec<u8>>, count: usize) -> BTreeMap<String, Vec<u8>> {
    let mut chosen: BTreeSet<&String> = BTreeSet::new();
    let references: BTreeMap<&String, Vec<String>> =
        all.iter().map(|(name, text)| (name, references(text))).collect();
    let is_there = |name: &String| !name.ends_with(".drv") || all.contains_key(name);
    loop {
        let before = chosen.len();
        for (name, needed) in &references {
            let is_closed = |one: &String| is_there(one) && (!one.ends_with(".drv") || chosen.contains(one));
            if chosen.len() < count && needed.iter().all(is_closed) {
                chosen.insert(name);
            }
        }
        if chosen.len() == before {
            break;
        }
    }
    let chosen: HashSet<String> = chosen.into_iter().cloned().collect();
    all.into_iter().filter(|(name, _)| chosen.contains(name)).collect()
}

/// Returns what stands between the outputs and the system: the names of input derivations and sources.
fn references(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let inputs = text.split_once("],[").map_or("", |(_, rest)| rest);
    // The system is the first string behind a list that is not in one.
    let end = inputs.find("],\"").unwrap_or(inputs.len());
    let paths = inputs[..end].split('"').filter_map(|part| part.strip_prefix("/nix/store/"));
    let names: BTreeSet<String> = paths.map(str::to_owned).collect();
    names.into_iter().collect()
}

/// Makes them valid for Nix, with something in the place of each source.
fn register(root: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let mut list = String::new();
    let mut sources = BTreeSet::new();
    for (name, text) in files {
        let references = references(text);
        sources.extend(references.iter().filter(|one| !files.contains_key(*one)).cloned());
        row(&mut list, root, name, &references)?;
    }
    for source in &sources {
        fs::write(root.join("nix/store").join(source), "source")?;
        row(&mut list, root, source, &[])?;
    }
    let mut load = nix("nix-store", root).arg("--load-db").stdin(Stdio::piped()).spawn()?;
    load.stdin.take().context("it was asked for")?.write_all(list.as_bytes())?;
    ensure!(load.wait()?.success(), "Nix does not take the derivations");
    Ok(())
}

fn row(list: &mut String, root: &Path, name: &str, references: &[String]) -> Result<()> {
    let mut archive = Vec::new();
    dump(&root.join("nix/store").join(name), &mut archive)?;
    let hash = Hash::of(HashAlgorithm::Sha256, &archive).to_base16();
    write!(list, "/nix/store/{name}\n{hash}\n{}\n\n{}\n", archive.len(), references.len())?;
    references.iter().try_for_each(|one| writeln!(list, "/nix/store/{one}"))?;
    Ok(())
}
