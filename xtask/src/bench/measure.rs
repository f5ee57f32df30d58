//! Timing whole processes.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};

use super::PART;

/// One way to do what a row times.
pub(super) struct Contender {
    pub(super) name: &'static str,
    /// Makes everything ready anew and returns the command to time; the box keeps alive what it needs.
    pub(super) prepare: Box<dyn Fn() -> Result<Prepared>>,
    /// Whether the command itself says how many seconds it took for what is timed.
    pub(super) tells: bool,
}

/// A command, and what has to exist while it runs.
pub(super) struct Prepared {
    pub(super) command: Command,
    pub(super) _keep: Option<super::stores::Store>,
}

impl From<Command> for Prepared {
    fn from(command: Command) -> Self {
        Self { command, _keep: None }
    }
}

impl Contender {
    /// A contender that needs nothing made ready.
    pub(super) fn plain(name: &'static str, command: impl Fn() -> Result<Command> + 'static) -> Self {
        Self { name, prepare: Box::new(move || Ok(command()?.into())), tells: false }
    }
}

/// What one process took.
pub(super) struct Sample {
    pub(super) seconds: f64,
    /// The largest resident set of it and of any process it waited for.
    pub(super) memory_mib: f64,
}

/// Returns the median of one figure over the samples.
pub(super) fn median(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> f64 {
    let mut figures: Vec<f64> = samples.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 }
}

/// Runs every contender that many times, in turns.
pub(super) fn take_turns(contenders: Vec<Contender>, runs: usize) -> Result<Vec<(Contender, Vec<Sample>)>> {
    let mut results: Vec<_> = contenders.into_iter().map(|contender| (contender, Vec::new())).collect();
    for _ in 0..runs {
        for (contender, samples) in &mut results {
            let prepared = (contender.prepare)()?;
            let result = sample(&prepared.command, contender.tells);
            samples.push(result.with_context(|| format!("`{}` fails", contender.name))?);
        }
    }
    Ok(results)
}

/// Runs this program's part `measure`, whose only children are those of the command.
fn sample(command: &Command, tells: bool) -> Result<Sample> {
    let mut helper = this_part(if tells { "told" } else { "measure" })?;
    helper.arg(command.get_program()).args(command.get_args());
    let output = helper.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{command:?} failed");
    let text = String::from_utf8(output.stdout)?;
    let (seconds, kib) = text.trim().split_once(' ').context("`measure` prints two numbers")?;
    Ok(Sample { seconds: seconds.parse()?, memory_mib: kib.parse::<f64>()? / 1024.0 })
}

/// Returns a command that runs a part of this program.
pub(super) fn this_part(part: &str) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args([PART, part]);
    Ok(command)
}

/// Runs a program, its results thrown away, and prints its seconds and its memory in KiB.
///
/// If it tells the seconds itself, those.
pub(super) fn part(program: &str, arguments: &[impl AsRef<OsStr>], tells: bool) -> Result<()> {
    let mut command = Command::new(program);
    let stdout = if tells { Stdio::piped() } else { Stdio::null() };
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.spawn()?.wait_with_output()?;
    let mut seconds = start.elapsed().as_secs_f64();
    if !output.status.success() {
        io::stderr().write_all(&output.stderr)?;
    }
    ensure!(output.status.success(), "{}", output.status);
    if tells {
        seconds = String::from_utf8(output.stdout)?.trim().parse()?;
    }
    println!("{seconds} {}", getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        let samples = [4.0, 1.0, 3.0, 2.0].map(|seconds| Sample { seconds, memory_mib: 0.0 });
        assert!((median(&samples, |sample| sample.seconds) - 2.5).abs() < 1e-9);
    }
}
