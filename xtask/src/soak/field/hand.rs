//! One of those who take part, and what it does.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::chance::Chance;
use super::graph::{self, Goal};
use super::tally::add;
use super::{Common, Failure, SHELL};

/// So many results one keeps at a time.
const KEPT: usize = 6;

/// After so long another pool is built from.
const POOL_TIME: Duration = Duration::from_secs(20);

/// No command takes that long.
const FOR_EVER: Duration = Duration::from_secs(600);

/// One of those who take part.
pub(super) struct Hand<'a> {
    common: &'a Common,
    number: usize,
    chance: Chance,
    /// The links that keep something, and the name of what they keep.
    kept: BTreeMap<PathBuf, String>,
}

impl<'a> Hand<'a> {
    pub(super) fn new(common: &'a Common, number: usize) -> Self {
        Self { common, number, chance: Chance::new(common.field.seed, number), kept: BTreeMap::new() }
    }

    /// Makes the store.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        let file = self.common.field.directory.join("first");
        write(&file, "first")?;
        self.store(&["add", &text(&file)]).map(|_| ())
    }

    /// Builds something, mostly keeps it, and now and then lets go of something.
    pub(super) fn build(&mut self) -> Result<(), Failure> {
        match self.chance.below(10) {
            0 => self.add_file(),
            1 | 2 => self.let_go(),
            3 => self.look_at_one(),
            _ => self.build_goal(),
        }
    }

    fn build_goal(&mut self) -> Result<(), Failure> {
        let common = self.common;
        let pool = common.begun.elapsed().as_secs() / POOL_TIME.as_secs();
        let goal = graph::goal(
            &mut self.chance,
            common.field.seed,
            pool,
            common.next.fetch_add(1, Ordering::Relaxed),
        );
        let file = common.field.directory.join(format!("graphs/{}.json", self.number));
        write(&file, &goal.text)?;
        let programs = format!("/bin/sh={SHELL} {SHELL}");
        let file = text(&file);
        let mut arguments = vec!["build", "--quiet", &file, "--option", "sandbox-paths", &programs];
        if self.chance.once_in(5) {
            return self.build_unkept(&arguments);
        }
        let link = common.field.directory.join(format!("links/{}-{}", self.number, self.chance.below(KEPT)));
        let shown = text(&link);
        arguments.extend(["--out-link", &shown]);
        // Until it has ended, nobody knows which of the two the link keeps.
        self.kept.remove(&link);
        self.beside_nix(&arguments)?;
        add(&common.tally.builds, 1);
        self.kept.insert(link.clone(), goal.name.clone());
        self.look_at(&link, &goal)
    }

    /// Nothing keeps the result but the process that builds it; which may be killed.
    fn build_unkept(&mut self, arguments: &[&str]) -> Result<(), Failure> {
        let arguments = [arguments, &["--no-link"]].concat();
        if self.common.field.kills && self.chance.once_in(3) {
            let after = Duration::from_millis(self.chance.below(400) as u64);
            return match self.kill(&mut self.command(&arguments), after) {
                Err(failure) if self.has_lost_to_nix(&failure) => Ok(()),
                result => result,
            };
        }
        self.beside_nix(&arguments)?;
        add(&self.common.tally.builds, 1);
        Ok(())
    }

    fn add_file(&mut self) -> Result<(), Failure> {
        let number = self.chance.below(4);
        let file = self.common.field.directory.join(format!("graphs/added-{}-{number}", self.number));
        // Not the same for all: others add some of these at the same moment, and some are there already.
        write(&file, &format!("added {}", number % 2).repeat(2000))?;
        self.beside_nix(&["add", "--name", &format!("added-{number}"), &text(&file)])?;
        add(&self.common.tally.adds, 1);
        Ok(())
    }

    fn let_go(&mut self) -> Result<(), Failure> {
        if self.kept.is_empty() {
            return Ok(());
        }
        self.look_at_one()?;
        let place = self.chance.below(self.kept.len());
        let link = self.kept.keys().nth(place).cloned().expect("it is below their number");
        self.kept.remove(&link);
        fs::remove_file(&link)
            .map_err(|error| Failure { what: format!("remove {}", link.display()), said: error.to_string() })
    }

    fn look_at_one(&mut self) -> Result<(), Failure> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let place = self.chance.below(self.kept.len());
        let (link, name) = self.kept.iter().nth(place).expect("it is below their number");
        self.look_at(link, &Goal { name: name.clone(), text: String::new() })
    }

    /// Looks at all that it keeps.
    pub(super) fn look_at_all(&self) -> Result<(), Failure> {
        self.kept.iter().try_for_each(|(link, name)| {
            self.look_at(link, &Goal { name: name.clone(), text: String::new() })
        })
    }

    /// Looks whether what a link keeps is there, and what that refers to.
    fn look_at(&self, link: &Path, goal: &Goal) -> Result<(), Failure> {
        let wrong = |said: String| Failure {
            what: format!("look at {}, which keeps `{}`", link.display(), goal.name),
            said,
        };
        let read = |name: &str| {
            fs::read_to_string(link.join(name)).map_err(|error| wrong(format!("{name}: {error}")))
        };
        let name = read("name")?;
        if name.trim_end() != goal.name {
            return Err(wrong(format!("it is `{}`", name.trim_end())));
        }
        for needed in read("needs")?.split_whitespace() {
            let place = self.common.field.directory.join("store").join(&needed[1..]);
            if !needed.contains('*') && fs::symlink_metadata(&place).is_err() {
                return Err(wrong(format!("it refers to `{needed}`, which is not there")));
            }
        }
        add(&self.common.tally.looks, 1);
        Ok(())
    }

    /// Collects garbage: all, or some.
    pub(super) fn collect(&mut self) -> Result<(), Failure> {
        sleep(Duration::from_millis(self.chance.below(1500) as u64));
        let tally = &self.common.tally;
        if self.common.field.with_nix && self.chance.once_in(4) {
            match self.nix(&["--gc"]) {
                // What it was about to delete was made again meanwhile.
                Err(failure) if failure.said.contains("because it is in use by") => {}
                result => drop(result?),
            }
            add(&tally.nixs, 1);
            add(&tally.collections, 1);
            return Ok(());
        }
        let arguments: &[&str] =
            if self.chance.once_in(3) { &["gc", "--max-freed", "200K", "--json"] } else { &["gc", "--json"] };
        if self.common.field.kills && self.chance.once_in(3) {
            let after = Duration::from_millis(self.chance.below(300) as u64);
            return self.kill(&mut self.command(arguments), after);
        }
        let told: Value = self.json(arguments)?;
        add(&tally.collections, 1);
        add(&tally.collected, told["paths"].as_array().map_or(0, Vec::len) as u64);
        add(&tally.freed, told["bytesFreed"].as_u64().unwrap_or(0));
        Ok(())
    }

    /// Links what is equal.
    pub(super) fn optimise(&mut self) -> Result<(), Failure> {
        sleep(Duration::from_millis(self.chance.below(1500) as u64));
        let tally = &self.common.tally;
        add(&tally.optimisations, 1);
        if self.common.field.with_nix && self.chance.once_in(4) {
            self.nix(&["--optimise"])?;
            add(&tally.nixs, 1);
            return Ok(());
        }
        let told: Value = self.json(&["optimise", "--json"])?;
        add(&tally.saved, told["bytes"].as_u64().unwrap_or(0));
        Ok(())
    }

    /// Looks at everything.
    pub(super) fn verify(&mut self) -> Result<(), Failure> {
        sleep(Duration::from_millis(self.chance.below(1500) as u64));
        self.store(&["verify", "--contents"])?;
        add(&self.common.tally.verifications, 1);
        Ok(())
    }

    /// Runs our program, which has to succeed, and reads the JSON that it printed.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let printed = self.store(arguments)?;
        serde_json::from_str(&printed).map_err(|error| Failure {
            what: format!("read what `{}` printed", arguments.join(" ")),
            said: format!("{error}: {printed}"),
        })
    }

    /// Runs our program, which has to succeed, and returns what it printed.
    pub(super) fn store(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.finish(&mut self.command(arguments))
    }

    /// Runs our program, which has to succeed in the end: Nix's collector takes what others have just begun to use.
    fn beside_nix(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut result = self.store(arguments);
        for _ in 0..20 {
            if !result.as_ref().is_err_and(|failure| self.has_lost_to_nix(failure)) {
                break;
            }
            result = self.store(arguments);
        }
        result
    }

    /// Tells whether something was gone that only a collector which decides about paths one by one takes away.
    fn has_lost_to_nix(&self, failure: &Failure) -> bool {
        let is_gone = ["is not valid", "No such file"].iter().any(|gone| failure.said.contains(gone));
        self.common.field.with_nix && is_gone
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let field = &self.common.field;
        let mut command = Command::new(&field.program);
        command.arg("--store").arg(field.directory.join("store")).args(arguments);
        self.at_home(command)
    }

    /// Runs `nix-store`, which has to succeed, and returns what it printed and said.
    pub(super) fn nix(&self, arguments: &[&str]) -> Result<String, Failure> {
        let run = || {
            let mut command = Command::new("nix-store");
            command.arg("--store").arg(self.common.field.directory.join("store")).args(arguments);
            self.finish(&mut self.at_home(command))
        };
        let mut result = run();
        // Nix gives up where a process of this machine is in a directory of a very long name.
        for _ in 0..50 {
            if !result.as_ref().is_err_and(|failure| failure.said.contains("File name too long")) {
                break;
            }
            sleep(Duration::from_millis(200));
            result = run();
        }
        result
    }

    fn at_home(&self, mut command: Command) -> Command {
        let home = self.common.field.directory.join("home");
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("USER", "nobody").env("HOME", &home).env("NIX_CONF_DIR", &home);
        command.env("NIX_CONFIG", "build-users-group =\nsubstitute = false\nsubstituters =\n");
        command.current_dir(&self.common.field.directory).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command, which has to succeed in time, and returns what it printed.
    fn finish(&self, command: &mut Command) -> Result<String, Failure> {
        let output = output(command, FOR_EVER).map_err(|said| Failure { what: shown(command), said })?;
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            return Ok(stdout.into_owned());
        }
        let after = self.common.begun.elapsed();
        Err(Failure {
            what: shown(command),
            said: format!("{} after {after:.1?}:\n{stdout}{stderr}", output.status),
        })
    }

    /// Kills a command after a while, if it still runs; if it has ended by then, it has to have ended well.
    fn kill(&self, command: &mut Command, after: Duration) -> Result<(), Failure> {
        match output(command, after) {
            Ok(output) if output.status.success() || output.status.signal().is_some() => Ok(()),
            Ok(output) => Err(Failure {
                what: shown(command),
                said: format!("{}:\n{}", output.status, String::from_utf8_lossy(&output.stderr)),
            }),
            Err(_) => {
                add(&self.common.tally.kills, 1);
                Ok(())
            }
        }
    }
}

/// Waits for the end of a command, and kills it when that takes too long.
fn output(command: &mut Command, limit: Duration) -> Result<Output, String> {
    let begun = Instant::now();
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let mut output = Output { status: ExitStatusExt::from_raw(0), stdout: Vec::new(), stderr: Vec::new() };
    std::thread::scope(|scope| {
        // Both are read to their ends: neither may be full while the other is waited for.
        let (out, err) = (&mut output.stdout, &mut output.stderr);
        scope.spawn(move || stdout.as_mut().map(|pipe| pipe.read_to_end(out)));
        scope.spawn(move || stderr.as_mut().map(|pipe| pipe.read_to_end(err)));
        loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if begun.elapsed() > limit => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break Err(format!("it was killed after {limit:.0?}"));
                }
                Ok(None) => sleep(Duration::from_millis(3)),
                Err(error) => break Err(error.to_string()),
            }
        }
    })
    .map(|status| output.status = status)?;
    Ok(output)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    fs::write(file, text)
        .map_err(|error| Failure { what: format!("write {}", file.display()), said: error.to_string() })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
