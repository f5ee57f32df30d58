//! One step of one operation at which something fails, and what has to hold then.

#![expect(clippy::disallowed_methods, reason = "reads what the program has written")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::operations::{Again, OPERATIONS, Operation};
use super::state::After;
use super::world::{Run, World, run};

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The program is killed.
    Kill,
    /// The disk cannot be read or written.
    Eio,
    /// The disk is full.
    Enospc,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Eio, Self::Enospc];
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kill => "kill",
            Self::Eio => "eio",
            Self::Enospc => "enospc",
        })
    }
}

/// How often a run is repeated that did not reach the step.
const TRIES: usize = 20;

/// A step at which something fails.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of the operation.
    pub operation: &'static str,
    /// The name of the step.
    pub step: String,
    /// Which time it is reached, from 1 on.
    pub nth: usize,
    /// What happens then.
    pub kind: Kind,
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, step, nth, kind } = self;
        write!(formatter, "{operation} {step}:{nth}={kind}")
    }
}

impl Operation {
    /// Runs the operation undisturbed; returns what it prints, and how often it reaches each step.
    ///
    /// # Errors
    /// If it does not end as it should.
    pub fn trace(&self, program: &Path) -> Result<(String, BTreeMap<String, usize>), String> {
        let world = World::new(program)?;
        (self.prepare)(&world)?;
        let file = world.path("steps");
        let mut command = self.command(&world)?;
        command.env("STORE_FAILPOINT", format!("trace={}", file.display()));
        let run = run(&mut command)?;
        if run.code != Some(self.code) {
            return Err(format!("{} ends with {:?}: {}", self.name, run.code, run.stderr));
        }
        let text = fs::read_to_string(&file).map_err(|error| format!("no steps were written: {error}"))?;
        let mut steps = BTreeMap::new();
        text.lines().for_each(|step| *steps.entry(step.to_owned()).or_default() += 1);
        Ok((run.stdout, steps))
    }

    fn command(&self, world: &World) -> Result<Command, String> {
        let mut command = world.command(self.arguments);
        if let Some(file) = self.stdin {
            let opened = fs::File::open(world.path(file));
            command.stdin(opened.map_err(|error| format!("cannot open `{file}`: {error}"))?);
        }
        Ok(command)
    }

    /// Whether this user can do it.
    pub fn is_possible(&self) -> bool {
        !self.root_only || is_root()
    }
}

/// Returns the names of all steps that the program knows.
///
/// # Errors
/// If it knows of none: it has no debug assertions.
pub fn steps(program: &Path) -> Result<Vec<String>, String> {
    let world = World::new(program)?;
    let mut command = world.command(&["ps"]);
    command.env("STORE_FAILPOINT", "list");
    let said = run(&mut command)?.stderr;
    let names = said.split_once("names are ").map(|(_, names)| names.trim().split(", "));
    names.map(|names| names.map(str::to_owned).collect()).ok_or_else(|| format!("it names no steps: {said}"))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

impl Case {
    /// Tries it on a store of its own; `printed` is what the operation prints undisturbed. With `ask_nix`, Nix is asked as
    /// well, where it is installed.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn try_out(&self, program: &Path, printed: &str, ask_nix: bool) -> Result<(), String> {
        let mut world = World::new(program)?;
        let mut tries = 1;
        while !self.begin(&world)? {
            if tries == TRIES {
                return Err(format!("the step is reached in none of {tries} runs"));
            }
            world = World::new(program)?;
            tries += 1;
        }
        self.finish(&world, printed, After::End)?;
        if ask_nix {
            world.ask_nix()?;
        }
        Ok(())
    }

    /// Prepares a store, and runs the operation in it, which fails at the step. Returns whether it is killed, where it
    /// should be: several threads may do in one step what they did in several when it was traced.
    ///
    /// # Errors
    /// If it ends otherwise.
    pub fn begin(&self, world: &World) -> Result<bool, String> {
        let operation = self.operation()?;
        (operation.prepare)(world)?;
        let disturbed = self.disturbed(operation, world)?;
        match disturbed.stderr.contains("mistake in `store` itself") {
            true => Err(format!("it panics: {}", disturbed.stderr)),
            false => Ok(self.kind != Kind::Kill || disturbed.signal == Some(9)),
        }
    }

    /// Looks at what is left, repeats the operation, which prints `printed` now, and looks once more.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn finish(&self, world: &World, printed: &str, after: After) -> Result<(), String> {
        let operation = self.operation()?;
        // What is damaged is mended by the repetition.
        let before = if operation.mends { Ok(()) } else { world.inspect(after) };
        before.map_err(|wrong| format!("at the next start: {wrong}"))?;
        let again = run(&mut operation.command(world)?)?;
        let is_done = match operation.again {
            Again::Same => again.stdout == printed,
            Again::Rest | Again::Refused => true,
        };
        let is_refused = operation.again == Again::Refused && again.stderr.contains("is not valid");
        if !(is_refused || is_done && again.code == Some(operation.code)) {
            return Err(format!("repeated, it ends with {:?}: {}{}", again.code, again.stdout, again.stderr));
        }
        (operation.done)(world)?;
        world.inspect(after).map_err(|wrong| format!("after the repetition: {wrong}"))?;
        world.collect().map_err(|wrong| format!("once garbage is collected: {wrong}"))
    }

    fn operation(&self) -> Result<&'static Operation, String> {
        let found = OPERATIONS.iter().find(|one| one.name == self.operation);
        found.ok_or_else(|| format!("there is no operation `{}`", self.operation))
    }

    fn disturbed(&self, operation: &Operation, world: &World) -> Result<Run, String> {
        let mut command = operation.command(world)?;
        let Self { step, nth, kind, .. } = self;
        command.env("STORE_FAILPOINT", format!("{step}:{nth}={kind}"));
        let run = run(&mut command)?;
        let is_as_expected = match kind {
            Kind::Kill => run.signal == Some(9) || run.code == Some(operation.code),
            // Where nothing can be done about it, and nothing depends on it, it goes on.
            _ => run.code.is_some_and(|code| {
                code == operation.code || code != 0 && !(run.stderr.is_empty() && run.stdout.is_empty())
            }),
        };
        match is_as_expected {
            true => Ok(run),
            false => Err(format!("it ends with {:?} and signal {:?}: {}", run.code, run.signal, run.stderr)),
        }
    }
}
