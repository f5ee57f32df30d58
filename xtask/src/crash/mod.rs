//! `cargo xtask crash`: whether a store is in order, whatever has happened to whoever worked on it.

mod disk;
mod full;
mod matrix;
mod power;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;

const USAGE: &str = "\
usage: cargo xtask crash [--jobs N] [--operation NAME…]
       cargo xtask crash --case 'OPERATION STEP:NTH=KIND'
       cargo xtask crash --disk-full
       cargo xtask crash --power-cuts N [--file-system ext4|xfs] [--seed S]

Has the program killed, or told that the disk fails (EIO) or is full (ENOSPC), at each of its steps by name, in each
operation that reaches it, each on a store of its own. Afterwards the next start finds a store in order with nothing left
in it that is not whole, and the same command does what it does undisturbed. Prints a table, and fails with the cases that
are not so.

With `--disk-full`, a build has less and less room for one of the store, the directories of builds, the database and the
logs. It says which disk is full; when there is room, it succeeds.

With `--power-cuts`, the power of a file system is cut N times (as root, on an image), while several add, build, register
and delete, or right after the program has died at a step. What was told to be valid before is valid then, and whole.

  --jobs N          how many at a time (as many as there are processors)
  --operation NAME  this one only; can be given several times
  --case CASE       one case alone, as a failure names it
  --file-system FS  ext4 or xfs (both)
  --program FILE    a `store` with debug assertions (one is built)
  --seed S          what chance decides (1)

example: cargo xtask crash --case 'add register.synced:1=kill'";

/// What is asked for.
struct Options {
    jobs: usize,
    operations: Vec<String>,
    case: Option<String>,
    disk_full: bool,
    power_cuts: Option<usize>,
    file_systems: Vec<String>,
    seed: u64,
    program: Option<PathBuf>,
}

/// Runs what is asked for, with the program as it is developed: a released one has no steps.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return Ok(());
    }
    let options = parse(arguments)?;
    let kinds = options.power_cuts.map(|_| power::kinds(&options.file_systems)).transpose()?;
    let program =
        options.program.as_ref().map_or_else(program, |program| Ok(std::path::absolute(program)?))?;
    match (&options.case, options.power_cuts) {
        (Some(case), _) => matrix::one(&program, case),
        (None, Some(cuts)) => power::run(&program, cuts, &kinds.unwrap_or_default(), options.seed),
        (None, None) if options.disk_full => full::run(&program),
        (None, None) => matrix::all(&program, &options.operations, options.jobs),
    }
}

fn parse(arguments: &[String]) -> Result<Options> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options {
        jobs,
        operations: Vec::new(),
        case: None,
        disk_full: false,
        power_cuts: None,
        file_systems: Vec::new(),
        seed: 1,
        program: None,
    };
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("`{option}` takes a value\n{USAGE}"));
        match option.as_str() {
            "--jobs" => options.jobs = value()?.parse()?,
            "--operation" => options.operations.push(value()?.clone()),
            "--case" => options.case = Some(value()?.clone()),
            "--disk-full" => options.disk_full = true,
            "--power-cuts" => options.power_cuts = Some(value()?.parse()?),
            "--file-system" => options.file_systems.push(value()?.clone()),
            "--program" => options.program = Some(value()?.into()),
            "--seed" => options.seed = value()?.parse()?,
            other => bail!("`crash` has no `{other}`\n{USAGE}"),
        }
    }
    ensure!(options.jobs > 0, "one at a time is the least");
    Ok(options)
}

fn program() -> Result<PathBuf> {
    let built = cargo::build(&["build", "--package", "cli"], None)?;
    Ok(cargo::store_program(&built)?.to_owned())
}
