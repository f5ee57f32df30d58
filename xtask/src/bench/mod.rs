//! `cargo xtask bench`: how long things take, beside Nix and beside the machine.
//!
//! Prints `name value unit` lines: the median of several runs, in which the contenders take turns, so that a
//! busy moment of the machine meets all of them. A ratio compares contenders of the same runs.

mod derivations;
mod exchange;
mod floor;
mod garbage;
mod graph;
mod measure;
mod noise;
mod queries;
mod rows;
mod sandbox;
mod stores;
mod upkeep;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::cargo;
use measure::{Contender, Sample, median};
use rows::{ROWS, Row};

/// The hidden chore that runs one timed part in a process of its own.
pub(crate) const PART: &str = "bench-part";

/// What the rows share.
struct Bench {
    store: PathBuf,
    scratch: TempDir,
    runs: usize,
}

/// Builds everything as it is released, and lets the released `xtask` run the rows that are asked for.
///
/// The floors are its own code, and have to be as fast as `store` is.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    parse(arguments)?;
    let built = cargo::build(&["build", "--release", "--package", "cli", "--package", "xtask"], None)?;
    let xtask = built.iter().find(|one| one.name == "xtask").context("cargo built no program `xtask`")?;
    let mut command = Command::new(&xtask.path);
    cargo::succeed(command.args([PART, "rows"]).arg(cargo::store_program(&built)?).args(arguments))
}

/// Times the rows that are asked for; all without `--rows`.
fn rows(store: &str, arguments: &[String]) -> Result<()> {
    let (wanted, runs) = parse(arguments)?;
    let scratch = tempfile::Builder::new().prefix("store-bench-").tempdir()?;
    let bench = Bench { store: store.into(), scratch, runs };
    let (mut waited, mut built, mut sandboxes) = (Vec::new(), Vec::new(), Vec::new());
    for row in ROWS.iter().filter(|row| wanted.is_empty() || wanted.iter().any(|name| name == row.name)) {
        let contenders =
            (row.contenders)(&bench).with_context(|| format!("cannot prepare `{}`", row.name))?;
        let results = measure::take_turns(contenders, bench.runs)?;
        report(row, &results);
        if row.name.starts_with("waiting-") {
            waited.push((row, results));
        } else if row.name.starts_with("builds-") {
            built.push((row, results));
        } else if row.name.starts_with("sandbox-") {
            sandboxes.push((row, results));
        }
    }
    compare_growth(&waited);
    compare_growth(&built);
    compare_memory(&built);
    compare_closures(&sandboxes);
    Ok(())
}

fn parse(arguments: &[String]) -> Result<(Vec<String>, usize)> {
    let (mut wanted, mut runs) = (Vec::new(), 5);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--rows" => {}
            "--runs" => runs = rest.next().context("`--runs` takes a number")?.parse()?,
            name if ROWS.iter().any(|row| row.name == name) => wanted.push(name.to_owned()),
            name => {
                let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
                bail!("there is no row `{name}`; rows are {}", known.join(", "))
            }
        }
    }
    Ok((wanted, runs))
}

/// What the contenders of a row took.
type Results = Vec<(Contender, Vec<Sample>)>;

fn millis(row: &Row, samples: &[Sample]) -> f64 {
    median(samples, |sample| sample.seconds) * 1000.0 / row.per as f64
}

/// Prints a row: every contender's time and memory, and the first one's time beside the others'.
fn report(row: &Row, results: &Results) {
    let name = row.name;
    for (contender, samples) in results {
        println!("{name}.{} {:.3} ms", contender.name, millis(row, samples));
        println!("{name}.{}.memory {:.1} MiB", contender.name, median(samples, |sample| sample.memory_mib));
    }
    if let Some(((ours, our_samples), others)) = results.split_first() {
        for (other, samples) in others {
            let ratio = millis(row, our_samples) / millis(row, samples);
            println!("{name}.{}/{} {ratio:.3} ratio", ours.name, other.name);
        }
    }
}

/// Prints how much dearer a build is among many than among few, for each contender.
fn compare_growth(rows: &[(&Row, Results)]) {
    let [(few, with_few), (many, with_many)] = rows else { return };
    for ((contender, few_samples), (_, many_samples)) in with_few.iter().zip(with_many) {
        let ratio = millis(many, many_samples) / millis(few, few_samples);
        println!("{}/{}.{} {ratio:.3} ratio", many.name, few.name, contender.name);
    }
}

/// Prints what each further goal adds to the memory of each contender.
fn compare_memory(rows: &[(&Row, Results)]) {
    let [(few, with_few), (many, with_many)] = rows else { return };
    for ((contender, few_samples), (_, many_samples)) in with_few.iter().zip(with_many) {
        let added = median(many_samples, |sample| sample.memory_mib)
            - median(few_samples, |sample| sample.memory_mib);
        let each = added * 1024.0 / (many.per - few.per) as f64;
        println!("{}-{}.{}.memory-per-goal {each:.2} KiB", many.name, few.name, contender.name);
    }
}

/// Prints what the inputs of a sandbox add to it, for each contender: the difference to the one without.
fn compare_closures(rows: &[(&Row, Results)]) {
    let Some(((none, without), others)) = rows.split_first() else { return };
    for (row, results) in others {
        for (contender, samples) in results {
            let Some((_, base)) = without.iter().find(|(one, _)| one.name == contender.name) else {
                continue;
            };
            let added = millis(row, samples) - millis(none, base);
            println!("{}-{}.{} {added:.3} ms", row.name, none.name, contender.name);
        }
    }
}

/// Runs one part; see [`PART`].
pub(crate) fn part(arguments: &[String]) -> Result<()> {
    if let [part, store, rest @ ..] = arguments
        && part == "rows"
    {
        return rows(store, rest);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["measure", program, ref rest @ ..] => measure::part(program, rest, false),
        ["told", program, ref rest @ ..] => measure::part(program, rest, true),
        ["sandboxes", count, directory, inputs] => {
            sandbox::ours(count.parse()?, directory.as_ref(), inputs.parse()?)
        }
        ["bubblewrap", count, directory, inputs] => {
            sandbox::bubblewrap(count.parse()?, directory.as_ref(), inputs.parse()?)
        }
        ["builds", count, jobs] => floor::builds(count.parse()?, jobs.parse()?),
        ["unshared"] => floor::unshared(),
        ["confined", root] => floor::confined(root.as_ref()),
        ["sha256", file] => floor::sha256(file.as_ref()),
        ["scan", file] => floor::scan(file.as_ref()),
        ["read", directory] => floor::read_tree(directory.as_ref()),
        ["closure-of", database, path] => queries::floor(database.as_ref(), path, queries::Question::Closure),
        ["referrers-of", database, path] => {
            queries::floor(database.as_ref(), path, queries::Question::Referrers)
        }
        ["copy", from, to] => floor::copy(from.as_ref(), to.as_ref()),
        _ => bail!("`{PART}` is called by `bench` only"),
    }
}
