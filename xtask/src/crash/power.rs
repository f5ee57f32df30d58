//! `cargo xtask crash --power-cuts N`: the power of a file system is cut while several work on a store.
//!
//! Every second time at a random moment of a random mix of commands; in between at one step after the other of the
//! operations that the matrix has, right after the program has died there.

mod mix;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use test_support::Random;
use test_support::crash::{After, Case, Kind, World};

use super::disk::{self, Disk};
use super::matrix::{self, Traced};
use mix::Mix;

/// No mix goes on for longer before the power is cut.
const LONGEST: usize = 600;

/// Every so many cuts Nix is asked as well.
const NIX: usize = 10;

/// How many stores have their power cut at a step together, as they are on one disk.
const TOGETHER: usize = 4;

/// Cuts the power that many times, of each of these file systems.
pub(super) fn run(program: &Path, cuts: usize, kinds: &[String], seed: u64) -> Result<()> {
    disk::own_mounts()?;
    let traced = matrix::trace_all(program)?;
    for kind in kinds {
        let start = Instant::now();
        let told = on(program, cuts, kind, &traced, seed)?;
        println!("{kind}: {cuts} power cuts, {told}, {:.0} s: ok", start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn on(program: &Path, cuts: usize, kind: &str, traced: &[Traced], seed: u64) -> Result<String> {
    let disk = Disk::new(kind)?;
    disk.mount()?;
    let cases: Vec<(Case, &str)> = traced.iter().flat_map(kills).collect();
    let mut mix = Mix::new(program, &disk, seed)?;
    let mut random = Random::seeded(seed);
    let (mut done, mut at_steps) = (0, 0);
    while done < cuts {
        let again = || {
            format!("at cut {done}: cargo xtask crash --power-cuts {cuts} --file-system {kind} --seed {seed}")
        };
        if done % 2 == 0 {
            let after = Duration::from_millis(random.below(LONGEST) as u64);
            mix.until_cut(after).with_context(again)?;
            mix.look(done % NIX == 0).with_context(again)?;
        } else {
            let chosen = (0..TOGETHER).map(|one| &cases[(at_steps + one) % cases.len()]);
            let chosen: Vec<_> = chosen.cloned().collect();
            at_steps += TOGETHER;
            cut_at_steps(program, &disk, &chosen, done).with_context(again)?;
        }
        done += 1;
    }
    disk.unmount()?;
    Ok(format!("{} of them in {mix}, the others at {at_steps} steps", cuts.div_ceil(2)))
}

/// Every step, once.
fn kills(traced: &Traced) -> Vec<(Case, &str)> {
    let case = |step: &String| Case {
        operation: traced.operation.name,
        step: step.clone(),
        nth: 1,
        kind: Kind::Kill,
    };
    traced.steps.keys().map(|step| (case(step), traced.printed.as_str())).collect()
}

/// Has the program die at a step in each of several stores, and cuts the power then.
fn cut_at_steps(program: &Path, disk: &Disk, cases: &[(Case, &str)], round: usize) -> Result<()> {
    let place = |number: usize| disk.place().join(format!("case-{round}-{number}"));
    let wrong = |case: &Case, wrong: String| anyhow::anyhow!("{case}: {wrong}");
    let worlds: Vec<Result<World, String>> = std::thread::scope(|scope| {
        let begin = |(number, (case, _)): (usize, &(Case, &str))| {
            let (case, place) = (case.clone(), place(number));
            scope.spawn(move || {
                let world = World::with_store(program, &place)?;
                // What has ended before may have its power cut as well.
                case.begin(&world).map(|_| world)
            })
        };
        let threads: Vec<_> = cases.iter().enumerate().map(begin).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    disk.cut()?;
    disk.unmount()?;
    disk.mount()?;
    for (number, ((case, printed), world)) in cases.iter().zip(worlds).enumerate() {
        let world = world.map_err(|error| wrong(case, error))?;
        case.finish(&world, printed, After::Cut).map_err(|error| wrong(case, error))?;
        drop(world);
        disk::output(std::process::Command::new("rm").arg("-rf").arg(place(number)))?;
    }
    // Else the next cut would bring them back.
    disk::output(std::process::Command::new("sync").arg("--file-system").arg(disk.place())).map(|_| ())
}

/// What was done how often.
type Counts = BTreeMap<&'static str, usize>;

/// Returns the file systems that are asked for, or all.
pub(super) fn kinds(asked: &[String]) -> Result<Vec<String>> {
    let known = ["ext4", "xfs"];
    if let Some(other) = asked.iter().find(|kind| !known.contains(&kind.as_str())) {
        bail!("power can be cut of ext4 and xfs, not of {other}");
    }
    ensure!(nix::unistd::geteuid().is_root(), "power cuts need root: an image has to be mounted");
    Ok(if asked.is_empty() { known.map(str::to_owned).to_vec() } else { asked.to_vec() })
}
