//! `cargo xtask simulate`: runs the schedule against goals that are made up, and watches whether its laws hold.
//!
//! Nothing is built: a goal is a number, and time is what the goals are said to take. What happens to them is drawn from
//! a seed, so a run that breaks a law can be run again.

mod chances;
mod events;
mod laws;
mod odds;
mod orders;
mod run;
#[cfg(test)]
mod tests;
mod usage;
mod world;

use std::num::NonZeroUsize;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;
use odds::Odds;
use run::Simulation;
use scheduler::{Limits, Policy};
use usage::Usage;
use world::World;

/// The hidden chore that simulates in this very program, which has to be as fast as `store` is.
pub(crate) const PART: &str = "simulate-part";

const USAGE: &str = "\
usage: cargo xtask simulate [--goals N[,N…]] [--seed S] [--slots N] [--memory GIB]
       cargo xtask simulate --orders [--seed S]

Runs the schedule against made-up goals: builds and substitutions with random durations, memory, failures, cancellations,
lost workers, and goals that turn up late. Fails, and says at which goal, if a goal starts before its inputs or a second
time, if a slot stays free though something could run, if too much memory is taken, if something is left at the end, or if
the same events give other goals when they happen once more. Prints for each number of goals what an event and a goal
cost the schedule, in processor time and in memory, and what all of it took.

  --goals N[,N…]  how many goals (10000,100000,1000000)
  --seed S        what chance decides (1)
  --slots N       how many builds at once, with a fourth as many substitutions (64)
  --memory GIB    how much memory the builds share (256); 0: memory does not matter
  --orders        compares orders instead: how much later than possible at best everything is done, if the longest
                  path by time goes first, by number of goals, or whatever was ready first

example: cargo xtask simulate --goals 1000000 --seed 7";

/// What is simulated.
struct Options {
    goals: Vec<usize>,
    seed: u64,
    slots: NonZeroUsize,
    /// In GiB.
    memory: u64,
    orders: bool,
}

/// Builds `xtask` as `store` is released, and lets that simulate.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return Ok(());
    }
    parse(arguments)?;
    let built = cargo::build(&["build", "--release", "--package", "xtask"], None)?;
    let xtask = built.iter().find(|one| one.name == "xtask").context("cargo built no program `xtask`")?;
    cargo::succeed(Command::new(&xtask.path).arg(PART).args(arguments))
}

/// Simulates; see [`PART`].
pub(crate) fn part(arguments: &[String]) -> Result<()> {
    let options = parse(arguments)?;
    if options.orders {
        orders::compare(options.seed);
        return Ok(());
    }
    options.goals.iter().try_for_each(|&goals| simulate(goals, &options))
}

fn parse(arguments: &[String]) -> Result<Options> {
    let slots = NonZeroUsize::new(64).expect("it is not zero");
    let goals = vec![10_000, 100_000, 1_000_000];
    let mut options = Options { goals, seed: 1, slots, memory: 256, orders: false };
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        let mut number = || rest.next().with_context(|| format!("`{option}` takes a number\n{USAGE}"));
        match option.as_str() {
            "--goals" => options.goals = number()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--seed" => options.seed = number()?.parse()?,
            "--slots" => options.slots = number()?.parse()?,
            "--memory" => options.memory = number()?.parse()?,
            "--orders" => options.orders = true,
            other => bail!("`simulate` has no `{other}`\n{USAGE}"),
        }
    }
    ensure!(options.goals.iter().all(|&goals| goals > 0), "there has to be a goal to simulate");
    Ok(options)
}

/// Runs so many goals, and tells what that cost.
fn simulate(goals: usize, options: &Options) -> Result<()> {
    let again = format!("cargo xtask simulate --goals {goals} --seed {}", options.seed);
    let start = Usage::now()?.processor;
    let world = World::new(goals, options.seed);
    let bytes = world.resident(limits(options))?;
    let mut simulation =
        Simulation::new(&world, limits(options), Policy::KeepGoing, options.seed, &Odds::CALM);
    let totals = simulation.run().with_context(|| format!("a law is broken in `{again}`"))?;
    println!("{goals} goals: {totals}");
    let (record, mut schedule) = simulation.into_record();
    let before = Usage::now()?;
    ensure!(record.repeat(&mut schedule), "the same events gave other goals in `{again}`");
    let after = Usage::now()?;
    println!(
        "  the schedule: {} ns for each of {} events, {:.1} s; {} bytes per goal. With chance and books: {:.1} s, {} MiB",
        (after.processor - before.processor).as_nanos() / record.len() as u128,
        record.len(),
        (after.processor - before.processor).as_secs_f64(),
        bytes / goals as u64,
        (after.processor - start).as_secs_f64(),
        after.peak >> 20,
    );
    Ok(())
}

fn limits(options: &Options) -> Limits {
    let substitutions = options.slots.div_ceil(4.try_into().expect("it is not zero"));
    let memory = Some(options.memory << 30).filter(|memory| *memory > 0);
    Limits { builds: options.slots, substitutions, memory }
}
