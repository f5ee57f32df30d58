//! `cargo xtask bench`: how long things take, beside Nix and beside the machine.
//!
//! Prints `name value unit` lines: the median of several runs, in which the contenders take turns, so that a
//! busy moment of the machine meets all of them. A ratio compares contenders of the same runs.

mod floor;
mod graph;
mod measure;
mod noise;
mod rows;
mod stores;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::cargo;
use measure::{Contender, Sample, median};
use rows::ROWS;

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
    for row in ROWS.iter().filter(|row| wanted.is_empty() || wanted.iter().any(|name| name == row.name)) {
        let contenders =
            (row.contenders)(&bench).with_context(|| format!("cannot prepare `{}`", row.name))?;
        report(row.name, row.per, &measure::take_turns(contenders, bench.runs)?);
    }
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

/// Prints a row: every contender's time and memory, and the first one's time beside the others'.
fn report(row: &str, per: usize, results: &[(Contender, Vec<Sample>)]) {
    let millis = |samples: &[Sample]| median(samples, |sample| sample.seconds) * 1000.0 / per as f64;
    for (contender, samples) in results {
        println!("{row}.{} {:.3} ms", contender.name, millis(samples));
        println!("{row}.{}.memory {:.1} MiB", contender.name, median(samples, |sample| sample.memory_mib));
    }
    if let Some(((ours, our_samples), others)) = results.split_first() {
        for (other, samples) in others {
            let ratio = millis(our_samples) / millis(samples);
            println!("{row}.{}/{} {ratio:.3} ratio", ours.name, other.name);
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
        ["measure", program, ref rest @ ..] => measure::part(program, rest),
        ["builds", count, jobs] => floor::builds(count.parse()?, jobs.parse()?),
        ["unshared"] => floor::unshared(),
        ["confined", root] => floor::confined(root.as_ref()),
        ["sha256", file] => floor::sha256(file.as_ref()),
        ["scan", file] => floor::scan(file.as_ref()),
        ["read", directory] => floor::read_tree(directory.as_ref()),
        ["copy", from, to] => floor::copy(from.as_ref(), to.as_ref()),
        _ => bail!("`{PART}` is called by `bench` only"),
    }
}
