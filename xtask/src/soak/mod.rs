//! `cargo xtask soak`: many processes on one store for a long time; nothing may fail, and nothing may be lost.

mod field;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cargo;
use field::{Field, SHELL};

const USAGE: &str = "\
usage: cargo xtask soak [--minutes N] [--seed S] [--builders N] [--dir DIR] [--program FILE] [--without-nix] [--kills]

Builds random graphs of small derivations by eight processes at a time, some of them shared, with roots made and dropped
by chance, while one collects garbage in a loop, one optimises, and one verifies all contents. Fails, and says which
command said what, if one of them fails or anything that is kept is missing or changed; and at the end, if the store is
not sound in its own eyes or in those of Nix, or is not empty when nothing is kept and all is collected. What happened
stays in the directory then.

  --minutes N     how long (30)
  --seed S        what chance decides (1)
  --builders N    how many build at the same time (8)
  --dir DIR       where; a directory that is made, and removed if all went well (a temporary one)
  --program FILE  the `store` to run, instead of one that is built for it as it is released
  --without-nix   Nix takes no turns, though it is there; it still verifies in the end
  --kills         some collections and builds are killed half-way

example: cargo xtask soak --minutes 5 --seed 7 --dir /dev/shm/soak";

struct Options {
    minutes: f64,
    seed: u64,
    builders: usize,
    directory: Option<PathBuf>,
    program: Option<PathBuf>,
    without_nix: bool,
    kills: bool,
}

/// Runs it, and prints what was done.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return Ok(());
    }
    let options = parse(arguments)?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => built()?,
    };
    if !Path::new(SHELL).exists() {
        bail!("builders need a static `{SHELL}`, which is not on this machine");
    }
    let directory = match &options.directory {
        Some(directory) => std::path::absolute(directory)?,
        None => tempfile::Builder::new().prefix("store-soak-").tempdir()?.keep(),
    };
    let has_nix = Command::new("nix-store").arg("--version").output().is_ok();
    let field = Field {
        program,
        directory: directory.clone(),
        seed: options.seed,
        builders: options.builders,
        time: Duration::from_secs_f64(options.minutes * 60.0),
        with_nix: has_nix && !options.without_nix,
        has_nix,
        kills: options.kills,
    };
    match field::run(field) {
        Ok(tally) => {
            println!("{tally}");
            // Its directories may be read-only, which only root removes as they are.
            Command::new("chmod").args(["-R", "u+w"]).arg(&directory).status()?;
            std::fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot remove `{}`", directory.display()))
        }
        Err(failure) => bail!(
            "{failure}\n\nthe store is in `{}`; again: cargo xtask soak {}",
            directory.display(),
            arguments.join(" ")
        ),
    }
}

fn built() -> Result<PathBuf> {
    let built = cargo::build(&["build", "--release", "--package", "cli"], None)?;
    Ok(cargo::store_program(&built)?.to_owned())
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        minutes: 30.0,
        seed: 1,
        builders: 8,
        directory: None,
        program: None,
        without_nix: false,
        kills: false,
    };
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("`{option}` takes a value\n{USAGE}"));
        match option.as_str() {
            "--minutes" => options.minutes = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--builders" => options.builders = value()?.parse()?,
            "--dir" => options.directory = Some(value()?.into()),
            "--program" => options.program = Some(std::path::absolute(value()?)?),
            "--without-nix" => options.without_nix = true,
            "--kills" => options.kills = true,
            other => bail!("`soak` has no `{other}`\n{USAGE}"),
        }
    }
    Ok(options)
}
