//! Chores that cargo cannot express: `cargo xtask test | check | bless | bench | crash | simulate | soak | dist`.
//!
//! Outside the floors: nothing depends on it, and it may read, write, run and print.

#![expect(clippy::disallowed_methods, reason = "chores read files, run programs and look at the clock")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "chores talk to whoever runs them")]

mod bench;
mod bless;
mod cargo;
mod check;
mod crash;
mod dist;
mod pictures;
mod readme;
mod simulate;
mod soak;
mod test;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask CHORE

  test                        every test, and as root once more as an ordinary user
  check                       format, lints, floors, forgotten tests and fixtures, README tables, tests of escapes
  bless                       accepts what the tests print now as what they expect
  bench [--rows NAME…] [--runs N]
                              times `store` beside Nix and beside the machine
  crash [--help]              kills `store`, or fails its disk, at each of its steps, and looks at what is left
  pictures                    draws the pictures on README: screens of the live tree, the page of timings
  simulate [--help]           runs the schedule against up to a million made-up goals
  soak [--help]               many processes on one store for half an hour; nothing may fail or be lost
  dist                        one static binary; prints its path";

fn main() -> ExitCode {
    sandbox::launcher_main();
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let (chore, rest) = arguments.split_first().map_or(("", &[][..]), |(chore, rest)| (chore, rest));
    match (chore, rest) {
        ("test", []) => test::run(),
        ("check", []) => check::run(),
        ("bless", []) => bless::run(),
        ("dist", []) => dist::run(),
        ("pictures", []) => pictures::run(),
        ("bench", rest) => bench::run(rest),
        (bench::PART, rest) => bench::part(rest),
        ("crash", rest) => crash::run(rest),
        ("simulate", rest) => simulate::run(rest),
        ("soak", rest) => soak::run(rest),
        (simulate::PART, rest) => simulate::part(rest),
        _ => bail!("{USAGE}"),
    }
}
